"""The questions of those who review, in SQL that every store speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tillwatch.state.review import Band, WrongChunk
from tillwatch.state.sql_rows import Row, key_text
from tillwatch.state.tables import TableShape, part_sql, size_sql

ROWS = 50_000
"""Rows of a table that are read at a time."""


class SqlReview(ABC):
    """Reads only. What a value may be is bound, never pasted in."""

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows that a query gives. Raises StateError."""

    def rows_in(self, shape: TableShape) -> int:
        (row,) = self._rows(size_sql(shape))
        return int(row[0])

    def table_parts(self, shape: TableShape) -> Iterator[Mapping[str, tuple[object, ...]]]:
        first = 0
        while rows := list(self._rows(part_sql(shape, first, first + ROWS - 1))):
            yield dict(zip(shape.columns, zip(*rows, strict=True), strict=True))
            first += ROWS

    def last_of(self, pattern: str, key: Mapping[str, str], *, shadow: bool = False) -> int | None:
        (row,) = self._rows("last_shadow_of" if shadow else "last_of", (pattern, key_text(key)))
        return None if row[0] is None else int(row[0])

    def bands(self, chunks: int) -> list[Band]:
        reasons: dict[int, dict[str, int]] = defaultdict(dict)
        for band, reason, rows in self._rows("quarantine_bands", (chunks,)):
            reasons[band][reason] = rows
        return [Band(*(*row, reasons[band])) for band, *row in self._rows("bands", (chunks,))]

    def wrong_chunks(self, reason: str | None, limit: int) -> list[WrongChunk]:
        return [WrongChunk(*row) for row in self._rows("wrong_chunks", (reason, limit))]
