"""Which reader a file gets: by its suffix, or as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path, PurePath
from typing import Literal

from tillwatch.ingest.readers import csv, jsonl, parquet
from tillwatch.ingest.readers.base import Compression, FileRefused, Piece, Reading
from tillwatch.ingest.settings import Format, IngestSettings
from tillwatch.model import Position

Cut = Callable[[Path, int, Position, Reading], Iterator[Piece]]

_CUT: dict[Format, Cut] = {"csv": csv.cut, "jsonl": jsonl.cut, "parquet": parquet.cut}
_SUFFIXES: dict[str, Literal["csv", "jsonl", "parquet"]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}

KNOWN = f"{' '.join(_SUFFIXES)}, each also with {' or '.join(_COMPRESSIONS)}"
"""The suffixes, to be shown."""


def format_of(name: str, format: Format) -> Format | None:
    """The format of a file, None when it cannot be told.

    >>> format_of("2026/a.CSV.gz", "auto"), format_of("notes.md", "auto"), format_of("notes.md", "csv")
    ('csv', None, 'csv')
    """
    return _SUFFIXES.get(_suffixes(name)[0]) if format == "auto" else format


def pieces_of(path: Path, name: str, settings: IngestSettings, start: Position) -> Generator[Piece, None, None]:
    """The rows of a file from `start` on, as its reader cuts them. A `.tsv` file is delimited by tabs."""
    format = format_of(name, settings.format)
    if format is None:
        raise FileRefused(f"is of no known format ({KNOWN})")
    suffix, compression = _suffixes(name)
    delimiter = "\t" if suffix == ".tsv" and settings.delimiter == "," else settings.delimiter
    reading = Reading(name, compression, delimiter, settings.required, paced=settings.every > 0)
    yield from _CUT[format](path, settings.rows, start, reading)


def _suffixes(name: str) -> tuple[str, Compression]:
    path = PurePath(name.lower())
    compression = _COMPRESSIONS.get(path.suffix, "")
    return (PurePath(path.stem) if compression else path).suffix, compression
