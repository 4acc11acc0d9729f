"""What ingest is told, what it tells on the way, and what it says in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tillwatch.model import ChunkInfo, SourceFile
from tillwatch.sources.base import FileIgnored
from tillwatch.state.base import FileRecord, FileStatus

Format = Literal["auto", "csv", "jsonl", "parquet"]

PROBLEMS: tuple[FileStatus, ...] = ("refused", "changed", "broken")
"""What may become of a file that its owner has to look after."""


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """`root` is a path or URI, `rows` the size of a chunk, `every` the seconds per chunk (0: flat out).

    `required` maps logical names to the columns that every CSV and Parquet file must have.
    """

    root: Path | str
    rows: int
    every: float
    format: Format
    delimiter: str
    required: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FileStarted:
    """Reading a file begins, behind `row` rows of an earlier run."""

    file: SourceFile
    row: int


@dataclass(frozen=True, slots=True)
class ChunkLanded:
    """A chunk is in the landing zone, which took so many seconds, and noted in the ledger.

    `part` is how much of what was found to be read is landed with it, from 0 to 1; None where there is no end, or the
    place in the file does not say it.
    """

    info: ChunkInfo
    seconds: float = field(default=0.0, compare=False)
    part: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FileFinished:
    """Ingest is through with a file; `record.status` says how."""

    record: FileRecord


Event = FileStarted | ChunkLanded | FileFinished | FileIgnored


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What this run landed, and for each file that needs looking after a line that says why."""

    chunks: int
    rows: int
    problems: tuple[str, ...]
