"""What those who look at a pipeline ask of a state store: how it moves, and detections by what they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from tillwatch.state.base import StoredDetection

Stage = Literal["landed", "processed"]

NO_END = 2**62
"""Above every seq and every chunk."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """By being another one it says that something has changed: one cheap question.

    `landed` is the next chunk that ingest will note, `cursor` the next one of detect, `tables` the chunk before which
    the tables of running values are; `seq` is the last detection, `published` the last one in a file that is there.
    """

    landed: int
    cursor: int
    tables: int
    seq: int
    published: int
    rule_sets: int
    commit: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Chunks that were landed, or processed, within the same ten seconds. `at` is the first time, ISO 8601.

    `first` is the lowest number of them; `quarantined` is 0 for what is landed.
    """

    at: str
    chunks: int
    rows: int
    quarantined: int
    first: int


@dataclass(frozen=True, slots=True)
class ChunkTimes:
    """A chunk with its times, ISO 8601, None where it is not known or not yet so; `file` is the name of its source."""

    number: int
    file: str
    first_row: int
    rows: int
    bytes: int | None
    landed_at: str | None
    counted: int | None
    quarantined: int | None
    filtered: int | None
    processed_at: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which detections: None is all. `since` and `until` are beginnings of ISO 8601 times, the second one excluded.

    `text` is part of a value of the key, in any case of ASCII letters.
    """

    pattern: str | None = None
    action: str | None = None
    customer: str | None = None
    merchant: str | None = None
    since: str | None = None
    until: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """How many detections there are, and the first and the last detectionTime, None where there are none."""

    count: int
    first: str | None
    last: str | None


class Look(Protocol):
    """The questions."""

    def pulse(self) -> Pulse:
        """Whether anything has changed, by comparison with an earlier one."""
        ...

    def flow(self, stage: Stage, first: int, since: str) -> list[Flow]:
        """Chunks from number `first` on with a time from `since` on, by ten seconds, in order."""
        ...

    def chunk_times(self, first: int, last: int) -> list[ChunkTimes]:
        """Chunks by number."""
        ...

    def actions(self) -> list[tuple[str, str, int]]:
        """(pattern, action, detections), by name."""
        ...

    def newest(self, wanted: Wanted, before: int = NO_END, limit: int = 100) -> list[StoredDetection]:
        """The newest detections with a seq below `before`, newest first; `file` is not asked for."""
        ...

    def span(self, wanted: Wanted) -> Span:
        """How many there are, and when."""
        ...

    def counts(self, wanted: Wanted, length: int) -> list[tuple[str, str, int]]:
        """(pattern, the first `length` characters of detectionTime, detections), in order."""
        ...

    def feature_rows(
        self, table: str, columns: Sequence[str], keys: Mapping[str, str], limit: int
    ) -> list[tuple[Any, ...]]:
        """Keys and features of the rows of a table of running values with these keys, as of chunk `Pulse.tables`.

        Raises StateError when the state has no such table or column.
        """
        ...
