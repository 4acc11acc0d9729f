"""A chunk's valid rows added up by key, and divided among the shards, as bytes for the folding tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from tillwatch.engine.decode import Rows
from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.table import SUM_LIMIT
from tillwatch.errors import RunError
from tillwatch.spark.arrays import pack, pack_texts, unpack, unpack_texts
from tillwatch.spark.shards import Group


def gather(
    chunk: int, rows: Rows, dictionaries: Mapping[str, Dictionary], groups: Sequence[Group]
) -> Iterator[tuple[int, bytes]]:
    """The shards that a chunk touches, each with what it brings, and those that are judged after it all the same.

    Raises RunError when sums would not be exact.
    """
    if float(np.abs(rows.amount).sum(dtype=np.float64)) >= SUM_LIMIT:
        raise RunError(
            f"the amounts are too large to be summed exactly: those of one chunk would pass {SUM_LIMIT} (scaled). "
            "Set fewer amounts.digits, or check the source."
        )
    frame = pl.DataFrame({**rows.codes, "amount": rows.amount})
    for group in groups:
        added = _added_up(frame, group)
        idle = set(group.shards) if group.judges_all(chunk) else set()
        for shard, part in _divided(added, dictionaries, group) if len(rows) else ():
            idle.discard(shard)
            yield shard, _packed(part, dictionaries, group)
        for shard in sorted(idle):
            yield shard, _packed(added.clear(), dictionaries, group)


def _added_up(frame: pl.DataFrame, group: Group) -> pl.DataFrame:
    by = [*group.columns, *(["amount"] if group.by_amount else [])]
    if not by:
        frame, by = frame.with_columns(whole=pl.lit(0)), ["whole"]
    amount = pl.col("amount")
    bounds = [amount.min().alias("least"), amount.max().alias("greatest")] if group.bounds else []
    return frame.group_by(by).agg(pl.len().cast(pl.Int64).alias("times"), amount.sum().alias("total"), *bounds)


def _divided(
    added: pl.DataFrame, dictionaries: Mapping[str, Dictionary], group: Group
) -> Iterator[tuple[int, pl.DataFrame]]:
    if group.count == 1:
        yield group.first, added
        return
    keys = added.select(group.key).unique()
    texts = zip(*(dictionaries[k].texts(keys[k].to_numpy()) for k in group.key), strict=True)
    shards = keys.with_columns(pl.Series("shard", [group.shard_of(key) for key in texts]))
    for (shard,), part in added.join(shards, on=list(group.key)).partition_by("shard", as_dict=True).items():
        yield int(shard), part


def _packed(part: pl.DataFrame, dictionaries: Mapping[str, Dictionary], group: Group) -> bytes:
    arrays = {}
    for column in group.columns:
        codes, places = np.unique(part[column].to_numpy(), return_inverse=True)
        arrays[f"{column}.texts"] = pack_texts(dictionaries[column].texts(codes))
        arrays[column] = places.astype(np.int32)
    for name in ("times", "total", *(("least", "greatest") if group.bounds else ())):
        arrays[name] = part[name].to_numpy()
    return pack(arrays)


def scattered(data: bytes, dictionaries: Mapping[str, Dictionary], group: Group) -> Rows:
    """The rows that `gather` packed, with the codes of these dictionaries."""
    arrays = unpack(data, "what a reading task has sent")
    codes = {}
    for column in group.columns:
        known = np.array(dictionaries[column].codes(unpack_texts(arrays[f"{column}.texts"])), np.int64)
        codes[column] = known[arrays[column]]
    return Rows(codes, arrays["total"], arrays["times"], arrays.get("least"), arrays.get("greatest"))
