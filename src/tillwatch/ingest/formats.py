"""Which reader a file gets: by its suffix, or as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Literal

from tillwatch.ingest.readers import csv, jsonl, parquet
from tillwatch.ingest.readers.base import Compression, FileRefused, Piece, Reading
from tillwatch.ingest.settings import Format, IngestSettings
from tillwatch.model import Position
from tillwatch.sources.base import Readable
from tillwatch.sources.spool import spooled

_BY_RANGES: dict[Format, Callable[[Readable, int, Position, Reading], Iterator[Piece]]] = {
    "csv": csv.cut,
    "jsonl": jsonl.cut,
}
_CUT: dict[Format, Callable[[Path, int, Position, Reading], Iterator[Piece]]] = {**_BY_RANGES, "parquet": parquet.cut}
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


def is_whole(name: str, format: Format) -> bool:
    """Whether a file can be read only as a whole: Parquet, and what is compressed.

    >>> is_whole("a.csv", "auto"), is_whole("a.csv.gz", "auto"), is_whole("a.parquet", "auto")
    (False, True, True)
    """
    return format_of(name, format) not in _BY_RANGES or _suffixes(name)[1] != ""


def pieces_of(file: Readable, name: str, settings: IngestSettings, start: Position) -> Generator[Piece, None, None]:
    """The rows of a file from `start` on, as its reader cuts them. A `.tsv` file is delimited by tabs.

    A file elsewhere that cannot be read by ranges is brought to this machine first.
    """
    format = format_of(name, settings.format)
    if format is None:
        raise FileRefused(f"is of no known format ({KNOWN})")
    suffix, compression = _suffixes(name)
    delimiter = "\t" if suffix == ".tsv" and settings.delimiter == "," else settings.delimiter
    reading = Reading(name, compression, delimiter, settings.required, paced=settings.every > 0)
    if isinstance(file, Path):
        yield from _CUT[format](file, settings.rows, start, reading)
    elif not is_whole(name, settings.format):
        yield from _BY_RANGES[format](file, settings.rows, start, reading)
    else:
        with spooled(file) as path:
            for piece in _CUT[format](path, settings.rows, start, reading):
                yield replace(piece, file_digest=piece.file_digest and file.checksum)


def _suffixes(name: str) -> tuple[str, Compression]:
    path = PurePath(name.lower())
    compression = _COMPRESSIONS.get(path.suffix, "")
    return (PurePath(path.stem) if compression else path).suffix, compression
