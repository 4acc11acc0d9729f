"""The floor, a process of its own: polars reads both files and groups each once. Without files it only starts."""

from __future__ import annotations

import sys

import polars as pl


def floor(transactions: str, importance: str) -> None:
    """One group_by per file, over the columns it needs, by the streaming engine: the fastest of the ways tried."""
    by_pair = pl.scan_csv(transactions).group_by("customer", "merchant")
    by_pair.agg(pl.len(), pl.col("amount").mean()).collect(engine="streaming")
    by_key = pl.scan_csv(importance).group_by("Source", "Target")
    by_key.agg(pl.col("Weight").mean()).collect(engine="streaming")


if __name__ == "__main__" and len(sys.argv) > 1:
    floor(*sys.argv[1:])
