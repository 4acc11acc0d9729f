"""The same work as most public programs for it do it with PySpark, and nothing worse: what the Spark engine is beside.

`python -m benchmarks.incumbent LANDED IMPORTANCE POSTGRES CHUNKS` reads landed chunks one a batch (`foreachBatch`),
collects what Spark has grouped, upserts it row by row into PostgreSQL in one transaction, reads the tables back whole,
ranks with `percent_rank` in windows, and collects what is new. It finds what the engine finds. It cannot be killed
safely: its tables and Spark's checkpoint are not one transaction.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.spark_alone import processor

if TYPE_CHECKING:
    import psycopg
    from pyspark.sql import DataFrame, SparkSession

TABLES = """
CREATE TABLE pair (customer text, merchant text, n bigint, total numeric, PRIMARY KEY (customer, merchant));
CREATE TABLE seen (merchant text, customer text, gender text, PRIMARY KEY (merchant, customer, gender));
CREATE TABLE detection (
  pattern text, customer text, merchant text, chunk int, PRIMARY KEY (pattern, customer, merchant))
"""
UPSERT_PAIR = """
INSERT INTO pair VALUES (%s, %s, %s, %s) ON CONFLICT (customer, merchant)
DO UPDATE SET n = pair.n + excluded.n, total = pair.total + excluded.total
"""
UPSERT_SEEN = "INSERT INTO seen VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
UPSERT_FOUND = "INSERT INTO detection VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"

HOLDING = """
WITH ranked AS (
  SELECT p.customer, p.merchant, p.n, p.total, sum(p.n) OVER (PARTITION BY p.merchant) AS whole,
    percent_rank() OVER (PARTITION BY p.merchant ORDER BY p.n) AS by_n, i.weight
  FROM pair p LEFT JOIN importance i ON p.customer = i.customer AND p.merchant = i.merchant),
weighed AS (
  SELECT *, percent_rank() OVER (PARTITION BY merchant, weight IS NULL ORDER BY weight) AS by_weight FROM ranked),
women AS (
  SELECT merchant, count(CASE WHEN gender = 'F' THEN 1 END) AS f, count(CASE WHEN gender = 'M' THEN 1 END) AS m
  FROM seen GROUP BY merchant)
SELECT 'PatId1' AS pattern, customer, merchant FROM weighed
WHERE whole > 50000 AND by_n >= 0.9 AND weight IS NOT NULL AND by_weight <= 0.1
UNION ALL SELECT 'PatId2', customer, merchant FROM ranked WHERE n >= 80 AND total < 23 * n
UNION ALL SELECT 'PatId3', '', merchant FROM women WHERE f > 100 AND f < m
"""


def whole_table(spark: SparkSession, db: psycopg.Connection[Any], name: str, columns: str) -> DataFrame:
    """A table of the database, all of it, in Spark."""
    import pandas as pd

    rows = db.execute(f"SELECT {columns} FROM {name}").fetchall()  # noqa: S608 - fixed names
    return spark.createDataFrame(pd.DataFrame(rows, columns=columns.split(", ")))


def work(spark: SparkSession, db: psycopg.Connection[Any], batch: DataFrame, number: int) -> None:
    """One batch."""
    from pyspark.sql import functions as f

    texts = [f.regexp_replace(f.trim(c), "^'|'$", "").alias(c) for c in ("customer", "merchant", "gender")]
    clean = batch.select(*texts, f.col("amount").cast("decimal(18, 4)").alias("amount")).cache()
    sums = clean.groupBy("customer", "merchant").agg(f.count("*").alias("n"), f.sum("amount").alias("total")).collect()
    genders = clean.where("gender IN ('F', 'M')").select("merchant", "customer", "gender").distinct().collect()
    with db.transaction(), db.cursor() as cursor:
        for row in sums:
            cursor.execute(UPSERT_PAIR, tuple(row))
        for row in genders:
            cursor.execute(UPSERT_SEEN, tuple(row))
    clean.unpersist()
    whole_table(spark, db, "pair", "customer, merchant, n, total").createOrReplaceTempView("pair")
    whole_table(spark, db, "seen", "merchant, customer, gender").createOrReplaceTempView("seen")
    with db.transaction(), db.cursor() as cursor:
        for row in spark.sql(HOLDING).collect():
            cursor.execute(UPSERT_FOUND, (*row, number))


def weights(spark: SparkSession, importance: str) -> None:
    """The average weight of each pair, cached."""
    from pyspark.sql import functions as f

    plain = spark.read.csv(importance, header=True, quote="'")
    by_pair = plain.groupBy(plain["Source"].alias("customer"), plain["Target"].alias("merchant"))
    averages = by_pair.agg(f.avg(plain["Weight"].cast("double")).alias("weight"))
    averages.cache().createOrReplaceTempView("importance")


def plain_session(folder: Path) -> SparkSession:
    """Spark as it comes, but for 200 partitions, which would be far slower, and rows to Spark by Arrow."""
    from pyspark.sql import SparkSession

    from tillwatch.spark.session import java_home

    os.environ["JAVA_HOME"] = str(java_home(folder))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.execution.arrow.pyspark.enabled", "true")
    return builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()


def main(landed: str, importance: str, place: str, chunks: str) -> None:
    import psycopg

    plain, _, schema = place.partition("?schema=")
    db = psycopg.connect(plain, autocommit=True)
    db.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    db.execute(f'SET search_path TO "{schema}"')
    db.execute(TABLES)
    done: list[list[float]] = []
    with tempfile.TemporaryDirectory() as checkpoint:
        folder = Path(checkpoint) / "chunks"
        folder.mkdir()
        for number, file in enumerate(sorted(Path(landed).iterdir())[: int(chunks)]):
            shutil.copy(file, folder / file.name)
            os.utime(folder / file.name, (1e9 + number, 1e9 + number))  # Spark takes files by their time
        spark = plain_session(Path(checkpoint))
        weights(spark, importance)
        schema_of = spark.read.parquet(str(folder)).schema
        stream = spark.readStream.schema(schema_of).option("maxFilesPerTrigger", 1).parquet(str(folder))
        began, used = time.perf_counter(), processor()

        def batch(frame: DataFrame, number: int) -> None:
            work(spark, db, frame, number)
            done.append([number + 1, time.perf_counter() - began, processor() - used])

        writer = stream.writeStream.foreachBatch(batch).option("checkpointLocation", f"{checkpoint}/checkpoint")
        writer.trigger(availableNow=True).start().awaitTermination()
        spark.stop()
    found = db.execute("SELECT chunk, pattern, customer, merchant FROM detection").fetchall()
    print(json.dumps({"commits": done, "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
