"""A landing zone that X and Y of one process share: what X has just landed, Y need not read again."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import polars as pl

from tillwatch.landing import Format, Landing, LayoutName
from tillwatch.model import RESERVED, Chunk, ChunkInfo
from tillwatch.stores.base import Store

ROWS_KEPT = 480_000


class SharedLanding(Landing):
    """Hands each landed chunk to the first reader, once, and sets `hint` when there is one.

    Chunks are kept up to some rows; a reader that is further behind reads the landing zone. Only Parquet gives back
    values exactly as they were put: with another format nothing is kept.
    """

    def __init__(self, store: Store, format: Format, layout: LayoutName, hint: threading.Event) -> None:
        super().__init__(store, format, layout)
        self._hint = hint
        self._exact = format == "parquet"
        self._kept: dict[int, Chunk] = {}
        self._rows = 0
        self._lock = threading.Lock()

    def put(self, info: ChunkInfo, frame: pl.DataFrame) -> ChunkInfo:
        landed = super().put(info, frame)
        with self._lock:
            if self._exact and self._rows + info.rows <= ROWS_KEPT:
                self._kept[landed.number] = Chunk(landed, frame)
                self._rows += info.rows
        self._hint.set()
        return landed

    def read(self, number: int, columns: Sequence[str] | None = None) -> Chunk:
        with self._lock:
            kept = self._kept.pop(number, None) if columns is not None else None
            self._rows -= kept.info.rows if kept else 0
        if kept is None or columns is None:
            return super().read(number, columns)
        wanted = {*columns, *RESERVED}
        return Chunk(kept.info, kept.frame.select(c for c in kept.frame.columns if c in wanted))
