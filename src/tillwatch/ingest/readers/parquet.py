"""Parquet: columns with their own types, decoded a window of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from tillwatch.ingest.readers.base import (
    FileBroken,
    FileRefused,
    Piece,
    Reading,
    check_columns,
    make_piece,
    sealed,
)
from tillwatch.ingest.readers.stream import file_digest, opened
from tillwatch.model import Position

_WINDOW = 100_000
"""Rows that are decoded at a time: few enough to be held, many enough to be worth a start."""

_PLAIN = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Date, pl.Null, pl.Binary)
"""Types besides numbers that have one text, whatever the landing zone's format."""

_BAD = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def cut(path: Path, rows: int, start: Position, reading: Reading) -> Iterator[Piece]:
    """The rows of the file from `start` on, in pieces of `rows`; fewer only at the file's end.

    Raises FileRefused before the first piece when the file is not a whole Parquet file with the required
    columns, FileBroken after the last good one when its pages are damaged, SourceError when the disk fails.
    """
    if reading.compression:
        raise FileRefused(f"is Parquet within .{reading.compression}: unpack it, Parquet is compressed itself")
    with opened(path) as file:
        try:
            columns = pl.read_parquet_schema(file)
        except _BAD as error:
            raise FileRefused(f"is not a whole Parquet file ({_first_line(error)})") from error
    check_columns(list(columns), reading.required)
    _check_types(columns, reading.required)
    yield from sealed(_pieces(path, rows, start.row, reading.name), lambda: file_digest(path))


def _check_types(columns: Mapping[str, pl.DataType], required: Mapping[str, str]) -> None:
    for logical, column in required.items():
        kind = columns[column]
        plain = isinstance(kind, _PLAIN) or kind.is_numeric()
        if not plain and logical != "time":
            raise FileRefused(f"has {kind} in column {column!r} (columns.{logical}), expected text or numbers")


def _pieces(path: Path, rows: int, row: int, name: str) -> Iterator[Piece]:
    scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    window = max(_WINDOW // rows, 1) * rows
    while True:
        try:
            frame = scan.slice(row, window).collect()
        except _BAD as error:
            if window == rows:
                raise FileBroken(f"its pages are damaged ({_first_line(error)}), after row {row}") from error
            window = rows  # to keep the good rows of this window
            continue
        for part in frame.iter_slices(rows):
            yield make_piece(part, name, row + 1, row + part.height)
            row += part.height
        if frame.height < window:
            return


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
