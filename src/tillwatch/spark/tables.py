"""The shards' rows for the tables of running values: the executors pack them, the driver passes them on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tillwatch.detect import snapshot
from tillwatch.errors import TillwatchError
from tillwatch.patterns.program import Grain
from tillwatch.spark.arrays import pack, pack_texts, unpack, unpack_texts
from tillwatch.spark.batch import raised
from tillwatch.spark.manifest import Manifest, Saved
from tillwatch.spark.records import COLUMNS, Record, error_record, patience, records
from tillwatch.spark.shard import Shard
from tillwatch.spark.worker import Job, keep, opened
from tillwatch.state.base import TableRows
from tillwatch.stores import open_store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = 50_000
"""Rows that travel at a time."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be saved: for each shard its tables, the ids of their rows; only rows touched from `since` on.

    `columns` are those of each table that are saved, beside its keys.
    """

    job: Job
    since: int
    ids: Mapping[int, Mapping[str, tuple[tuple[int, int], ...]]]
    columns: Mapping[str, frozenset[str]]


def next_saved(manifest: Manifest, tables: Mapping[int, frozenset[str]]) -> Saved:
    """How the tables are to be saved now: as before, rows that are new with the next ids.

    `tables` are the names of those that each shard saves.
    """
    before = manifest.saved
    taken = {name: before.total(name) for names in tables.values() for name in names}
    ids, sizes = dict(before.ids), dict(before.sizes)
    for number, version in sorted(manifest.shards.items()):
        mine = dict(ids.get(number, {}))
        for name in sorted(tables[number]):
            had, has = before.sizes.get(number, {}).get(name, 0), version.sizes[name]
            if has > had:
                mine[name] = _joined(mine.get(name, ()), (had, taken[name]))
                taken[name] += has - had
        ids[number] = mine
        sizes[number] = {name: version.sizes[name] for name in tables[number]}
    return Saved(manifest.chunk, ids, sizes)


def _joined(runs: tuple[tuple[int, int], ...], run: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The stretches with one more, which continues the last one if its ids do."""
    follows = bool(runs) and run[1] - runs[-1][1] == run[0] - runs[-1][0]
    return runs if follows else (*runs, run)


def saved_tables(spark: SparkSession, order: Order) -> Iterator[TableRows]:
    """The rows to be saved, some at a time. Raises what a task has raised."""
    shards = sorted(order.ids)
    count = len(shards)
    numbered = spark.range(0, count, 1, max(1, count))  # there is no shard while no row was valid
    for row in numbered.mapInArrow(partial(dump_shards, order, tuple(shards)), COLUMNS).toLocalIterator():
        if row.kind == "error":
            raise raised(bytes(row.data))
        yield table_rows(row.kind, bytes(row.data))


def table_rows(name: str, data: bytes) -> TableRows:
    """The rows that a saving task has packed."""
    columns: dict[str, Any] = {}
    for label, values in unpack(data, "what a saving task has sent").items():
        column, _, kind = label.rpartition(":")
        if kind == "text":
            columns[column] = unpack_texts(values)
        elif kind == "value":
            columns[column] = values.tolist()
        else:
            columns[column] = [v if k else None for v, k in zip(columns[column], values.tolist(), strict=True)]
    return TableRows(name, columns)


def dump_shards(order: Order, shards: tuple[int, ...], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The body of a saving task: the rows of its shards, packed, a record for some rows of a table."""
    for batch in batches:
        for place in batch.column(0).to_pylist():
            number = shards[place]
            try:
                store, retry = open_store(order.job.store), patience()
                shard = opened(order.job, number, store, retry)
                for name, runs in order.ids[number].items():
                    for record in _rows(shard, number, name, runs, order):
                        yield records([record])
                keep(order.job, number, shard)
            except TillwatchError as error:
                yield records([error_record(error)])


def touched_rows(shard: Shard, number: int, order: Order) -> Iterator[TableRows]:
    """The rows of a shard that are to be saved, some at a time."""
    for name, runs in order.ids[number].items():
        for grain, slots in _touched(shard, name, order.since):
            rows = snapshot.rows_of(shard.fold, grain, slots)
            wanted = {*grain, *order.columns[name]}
            columns = {c: values for c, values in rows.columns.items() if c in wanted}
            yield TableRows(name, {"id": ids_of(runs, slots).tolist(), **columns})


def _rows(shard: Shard, number: int, name: str, runs: tuple[tuple[int, int], ...], order: Order) -> Iterator[Record]:
    for grain, slots in _touched(shard, name, order.since):
        yield (number, 0, name, pack(_columns(shard, grain, slots, ids_of(runs, slots), order.columns[name])))


def _touched(shard: Shard, name: str, since: int) -> Iterator[tuple[Grain, Ints]]:
    """The slots of a table that were touched since a chunk, some at a time."""
    grain, table = next((g, t) for g, t in shard.fold.tables.items() if t.spec.name == name)
    slots = np.flatnonzero(shard.touched[grain][: table.size] >= since)
    for start in range(0, len(slots), ROWS):
        yield grain, slots[start : start + ROWS]


def _columns(shard: Shard, grain: Grain, slots: Ints, ids: Ints, wanted: frozenset[str]) -> dict[str, NDArray[Any]]:
    """A row's columns in the order of the table; a lookup's values are followed by where they are known."""
    table = shard.fold.tables[grain]
    arrays: dict[str, NDArray[Any]] = {"id:value": ids}
    for key in grain:
        arrays[f"{key}:text"] = pack_texts(shard.fold.decoder.dictionaries[key].texts(table.keys[key][slots]))
    for column in (c for c in table.columns if c in wanted):
        arrays[f"{column}:value"] = table.columns[column][slots]
    for lookup, joined in ((name, joined) for name, joined in table.lookups.items() if name in wanted):
        arrays[f"{lookup}:value"] = joined.value[slots]
        arrays[f"{lookup}:known"] = joined.known[slots]
    return arrays


def ids_of(runs: tuple[tuple[int, int], ...], slots: Ints) -> Ints:
    """The ids of slots.

    >>> ids_of(((0, 0), (2, 10)), np.array([0, 1, 2, 3])).tolist()
    [0, 1, 10, 11]
    """
    firsts = np.array([first for first, _ in runs], np.int64)
    shifts = np.array([identity - first for first, identity in runs], np.int64)
    return slots + shifts[np.searchsorted(firsts, slots, "right") - 1]
