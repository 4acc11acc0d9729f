"""What those who review a pipeline ask of a state store: its tables piece by piece, and what became of chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from tillwatch.state.tables import TableShape


@dataclass(frozen=True, slots=True)
class Band:
    """Consecutive processed chunks, `first`…`last`: their rows by what became of them, and when they were processed.

    Times are ISO 8601; `reasons` are rows quarantined by reason code.
    """

    first: int
    last: int
    rows: int
    counted: int
    filtered: int
    since: str
    until: str
    reasons: Mapping[str, int]

    @property
    def quarantined(self) -> int:
        """Rows quarantined, all reasons together."""
        return sum(self.reasons.values())


@dataclass(frozen=True, slots=True)
class WrongChunk:
    """A chunk with quarantined rows: how many, and when it was processed."""

    number: int
    rows: int
    at: str


class Review(Protocol):
    """The questions."""

    def shapes(self) -> list[TableShape]:
        """The tables of running values. Raises StateError."""
        ...

    def rows_in(self, shape: TableShape) -> int:
        """How many rows a table has; their ids are 0, 1, 2 …"""
        ...

    def table_parts(self, shape: TableShape) -> Iterator[Mapping[str, tuple[object, ...]]]:
        """The rows of a table by id, some at a time: column to values. To be asked within one `snapshot`."""
        ...

    def last_of(self, pattern: str, key: Mapping[str, str], *, shadow: bool = False) -> int | None:
        """The seq of the last detection of a key, None when there is none."""
        ...

    def bands(self, chunks: int) -> list[Band]:
        """All processed chunks, so many at a time, in order."""
        ...

    def wrong_chunks(self, reason: str | None, limit: int) -> list[WrongChunk]:
        """The newest chunks with rows that were quarantined for this reason, or for any; newest first."""
        ...
