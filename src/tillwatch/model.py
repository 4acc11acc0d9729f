"""The frozen data that flows through the house."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

STANDARD_KEYS = ("customer", "merchant", "category", "gender")
"""The names of text columns that the language brings; columns of one's own come after them in every grain."""

SOURCE_FILE = "_source_file"
"""Column of a landed chunk: the name of the source file a row came from (String)."""

SOURCE_ROW = "_source_row"
"""Column of a landed chunk: the row's number in its source file, from 1, header not counted (Int64)."""

MALFORMED = "_malformed"
"""Column of a landed chunk: the text of a row that could not be cut into columns, else null (String)."""

PROBLEM = "_problem"
"""Column of a landed chunk: why the row could not be cut into columns, else null (String)."""

RESERVED = (SOURCE_FILE, SOURCE_ROW, MALFORMED, PROBLEM)
"""Column names that a source may not use."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One source file as it was when it was taken.

    `number` counts files in the order they were taken, from 0; `name` is the path below the source
    (forward slashes), `size` is in bytes, `modified` in nanoseconds since 1970. `id` is what the place knows the file
    by, empty where that is its name; `revision` is what the place calls this content, empty on a local disk.
    """

    number: int
    name: str
    size: int
    modified: int
    id: str = ""
    revision: str = ""

    @property
    def key(self) -> str:
        """What makes it this file and no other, whatever its content: its id, or else its name."""
        return self.id or self.name


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader stands in a file: `row` rows are behind it, and it goes on at `offset`.

    `offset` counts bytes of the uncompressed text, for Parquet rows.
    """

    row: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ChunkInfo:
    """What a landed chunk says about itself.

    `first_row` is the source row number (from 1) of its first row; `position` is where the reader goes on
    after it; `file_digest` is the SHA-256 of the whole source file, or the checksum of the place that has it, on the
    file's last chunk only; `digest` is the SHA-256 of the landed chunk, empty before it is landed; `bytes` is the size
    of its object, None where that is not known.
    """

    number: int
    rows: int
    file: SourceFile
    first_row: int
    position: Position
    file_digest: str | None = None
    digest: str = ""
    bytes: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A landed chunk: its metadata and its rows, every source column as it came plus the RESERVED ones."""

    info: ChunkInfo
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Detection:
    """One (pattern, key) for which the condition came true after `chunk`, or on one of its rows.

    `key` maps the pattern's `per` columns to values. `evidence` is JSON-ready. `occasion` tells it from others of the
    same pattern and key: the chunk, or chunk and row; it is empty where there can be one only. One in the shadow is
    recorded and not published.
    """

    chunk: int
    pattern: str
    action: str
    key: dict[str, str]
    evidence: dict[str, Any]
    occasion: str = ""
    shadow: bool = False

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """What makes it this detection and no other: chunk, pattern, key (JSON), occasion."""
        return (self.chunk, self.pattern, self.key_text, self.occasion)

    @property
    def key_text(self) -> str:
        """The key as JSON."""
        return json.dumps(dict(self.key), ensure_ascii=False)

    @property
    def row(self) -> int | None:
        """The number in the source file of the row that was judged; None where that was done after the chunk."""
        row: int | None = self.evidence.get("row")
        return row

    @property
    def place(self) -> tuple[Any, ...]:
        """Its place among the detections of its chunk and pattern: CONTRACT 6, and then rows in their order."""
        return (self.customer, self.merchant, self.row or 0, *self.key.values())

    @property
    def customer(self) -> str:
        """The customer, or the empty string when the pattern is not per customer."""
        return self.key.get("customer", "")

    @property
    def merchant(self) -> str:
        """The merchant, or the empty string when the pattern is not per merchant."""
        return self.key.get("merchant", "")


@dataclass(frozen=True, slots=True)
class Turn:
    """A later turn in the life of the last detection of a pattern and key: it ceased to hold after the chunk, or holds
    again. `cleared` says that its ceasing is published; `shadow` is the detection's.
    """

    chunk: int
    pattern: str
    key: Mapping[str, str]
    holds: bool
    cleared: bool = False
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """What windows need of the log behind the tables: chunks from `first` on, and the clock before that chunk."""

    first: int
    clock: int | None

    def text(self) -> str:
        """As it is noted in the state.

        >>> Reach.of(Reach(3, -5_000_000).text())
        Reach(first=3, clock=-5000000)
        """
        return json.dumps({"first": self.first, "clock": self.clock})

    @classmethod
    def of(cls, text: str) -> Reach:
        """What `text` gave."""
        return cls(**json.loads(text))


REACH = "windows"
"""The name under which the state notes a Reach, that of its tables."""
