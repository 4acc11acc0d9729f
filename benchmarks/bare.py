"""The least that `run --once` has to ask of its libraries, and nothing else: no checks, no digests, no state, no files.

The transactions are parsed as text, as they came, and encoded as Parquet a chunk at a time; the lookup is summed
exactly; every chunk is grouped once. What a run takes beyond this is its own; what this takes beyond the floor is the
price of keeping every column, and of chunks.
"""

from __future__ import annotations

import io
import sys

import polars as pl

from benchmarks.data import CHUNK_ROWS

_SCALED = pl.Decimal(15, 4)


def bare(transactions: str, importance: str) -> None:
    """All of it in one process, one after the other."""
    weight = pl.col("Weight").cast(_SCALED)
    by_key = pl.scan_csv(importance, infer_schema=False).group_by("Source", "Target")
    by_key.agg(weight.sum(), pl.len()).collect()
    rows = pl.read_csv(transactions, infer_schema=False)
    for start in range(0, rows.height, CHUNK_ROWS):
        chunk = rows.slice(start, CHUNK_ROWS)
        chunk.write_parquet(io.BytesIO(), compression="zstd", compression_level=1, statistics=False)
        chunk.group_by("customer", "merchant").agg(pl.len(), pl.col("amount").cast(_SCALED).sum())


if __name__ == "__main__":
    bare(*sys.argv[1:])
