"""What travels between tasks, and to the driver: records, as Arrow has them; and what every task does first."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterable
from functools import cache

import pyarrow as pa

from tillwatch.clock import SystemClock
from tillwatch.errors import TillwatchError
from tillwatch.retry import Retry

PATIENCE = 20.0
"""Seconds for which a task tries again what a store refuses, before the run is told."""

COLUMNS = "shard int, chunk long, kind string, data binary"
"""What travels between tasks, and to the driver: `kind` is rows, account, chunk, found, version, error."""

_SCHEMA = pa.schema([("shard", pa.int32()), ("chunk", pa.int64()), ("kind", pa.string()), ("data", pa.binary())])

Record = tuple[int, int, str, bytes]


def records(rows: Iterable[Record]) -> pa.RecordBatch:
    """Records as Arrow."""
    columns = list(zip(*rows, strict=True)) or [()] * len(_SCHEMA)
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def error_record(error: TillwatchError) -> Record:
    """An error as a record: the driver raises it again, as it is and not as Spark would tell it."""
    return (0, -1, "error", json.dumps({"error": type(error).__name__, "text": str(error)}).encode())


def patience() -> Retry:
    """Tries again on an executor, where there is nobody to report to."""
    return Retry(SystemClock(), threading.Event(), lambda text: None, PATIENCE)


@cache
def settle() -> None:
    """Once per process: what is imported by now is passed over when Spark collects garbage, as it does after each task.

    That saves tens of milliseconds a task.
    """
    gc.collect()
    gc.freeze()
