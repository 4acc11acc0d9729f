"""Makes transactions of the shape of the BankSim data set, from random numbers alone.

A customer has a habit with every merchant: how often it buys there, what it spends, how much it is worth.
A transaction is one draw from these habits. So transactions per (customer, merchant) vary widely, and busy,
frugal and unimportant customers are found in every combination. Two merchants of every town are hot, with
a half and a third of its traffic; the others share the rest in a long tail. Some are visited mostly by men.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

from tillwatch.errors import ConfigError

TRANSACTIONS = "transactions.csv"
IMPORTANCE = "CustomerImportance.csv"

TRANSACTION_HEADER = b"step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud\n"
IMPORTANCE_HEADER = b"Source,Target,Weight,typeTrans,fraud\n"

FULL_ROWS = 594_643
FULL_CUSTOMERS = 4_112

BLOCK_ROWS = 1 << 18
"""Rows made and written at a time: what bounds the memory. The bytes depend on it, so it is no option."""

CATEGORIES = {
    "transport": 27.5,
    "food": 36.0,
    "health": 100.0,
    "wellness": 60.0,
    "fashion": 65.0,
    "restaurants": 40.0,
    "hypermarket": 45.0,
    "sports": 90.0,
    "technology": 120.0,
    "home": 110.0,
    "hotels": 130.0,
    "services": 75.0,
    "media": 42.0,
    "travel": 900.0,
    "leisure": 280.0,
}
"""Categories with the mean amount of a transaction. The hot merchants are in the first."""

HOT_SHARES = (1 / 2, 1 / 3)
"""The hot merchants' shares of the traffic."""

MEN_EVERY = 6
"""Every sixth merchant is visited mostly by men …"""

MEN_FACTOR = 2.0
"""… who go there twice as often as women do."""

GENDERS = {"F": 0.549, "M": 0.446, "E": 0.003, "U": 0.002}
"""Genders with their share of the customers."""

AGES = {"0": 0.005, "1": 0.1, "2": 0.31, "3": 0.25, "4": 0.18, "5": 0.11, "6": 0.045}
"""Age groups with their share of the customers; enterprises have none, which is `U`."""

ZERO_SHARE = 1e-4
FRAUD_SHARE = 0.012

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GeneratedFiles:
    """What was made. `rows` counts the transactions, `faulty` those of them that were made invalid."""

    transactions: Path
    importance: Path
    rows: int
    faulty: int


@dataclass(frozen=True, slots=True)
class _World:
    """Every town's customers and merchants, and the habit of every pair of the same town.

    Pairs are numbered by town, then customer, then merchant. `reach` is the running sum of their traffic,
    `spending` a pair's mean amount, `importance` its mean weight. Text is quoted as it stands in the file.
    """

    customers: pl.DataFrame
    merchants: pl.DataFrame
    customers_per_town: int
    merchants_per_town: int
    reach: Floats
    spending: Floats
    importance: Floats


def generate(
    out: Path,
    *,
    rows: int = FULL_ROWS,
    customers: int | None = None,
    merchants: int = 50,
    towns: int = 1,
    steps: int = 180,
    seed: int = 1,
    faults: float = 0.0,
) -> GeneratedFiles:
    """Writes `transactions.csv` and `CustomerImportance.csv` into the folder `out`, made when missing.

    `rows` is the total. `customers` and `merchants` are per town, and towns share neither: 30 towns have 30
    times the keys in groups of the same size. Without `customers` there are as many as keep the full size's
    rows per customer (4,112 in one town of 594,643 rows). Rows are in order of `step`, 0 to `steps` - 1.

    CustomerImportance has one row per transaction. Its Weight is not the amount but drawn on its own, so a
    customer's importance says nothing about what it spends.

    `faults` is the share of transactions, picked at random, that are made invalid: an empty customer; the
    amount `abc`, `nan` or negative; a line cut short or too long. The other lines are those of `faults=0`.

    The same arguments give the same bytes. Memory grows with the pairs, not with the rows. Raises ConfigError
    when an argument is out of its range or a file is there already: nothing is overwritten.
    """
    if customers is None:
        customers = max(1, round(FULL_CUSTOMERS * rows / FULL_ROWS / max(1, towns)))
    _check_counts(rows=rows, customers=customers, merchants=merchants, towns=towns, steps=steps)
    _check_range(seed, faults)
    targets = _targets(out)
    for_world, for_rows, for_faults = (Generator(PCG64(part)) for part in SeedSequence(seed).spawn(3))
    world = _world(for_world, customers, merchants, towns)
    partial = [path.with_name(f".{path.name}.partial") for path in targets]
    with partial[0].open("wb") as transactions, partial[1].open("wb") as importance:
        transactions.write(TRANSACTION_HEADER)
        importance.write(IMPORTANCE_HEADER)
        faulty = 0
        for frame in _blocks(world, for_rows, rows, steps):
            _write(importance, _weights(frame))
            kinds = _fault_kinds(for_faults, frame.height, faults)
            faulty += int(np.count_nonzero(kinds))
            _write(transactions, _spoil(frame.drop("weight"), kinds))
    for path, target in zip(partial, targets, strict=True):
        path.replace(target)
    return GeneratedFiles(*targets, rows, faulty)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"generate: {name} is {value}; it must be 1 or more.")


def _check_range(seed: int, faults: float) -> None:
    if seed < 0:
        raise ConfigError(f"generate: seed is {seed}; it must be 0 or more.")
    if not 0 <= faults <= 1:
        raise ConfigError(f"generate: faults is {faults}; it is a share of the rows, from 0 to 1.")


def _targets(out: Path) -> tuple[Path, Path]:
    targets = out / TRANSACTIONS, out / IMPORTANCE
    for path in targets:
        if path.exists():
            raise ConfigError(f"{path} exists already; nothing was written. Name another folder or move it away.")
    out.mkdir(parents=True, exist_ok=True)
    return targets


def _world(rng: Generator, customers: int, merchants: int, towns: int) -> _World:
    people = _customers(rng, customers, towns)
    is_man = (people["gender"] == "'M'").to_numpy().reshape(towns, customers)
    shops = _merchants(rng, merchants, towns)
    means = np.array(list(CATEGORIES.values()))[_category_of(merchants)]
    traffic = np.concatenate([_traffic(rng, men, merchants) for men in is_man])
    pairs = (towns * customers, merchants)
    return _World(
        customers=people,
        merchants=shops,
        customers_per_town=customers,
        merchants_per_town=merchants,
        reach=np.cumsum(traffic),
        spending=(means * _around_one(rng, 0.1, pairs)).ravel(),
        importance=(3.0 * _around_one(rng, 0.8, pairs)).ravel(),
    )


def _traffic(rng: Generator, is_man: NDArray[np.bool_], merchants: int) -> Floats:
    """The shares of a town's traffic, customer by customer, merchant by merchant."""
    activity = rng.gamma(6.0, size=(len(is_man), 1))
    traffic = activity * rng.gamma(6.0, size=(len(is_man), merchants))
    traffic[np.ix_(is_man, np.arange(merchants) % MEN_EVERY == MEN_EVERY - 1)] *= MEN_FACTOR
    traffic *= _shares(merchants) / traffic.sum(axis=0)
    return traffic.ravel()


def _shares(merchants: int) -> Floats:
    """The merchants' shares of a town's traffic: the hot ones, then a tail that falls as 1 / rank."""
    tail = 1 / np.arange(1, max(merchants - len(HOT_SHARES), 0) + 1)
    tail *= (1 - sum(HOT_SHARES)) / max(tail.sum(), 1)
    shares = np.concatenate((HOT_SHARES, tail))[:merchants]
    return np.asarray(shares / shares.sum())


def _category_of(merchants: int) -> NDArray[np.int64]:
    """The category number of every merchant of a town: the first for the hot ones, the others in turn."""
    rank = np.arange(merchants) - len(HOT_SHARES)
    return np.where(rank < 0, 0, 1 + rank % (len(CATEGORIES) - 1))


def _customers(rng: Generator, customers: int, towns: int) -> pl.DataFrame:
    count = customers * towns
    gender = rng.choice(_quoted(GENDERS), size=count, p=list(GENDERS.values()))
    age = rng.choice(_quoted(AGES), size=count, p=list(AGES.values()))
    return pl.DataFrame(
        {
            "customer": _names("C", rng, count),
            "age": np.where(gender == "'E'", "'U'", age),
            "gender": gender,
            "zipcodeOri": _zips(customers, towns),
        }
    )


def _merchants(rng: Generator, merchants: int, towns: int) -> pl.DataFrame:
    category = np.array(_quoted(CATEGORIES))[_category_of(merchants)]
    return pl.DataFrame(
        {
            "merchant": _names("M", rng, merchants * towns),
            "zipMerchant": _zips(merchants, towns),
            "category": np.tile(category, towns),
        }
    )


def _names(letter: str, rng: Generator, count: int) -> list[str]:
    """Distinct names of different lengths, so that their order is not that of their numbers."""
    return _quoted(f"{letter}{number}" for number in rng.choice(1 << 31, size=count, replace=False))


def _zips(per_town: int, towns: int) -> NDArray[np.str_]:
    return np.repeat(_quoted(str(10_000 + town) for town in range(towns)), per_town)


def _quoted(values: Iterable[str]) -> list[str]:
    return [f"'{value}'" for value in values]


def _around_one(rng: Generator, spread: float, shape: int | tuple[int, ...]) -> Floats:
    """Factors with a long tail upwards and the mean 1."""
    return rng.lognormal(-(spread**2) / 2, spread, size=shape)


def _blocks(world: _World, rng: Generator, rows: int, steps: int) -> Iterator[pl.DataFrame]:
    for start in range(0, rows, BLOCK_ROWS):
        numbers = np.arange(start, min(start + BLOCK_ROWS, rows))
        yield _block(world, rng, numbers * steps // rows)


def _block(world: _World, rng: Generator, step: NDArray[np.int64]) -> pl.DataFrame:
    """One row per entry of `step`: a transaction in the columns of its file, and its `weight`."""
    size = len(step)
    pair = np.searchsorted(world.reach, rng.random(size) * world.reach[-1], side="right")
    pair = np.minimum(pair, len(world.reach) - 1)
    customer = pair // world.merchants_per_town
    town = customer // world.customers_per_town
    merchant = town * world.merchants_per_town + pair % world.merchants_per_town
    amount = _cents(world.spending[pair] * _around_one(rng, 0.6, size))
    amount[rng.random(size) < ZERO_SHARE] = 0.0
    drawn = pl.DataFrame(
        {
            "amount": amount,
            "fraud": (rng.random(size) < FRAUD_SHARE).astype(np.int8),
            "weight": _cents(world.importance[pair] * _around_one(rng, 0.3, size)),
        }
    )
    people, shops = world.customers[customer], world.merchants[merchant]
    return pl.DataFrame({"step": step}).hstack(people).hstack(shops).hstack(drawn)


def _cents(values: Floats) -> Floats:
    return np.round(values * 100) / 100


def _weights(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select("customer", "merchant", "weight", "category", "fraud")


def _fault_kinds(rng: Generator, size: int, share: float) -> NDArray[np.int64]:
    """What is wrong with each row: 0 nothing, 1 to 6 a kind of fault."""
    return np.where(rng.random(size) < share, rng.integers(1, 7, size), 0)


def _spoil(frame: pl.DataFrame, kinds: NDArray[np.int64]) -> pl.DataFrame:
    """The rows with their faults, as one column of lines; unchanged when there are none."""
    if not kinds.any():
        return frame
    kind = pl.lit(pl.Series(kinds))
    amount = pl.when(kind == 2).then(pl.lit("abc")).when(kind == 3).then(pl.lit("nan"))
    frame = frame.with_columns(
        pl.when(kind == 1).then(pl.lit("''")).otherwise("customer").alias("customer"),
        amount.when(kind == 4).then(pl.lit("-1.5")).otherwise(pl.col("amount").cast(pl.String)).alias("amount"),
    )
    line = pl.concat_str(pl.all(), separator=",")
    short = pl.concat_str("step", "customer", "age", separator=",")
    return frame.select(pl.when(kind == 5).then(short).when(kind == 6).then(line + ",stray").otherwise(line))


def _write(file: BinaryIO, frame: pl.DataFrame) -> None:
    frame.write_csv(file, include_header=False, quote_style="never")
