"""For tests: a Spark in this process, small and quick to start, that all pipelines of the process use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from tillwatch.config import Spark
from tillwatch.pipeline import Pipeline
from tillwatch.spark.session import session

FLAGS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Halves what a Java takes to start."""

SECRET = "f8Kq-not-to-be-seen"
"""The value of a setting that is a secret."""


@contextmanager
def shared_session() -> Iterator[None]:
    """A Spark with two cores, and a secret among its settings."""
    conf = {
        "spark.driver.memory": "768m",
        "spark.driver.extraJavaOptions": FLAGS,
        "spark.hadoop.fs.s3a.secret.key": SECRET,
        "spark.sql.shuffle.partitions": "2",
    }
    with session(Spark(master="local[2]", conf=conf)):
        yield


def untouched(pipeline: Pipeline) -> int:
    """How many detections are of a pair that had no row in their chunk: a cut-off has moved.

    A state that keeps only what was touched forgets that these were detected.
    """
    count = 0
    for (chunk,), rows in pipeline.detections().filter(pl.col("customerName") != "").group_by("chunk"):
        frame = pipeline.landing.read(int(chunk), ["customer", "merchant"]).frame
        there = set(zip(*(frame[c].str.strip_chars("'").to_list() for c in ("customer", "merchant")), strict=True))
        count += sum(pair not in there for pair in rows.select("customerName", "MerchantId").iter_rows())
    return count
