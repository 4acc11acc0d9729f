"""A chunk's valid rows added up by key, and divided among the shards, as bytes for the folding tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.engine.decode import Decoded, Rows
from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.table import SUM_LIMIT
from tillwatch.errors import RunError
from tillwatch.spark.arrays import pack, pack_texts, unpack, unpack_texts
from tillwatch.spark.shards import Group


def gather(
    chunk: int, decoded: Decoded, dictionaries: Mapping[str, Dictionary], groups: Sequence[Group]
) -> Iterator[tuple[int, bytes]]:
    """The shards that a chunk touches, each with what it brings, and those that are judged after it all the same.

    Raises RunError when sums would not be exact.
    """
    rows = decoded.rows
    if float(np.abs(rows.amount).sum(dtype=np.float64)) >= SUM_LIMIT:
        raise RunError(
            f"the amounts are too large to be summed exactly: those of one chunk would pass {SUM_LIMIT} (scaled). "
            "Set fewer amounts.digits, or check the source."
        )
    frame = pl.DataFrame({**rows.codes, "amount": rows.amount})
    for group in groups:
        if group.whole:
            if len(rows) or group.judges_all(chunk) or (group.timed and decoded.clock is not None):
                yield from _whole(chunk, decoded, dictionaries, group)
            continue
        added = _added_up(frame, group)
        idle = set(group.shards) if group.judges_all(chunk) else set()
        for shard, part in _divided(added, dictionaries, group) if len(rows) else ():
            idle.discard(shard)
            yield shard, _packed(part, dictionaries, group)
        for shard in sorted(idle):
            yield shard, _packed(added.clear(), dictionaries, group)


def _whole(
    number: int, decoded: Decoded, dictionaries: Mapping[str, Dictionary], group: Group
) -> Iterator[tuple[int, bytes]]:
    """The rows themselves, in their order. With windows also for shards without any: the clock moves for all."""
    rows, clock = decoded.rows, decoded.clock
    kept = {"_total": rows.amount, "_time": rows.time, "_number": rows.number}
    there = {name: values for name, values in kept.items() if values is not None}
    frame = pl.DataFrame({**{c: rows.codes[c] for c in group.columns}, **there})
    parts = dict(_divided(frame, dictionaries, group))
    chunk: dict[str, NDArray[Any]] = {"_source": pack_texts([rows.source])}
    if clock is not None:
        chunk["_clock"] = np.array([clock])
    for shard in group.shards if group.timed or group.judges_all(number) else parts:
        part = parts.get(shard, frame.clear())
        yield shard, pack({**_texts(part, dictionaries, group), **{n: part[n].to_numpy() for n in there}, **chunk})


def _added_up(frame: pl.DataFrame, group: Group) -> pl.DataFrame:
    by = [*group.columns, *(["amount"] if group.by_amount else [])]
    if not by:
        frame, by = frame.with_columns(_whole=pl.lit(0)), ["_whole"]
    amount = pl.col("amount")
    bounds = [amount.min().alias("_least"), amount.max().alias("_greatest")] if group.bounds else []
    return frame.group_by(by).agg(pl.len().cast(pl.Int64).alias("_times"), amount.sum().alias("_total"), *bounds)


def _divided(
    added: pl.DataFrame, dictionaries: Mapping[str, Dictionary], group: Group
) -> Iterator[tuple[int, pl.DataFrame]]:
    if group.count == 1:
        yield group.first, added
        return
    keys = added.select(group.key).unique()
    texts = zip(*(dictionaries[k].texts(keys[k].to_numpy()) for k in group.key), strict=True)
    shards = keys.with_columns(pl.Series("_shard", [group.shard_of(key) for key in texts]))
    own = added.join(shards, on=list(group.key), maintain_order="left")
    for (shard,), part in own.partition_by("_shard", as_dict=True).items():
        yield int(shard), part


def _packed(part: pl.DataFrame, dictionaries: Mapping[str, Dictionary], group: Group) -> bytes:
    arrays = _texts(part, dictionaries, group)
    for name in ("_times", "_total", *(("_least", "_greatest") if group.bounds else ())):
        arrays[name] = part[name].to_numpy()
    return pack(arrays)


def _texts(part: pl.DataFrame, dictionaries: Mapping[str, Dictionary], group: Group) -> dict[str, NDArray[Any]]:
    """By column: its distinct texts, and which of them each row has."""
    arrays: dict[str, NDArray[Any]] = {}
    for column in group.columns:
        codes, places = np.unique(part[column].to_numpy(), return_inverse=True)
        arrays[f"{column}.texts"] = pack_texts(dictionaries[column].texts(codes))
        arrays[column] = places.astype(np.int32)
    return arrays


def scattered(data: bytes, dictionaries: Mapping[str, Dictionary], group: Group) -> tuple[Rows, int | None]:
    """The rows that `gather` packed, with the codes of these dictionaries; and the latest time of their chunk."""
    arrays = unpack(data, "what a reading task has sent")
    codes = {}
    for column in group.columns:
        known = np.array(dictionaries[column].codes(unpack_texts(arrays[f"{column}.texts"])), np.int64)
        codes[column] = known[arrays[column]]
    amount = arrays["_total"]
    if not group.whole:
        return Rows(codes, amount, arrays["_times"], arrays.get("_least"), arrays.get("_greatest")), None
    if "amount" in dictionaries:
        codes["amount"] = dictionaries["amount"].encode(pl.Series(amount))
    clock = int(arrays["_clock"][0]) if "_clock" in arrays else None
    (source,) = unpack_texts(arrays["_source"])
    return Rows(codes, amount, time=arrays.get("_time"), number=arrays.get("_number"), source=source), clock
