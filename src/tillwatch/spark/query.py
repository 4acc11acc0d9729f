"""A streaming query over the landing zone, whose batches the driver's main thread takes one by one."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import expr
from pyspark.sql.streaming.query import StreamingQuery

from tillwatch.config import masked
from tillwatch.errors import RunError
from tillwatch.spark.reading import ReadPlan
from tillwatch.spark.records import COLUMNS
from tillwatch.spark.scratch import scratch
from tillwatch.spark.source import chunk_source
from tillwatch.spark.worker import Job, fold_shards

Records = list[tuple[int, str, bytes]]
"""Shard, kind and data of what the tasks of a batch told."""


class Query:
    """Runs batches. After each it waits until what it told was taken and `done` was said.

    `job` gives what folding tasks are told, when a batch begins. It goes on until it is closed.
    """

    def __init__(self, spark: SparkSession, plan: ReadPlan, job: Callable[[], Job]) -> None:
        self._job = job
        self._divided = divider(spark, plan.groups[-1].shards.stop)
        self._told: queue.Queue[Records | Exception] = queue.Queue()
        self._committed: queue.Queue[bool] = queue.Queue()
        spark.dataSource.register(chunk_source(plan))
        stream = spark.readStream.format("tillwatch").load()
        self._open = ExitStack()
        # Only the driver uses it: a plain path would be one of the cluster's file system, which may be another.
        checkpoint = self._open.enter_context(scratch()).as_uri()
        writer = stream.writeStream.foreachBatch(self._batch).option("checkpointLocation", checkpoint)
        self._query: StreamingQuery = writer.start()

    def _batch(self, frame: DataFrame, _: int) -> None:
        """Called by Spark, in a thread of its own."""
        try:
            self._told.put(self._run(frame))
        except Exception as error:
            self._told.put(error)
            raise
        if not self._committed.get():
            raise RuntimeError("the query was closed before its batch was committed")

    def _run(self, frame: DataFrame) -> Records:
        told = self._divided(frame).mapInArrow(partial(fold_shards, self._job()), COLUMNS).toArrow()
        return list(zip(*(told[c].to_pylist() for c in ("shard", "kind", "data")), strict=True))

    def next(self, seconds: float) -> Records | None:
        """What the next batch told, None when there is none yet. Raises RunError when Spark has failed."""
        try:
            told = self._told.get(timeout=seconds)
        except queue.Empty:
            if self.ended and (problem := self._query.exception()):
                raise failed(problem) from None
            return None
        if isinstance(told, Exception):
            raise failed(told)
        return told

    @property
    def ended(self) -> bool:
        """Whether no batch will come any more."""
        return not self._query.isActive and self._told.empty()

    def done(self) -> None:
        """The batch was committed: the next one may begin."""
        self._committed.put(True)

    def close(self) -> None:
        """Stops the query, and forgets its checkpoint."""
        self._committed.put(False)
        self._query.stop()
        self._open.close()


def divider(spark: SparkSession, shards: int) -> Callable[[DataFrame], DataFrame]:
    """What gives each shard a partition of its own, so that none waits for another one's task."""
    if hasattr(DataFrame, "repartitionById"):
        return lambda frame: frame.repartitionById(shards, frame["shard"])
    # Before Spark 4.1 partitions go by hash: each shard gets a number whose hash is that of its own partition.
    hashed = spark.range(64 * shards).selectExpr("cast(id as int)", f"pmod(hash(cast(id as int)), {shards})").collect()
    keys = {partition: key for key, partition in hashed}
    listed = ", ".join(str(keys[shard]) for shard in range(shards))
    return lambda frame: frame.repartition(shards, expr(f"element_at(array({listed}), shard + 1)"))


def failed(error: Exception) -> RunError:
    """What Spark has raised, in short."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if line.startswith(("tillwatch.errors.", "RuntimeError"))), "")
    return RunError(masked(f"Spark failed: {told or (lines or [type(error).__name__])[0]}"))
