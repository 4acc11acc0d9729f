"""The tables of running values saved by the executors, where the state is a database that all of them reach.

Each task stages its shards' rows over a connection of its own, with credentials from its own environment; the driver
merges what the tasks say that they have staged. A task that ran twice has staged twice, and is heard once.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from tillwatch.errors import StateError, TillwatchError
from tillwatch.spark.batch import raised
from tillwatch.spark.query import failed
from tillwatch.spark.records import COLUMNS, Record, error_record, patience, records
from tillwatch.spark.tables import Order, touched_rows
from tillwatch.spark.worker import keep, opened
from tillwatch.state import stage_rows
from tillwatch.state.staging import Merge, Staged, Staging
from tillwatch.stores import open_store

TASKS = 32
"""At most so many tasks, and thus connections to the database, at a time."""

PATIENCE = 3.0
"""Seconds for which a task tries again what the database refuses; then the driver is told, which has more patience."""


def save_staged(spark: SparkSession, staging: Staging, place: str, order: Order, merge: Merge) -> None:
    """Saves the tables by staging in the state at `place`. Raises what a task has raised."""
    into = staging.make_staging({name for tables in order.ids.values() for name in tables})
    shards = tuple(sorted(order.ids))
    numbered = spark.range(0, len(shards), 1, max(1, min(len(shards), TASKS)))
    tasks = numbered.mapInArrow(partial(stage_shards, order, place, into, shards), COLUMNS)
    try:
        told = tasks.toArrow().to_batches()
    except PySparkException as error:
        raise failed(error) from None
    staging.merge_staged(merge, into, staged_by(told))


def staged_by(batches: Iterable[pa.RecordBatch]) -> list[Staged]:
    """What staging tasks have told. Raises what one of them has raised."""
    staged = []
    for batch in batches:
        for kind, data in zip(batch.column(2).to_pylist(), batch.column(3).to_pylist(), strict=True):
            if kind == "error":
                raise raised(data)
            staged.append(Staged(**json.loads(data)))
    return staged


def stage_shards(
    order: Order, place: str, into: Mapping[str, str], shards: tuple[int, ...], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The body of a staging task: its shards, by their place in `shards`, one after the other."""
    for batch in batches:
        for at in batch.column(0).to_pylist():
            yield records([_guarded(order, place, into, shards[at])])


def _guarded(order: Order, place: str, into: Mapping[str, str], number: int) -> Record:
    try:
        staged = _stage(order, place, into, number)
    except StateError as error:
        return error_record(_from_here(error))
    except TillwatchError as error:
        return error_record(error)
    return (number, 0, "staged", json.dumps(asdict(staged)).encode())


def _stage(order: Order, place: str, into: Mapping[str, str], number: int) -> Staged:
    store, retry = open_store(order.job.store), patience()
    shard = opened(order.job, number, store, retry)
    briefly = replace(retry, patience=PATIENCE)
    staged = briefly(lambda: stage_rows(place, into, touched_rows(shard, number, order)))
    keep(order.job, number, shard)
    return staged


def _from_here(error: StateError) -> StateError:
    return StateError(
        f"executor on {socket.gethostname()}: {error}. Executors write the tables of running values themselves: each "
        "must reach the server, and find the password in its own environment (PGPASSWORD, PGPASSFILE)"
    )
