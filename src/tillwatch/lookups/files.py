"""The table of a lookup in a file: every column as text, as it came."""

from __future__ import annotations

import hashlib
from contextlib import closing

import polars as pl

from tillwatch.errors import SourceError
from tillwatch.ingest import IngestSettings
from tillwatch.ingest.formats import pieces_of
from tillwatch.ingest.readers.tidy import examine
from tillwatch.lookups.source import LookupSource
from tillwatch.model import MALFORMED, PROBLEM, SOURCE_ROW, Position


def file_table(source: LookupSource) -> tuple[pl.LazyFrame, str]:
    """The file's columns as they came, header names cleaned as a source's are; and the SHA-256 of its bytes."""
    name = source.path.name.lower()
    if not source.path.is_file():
        raise SourceError(f"lookup {source.name}: there is no file {source.path}")
    if name.endswith((".csv", ".tsv", ".txt")):
        delimiter = "\t" if name.endswith(".tsv") else ","
        seen = examine(source.path, delimiter)
        if seen.names:
            table = pl.scan_csv(
                source.path, infer_schema=False, separator=delimiter, new_columns=seen.names, glob=False
            )
            return table, seen.digest
        return _read_carefully(source).lazy(), seen.digest
    with source.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if name.endswith(".parquet"):
        return pl.scan_parquet(source.path, glob=False), digest
    return _read_carefully(source).lazy(), digest


def _read_carefully(source: LookupSource) -> pl.DataFrame:
    """Compressed, quoted and untidy files, and JSON Lines, by the readers of ingest."""
    settings = IngestSettings(source.path, 100_000, 0, "auto", ",", {})
    frames = []
    try:
        with closing(pieces_of(source.path, source.path.name, settings, Position())) as pieces:
            for piece in pieces:
                _check_rows(source, piece.frame)
                frames.append(piece.frame)
    except SourceError as error:
        if str(error).startswith("lookup "):
            raise
        raise SourceError(f"lookup {source.name}: {source.path} {error}") from None
    if not frames:
        raise SourceError(f"lookup {source.name}: {source.path} has no rows")
    return pl.concat(frames, how="diagonal")


def _check_rows(source: LookupSource, frame: pl.DataFrame) -> None:
    if MALFORMED in frame.columns:
        row = frame.filter(pl.col(MALFORMED).is_not_null()).row(0, named=True)
        raise SourceError(
            f"lookup {source.name}: {source.path} row {row[SOURCE_ROW]}: {row[PROBLEM]}: {row[MALFORMED][:80]!r}"
        )
