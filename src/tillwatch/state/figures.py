"""What a state says of a range of chunks, added up by the store: the same few rows, however much was found.

Detections are numbered in the order of their chunks, so those of a range of chunks are a range of seqs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

BLOCK_CHUNKS = 50_000
BLOCK_SEQS = 500_000
"""Read at a time, so that memory is bounded with every store."""


class ChunkFigures(NamedTuple):
    """A chunk and when what happened to it; what has not, or is not known, is None. Times are ISO 8601."""

    number: int
    rows: int
    counted: int | None
    quarantined: int | None
    filtered: int | None
    landed_at: str | None
    processed_at: str | None


class FileRead(NamedTuple):
    """A source file, and the chunks of a range that are of it. `size` is of the whole file, in bytes."""

    name: str
    status: str
    size: int
    problem: str | None
    chunks: int
    rows: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Found:
    """Detections of a pattern: how many, how many hold now, in which chunks, and their seqs, first and last."""

    pattern: str
    action: str
    count: int
    holds: int
    first: int
    last: int
    first_seq: int
    last_seq: int


class Quarantined(NamedTuple):
    """Rows quarantined for one reason, in so many chunks, from the first to the last."""

    reason: str
    rows: int
    chunks: int
    first: int
    last: int


class Figures(Protocol):
    """What reports ask of a state."""

    def chunks_of_days(self, first: str, last: str) -> tuple[int, int] | None:
        """The first and the last chunk processed on these days (such as 2026-11-20), None when there is none."""
        ...

    def chunk_figures(self, first: int, last: int) -> Iterator[ChunkFigures]:
        """The chunks of a range, in order."""
        ...

    def files_of_chunks(self, first: int, last: int, limit: int) -> tuple[int, list[FileRead]]:
        """How many files chunks of a range are of, and the last ones, the very last first."""
        ...

    def found(self, first: int, last: int, *, shadow: bool = False) -> list[Found]:
        """Detections of a range of chunks, by pattern and action."""
        ...

    def growth(self, first_seq: int, last_seq: int, start: int, width: int) -> list[tuple[int, str, int]]:
        """Detections of a range by group of `width` chunks, counted from chunk `start` on, and pattern."""
        ...

    def seqs_of_chunks(self, first_seq: int, last_seq: int) -> Iterator[tuple[int, int, int]]:
        """Chunks with the first and the last seq of their detections, in order; a chunk may come in parts."""
        ...

    def top_merchants(self, first_seq: int, last_seq: int, limit: int) -> list[tuple[str, str, int]]:
        """Merchant, pattern, detections of a range, of those merchants that have most."""
        ...

    def quarantined_in(self, first: int, last: int) -> list[Quarantined]:
        """Rows of a range of chunks that were quarantined, by reason code."""
        ...


class SqlFigures(ABC):
    """The same over SQL."""

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]: ...

    def chunks_of_days(self, first: str, last: str) -> tuple[int, int] | None:
        ((low, high),) = self._rows("chunks_of_days", (first, last))
        return None if low is None else (low, high)

    def chunk_figures(self, first: int, last: int) -> Iterator[ChunkFigures]:
        for start in range(first, last + 1, BLOCK_CHUNKS):
            for row in self._rows("chunk_figures", (start, min(start + BLOCK_CHUNKS - 1, last))):
                yield ChunkFigures(*row)

    def files_of_chunks(self, first: int, last: int, limit: int) -> tuple[int, list[FileRead]]:
        ((count,),) = self._rows("count_files_of_chunks", (first, last))
        return count, [FileRead(*row) for row in self._rows("files_of_chunks", (first, last, limit))]

    def found(self, first: int, last: int, *, shadow: bool = False) -> list[Found]:
        statement = "found_in_shadow" if shadow else "found_in_chunks"
        return [Found(*row) for row in self._rows(statement, (first, last))]

    def growth(self, first_seq: int, last_seq: int, start: int, width: int) -> list[tuple[int, str, int]]:
        return [(b, pattern, n) for b, pattern, n in self._rows("growth", (start, width, first_seq, last_seq))]

    def seqs_of_chunks(self, first_seq: int, last_seq: int) -> Iterator[tuple[int, int, int]]:
        for start in range(first_seq, last_seq + 1, BLOCK_SEQS):
            yield from self._rows("seqs_of_chunks", (start, min(start + BLOCK_SEQS - 1, last_seq)))

    def top_merchants(self, first_seq: int, last_seq: int, limit: int) -> list[tuple[str, str, int]]:
        values = (first_seq, last_seq, first_seq, last_seq, limit)
        return [(merchant, pattern, n) for merchant, pattern, n in self._rows("top_merchants", values)]

    def quarantined_in(self, first: int, last: int) -> list[Quarantined]:
        return [Quarantined(*row) for row in self._rows("quarantined_in_chunks", (first, last))]

    def rows_of(self, table: str) -> int:
        """How many rows a table has."""
        ((count,),) = self._rows(f'SELECT count(*) FROM "{table}"')  # noqa: S608
        return int(count)
