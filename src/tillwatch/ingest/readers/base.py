"""What the readers have in common: what goes in, what comes out, and how a file fails."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from tillwatch.errors import SourceError
from tillwatch.model import MALFORMED, PROBLEM, RESERVED, SOURCE_FILE, SOURCE_ROW, Position
from tillwatch.sources.base import FileRefused

__all__ = [
    "Compression",
    "FileBroken",
    "FileRefused",
    "Piece",
    "Reading",
    "check_columns",
    "make_piece",
    "raw_text",
    "sealed",
]

Compression = Literal["", "gz", "zst"]


class FileBroken(SourceError):
    """The file ended early; the rows before the damage were read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one file is read.

    `name` goes into `_source_file`; `required` maps logical names to the columns that CSV and Parquet
    files must have. `paced`: there is time between pieces, so each shall cost little at a time.
    """

    name: str
    compression: Compression
    delimiter: str
    required: Mapping[str, str]
    paced: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of one file, fit to be landed.

    `frame` holds the source columns as they came, `_source_file` and `_source_row`, and `_malformed` and
    `_problem` when one of its rows is malformed. `first_row` counts from 1, `position` is where reading
    goes on, `file_digest` (SHA-256 of the file's bytes as they are, or the checksum of the place that has the
    file) is set on the file's last piece only.
    """

    frame: pl.DataFrame
    first_row: int
    position: Position
    file_digest: str | None


def make_piece(frame: pl.DataFrame, name: str, first_row: int, offset: int) -> Piece:
    """Adds the RESERVED columns to the rows, those about malformed rows only when there is one."""
    rows = frame.height
    marks = [
        pl.lit(name, pl.String).alias(SOURCE_FILE),
        pl.int_range(first_row, first_row + rows, dtype=pl.Int64).alias(SOURCE_ROW),
    ]
    if MALFORMED in frame.columns:
        if frame[MALFORMED].null_count() < rows:
            marks += [pl.col(MALFORMED), pl.col(PROBLEM)]
        frame = frame.select(pl.exclude(MALFORMED, PROBLEM), *marks)
    else:
        frame = frame.with_columns(marks)
    return Piece(frame.rechunk(), first_row, Position(first_row - 1 + rows, offset), None)


def sealed(pieces: Iterable[Piece], digest: Callable[[], str | None]) -> Iterator[Piece]:
    """The same pieces, one held back, so that the last one carries the digest of the whole file."""
    held: Piece | None = None
    try:
        for piece in pieces:
            if held:
                yield held
            held = piece
    except FileBroken:
        if held:
            yield held
        raise
    if held:
        yield replace(held, file_digest=digest())


def raw_text(raw: bytes) -> str:
    r"""A malformed row as text, reversibly: backslashes doubled, bytes that are not text as `\xNN`.

    >>> print(raw_text(b"caf\xe9,C:\\temp\0"))
    caf\xe9,C:\\temp\x00
    """
    return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace").replace("\0", r"\x00")


def check_columns(found: Sequence[str], required: Mapping[str, str], hint: str = "") -> None:
    """Refuses a file that lacks a required column or uses one of our own names."""
    if clash := [name for name in found if name in RESERVED]:
        raise FileRefused(f"has a column {clash[0]!r}, a name that tillwatch keeps for itself: rename it")
    missing = [
        f"{column!r} (columns.{logical}{_did_you_mean(column, found)})"
        for logical, column in required.items()
        if column not in found
    ]
    if missing:
        shown = ", ".join(found)
        shown = shown if len(shown) <= 500 else f"{shown[:500]}… ({len(found)} in all)"
        raise FileRefused(f"has no column {', '.join(missing)}. Columns found: {shown}{hint}")


def _did_you_mean(column: str, found: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in found[:1000]}
    close = difflib.get_close_matches(column.casefold(), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""
