"""From batches of rows as they were read to pieces of a set size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.ingest.readers.base import Piece, make_piece


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows, the malformed ones marked when there are any, and for each row the offset behind it."""

    frame: pl.DataFrame
    ends: NDArray[np.int64]


def to_size(batches: Iterable[Batch], rows: int, name: str, first_row: int) -> Iterator[Piece]:
    """Pieces of exactly `rows` rows, the last one of what is left, however the rows come in batches."""
    parts: list[pl.DataFrame] = []
    held = 0
    end = 0
    for batch in batches:
        at = 0
        while at < batch.frame.height:
            part = batch.frame.slice(at, rows - held)
            parts.append(part)
            held += part.height
            at += part.height
            end = int(batch.ends[at - 1])
            if held == rows:
                yield make_piece(_joined(parts), name, first_row, end)
                parts, held, first_row = [], 0, first_row + rows
    if held:
        yield make_piece(_joined(parts), name, first_row, end)


def _joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal")
