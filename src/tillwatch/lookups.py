"""Reading a lookup: a reference table, aggregated per key before it is joined."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from tillwatch.clock import SystemClock
from tillwatch.engine.decode import AMOUNT_PRECISION
from tillwatch.engine.dictionary import cleaned
from tillwatch.engine.lookup import LookupData
from tillwatch.engine.table import SUM_LIMIT
from tillwatch.errors import ConfigError, SourceError
from tillwatch.ingest import IngestSettings
from tillwatch.ingest.formats import pieces_of
from tillwatch.ingest.readers.tidy import examine
from tillwatch.model import MALFORMED, PROBLEM, SOURCE_ROW, Position
from tillwatch.patterns.features import TEXT_COLUMNS
from tillwatch.patterns.kinds import ValueKind
from tillwatch.patterns.program import LookupSpec, grain_of
from tillwatch.retry import Retry
from tillwatch.sources import open_source
from tillwatch.sources.spool import local_copy

_VALUE = re.compile(r"\s*(avg|sum|min|max|count)\s*\(\s*(\*|\"[^\"]+\"|[\w ]+?)\s*\)\s*", re.IGNORECASE)
_KINDS: Mapping[str, ValueKind] = {"avg": "float", "count": "int"}

PATIENCE = 10.0
"""Seconds for which a place elsewhere is asked again for a lookup that it refuses for now."""


@dataclass(frozen=True, slots=True)
class LookupSource:
    """Where a lookup comes from: the file, its key columns by logical name, and the aggregate of its value.

    `uri` says where the file is if that is not `path`.
    """

    name: str
    path: Path
    on: Mapping[str, str]
    function: str
    column: str
    uri: str | None = None

    @property
    def spec(self) -> LookupSpec:
        """What patterns see of it."""
        return LookupSpec(self.name, grain_of(tuple(self.on)), _KINDS.get(self.function, "decimal"))


def lookup_source(name: str, path: Path, on: Mapping[str, str], value: str) -> LookupSource:
    """Checks what the configuration says of a lookup. Raises ConfigError.

    >>> lookup_source("importance", Path("x.csv"), {"customer": "Source"}, "avg(Weight)").spec
    LookupSpec(name='importance', grain=('customer',), kind='float')
    """
    match = _VALUE.fullmatch(value)
    if match is None:
        raise ConfigError(f"lookups.{name}.value: found '{value}', expected avg, sum, min, max or count of a column")
    if match[2] == "*" and match[1].lower() != "count":
        raise ConfigError(f"lookups.{name}.value: found '{value}'; * goes with count only, {match[1]} needs a column")
    wrong = [key for key in on if key not in TEXT_COLUMNS]
    if wrong or not on:
        keys = ", ".join(TEXT_COLUMNS)
        raise ConfigError(f"lookups.{name}.on: found {', '.join(wrong) or 'nothing'}, expected one or more of {keys}")
    return LookupSource(name, path, dict(on), match[1].lower(), match[2].strip('"'))


def patience(report: Callable[[str], None] = lambda text: None) -> Retry:
    """Of a call that nobody stops; `report` hears of what is tried again."""
    return Retry(SystemClock(), threading.Event(), report, PATIENCE)


def read_lookup(source: LookupSource, digits: int, retry: Retry | None = None) -> LookupData:
    """Reads and aggregates a lookup; sums are of integers scaled by 10^digits. A place elsewhere is asked with `retry`.

    Raises SourceError when the file cannot be read, lacks a column, has a row that does not fit its header, or a value
    that is no number.
    """
    if source.uri is None:
        return _read(source, digits)
    try:
        return _read_elsewhere(source, source.uri, digits, retry or patience())
    except SourceError as error:
        named = f"lookup {source.name}: "
        raise type(error)(named + str(error).removeprefix(named)) from None


def _read_elsewhere(source: LookupSource, uri: str, digits: int, retry: Retry) -> LookupData:
    with closing(open_source(uri)) as place, local_copy(place, retry) as path:
        try:
            return _read(replace(source, path=path), digits)
        except SourceError as error:
            raise SourceError(str(error).replace(str(path), uri)) from None


def _read(source: LookupSource, digits: int) -> LookupData:
    try:
        table, digest = _table(source)
        _check_columns(source, table.collect_schema().names())
        rows = _parsed(source, table, digits, _as_it_is(source)).collect()
        if rows["wrong"].sum():  # cleaning every value costs more than all the rest, and is seldom needed
            rows = _parsed(source, table, digits, _cleaned(source)).collect()
    except (OSError, PolarsError) as error:
        text = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise SourceError(f"lookup {source.name}: cannot read {source.path}: {text}") from None
    if rows["wrong"].sum():
        raise SourceError(_first_wrong(source, table, digits))
    return LookupData(source.spec, _finished(source, rows, digits), digest)


def _table(source: LookupSource) -> tuple[pl.LazyFrame, str]:
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


def _check_columns(source: LookupSource, names: list[str]) -> None:
    wanted = [*source.on.values(), *([] if source.column == "*" else [source.column])]
    missing = [c for c in wanted if c not in names]
    if missing:
        raise SourceError(
            f"lookup {source.name}: {source.path} has no column {', '.join(repr(c) for c in missing)}; "
            f"it has {', '.join(names)}. Set lookups.{source.name}.on and .value"
        )


def _parsed(source: LookupSource, table: pl.LazyFrame, digits: int, text: pl.Expr) -> pl.LazyFrame:
    """One row per key as spelled: sums, counts, extremes of the value, and how many values are not numbers."""
    keys = [pl.col(column).cast(pl.String).fill_null("").alias(key) for key, column in source.on.items()]
    given = (text.is_not_null() & (text != "")).alias("given")
    number = text.cast(pl.Decimal(AMOUNT_PRECISION, digits), strict=False).to_physical().cast(pl.Int64)
    value = (pl.when(given).then(pl.lit(0, pl.Int64)) if source.function == "count" else number).alias("value")
    return (
        table.select(*keys, value, given)
        .group_by(*source.on)
        .agg(
            pl.col("value").sum().alias("sum"),
            pl.col("value").cast(pl.Float64).abs().sum().alias("size"),
            pl.col("value").min().alias("min"),
            pl.col("value").max().alias("max"),
            pl.col("value").count().cast(pl.Int64).alias("count"),
            (pl.col("given") & pl.col("value").is_null()).sum().alias("wrong"),
        )
    )


def _as_it_is(source: LookupSource) -> pl.Expr:
    return pl.lit("0") if source.column == "*" else pl.col(source.column).cast(pl.String)


def _cleaned(source: LookupSource) -> pl.Expr:
    """The value as text, cleaned as a row's amount is."""
    return cleaned(_as_it_is(source)).str.strip_chars()


def _finished(source: LookupSource, rows: pl.DataFrame, digits: int) -> pl.DataFrame:
    """Keys cleaned, spellings of one key added up, and the value of CONTRACT 3: a quotient of exact integers."""
    totals = (
        rows.with_columns(cleaned(pl.col(key)).alias(key) for key in source.on)
        .group_by(*source.on)
        .agg(pl.col("sum", "count", "size").sum(), pl.col("min").min(), pl.col("max").max())
        .filter(pl.col("count") > 0, *(pl.col(key) != "" for key in source.on))
    )
    if (totals["size"].max() or 0.0) >= SUM_LIMIT:  # type: ignore[operator]
        raise SourceError(
            f"lookup {source.name}: {source.path}: the {source.column} of a key is too large to be summed"
        )
    average = pl.col("sum").cast(pl.Float64) / (pl.col("count") * 10**digits).cast(pl.Float64)
    value = average if source.function == "avg" else pl.col(source.function)
    return totals.select(*source.on, value.alias("value"))


def _first_wrong(source: LookupSource, table: pl.LazyFrame, digits: int) -> str:
    text = _cleaned(source)
    wrong = text.is_not_null() & (text != "") & text.cast(pl.Decimal(AMOUNT_PRECISION, digits), strict=False).is_null()
    row = table.with_row_index("row", 1).filter(wrong).head(1).collect().row(0, named=True)
    return (
        f"lookup {source.name}: {source.path} row {row['row']}: {source.column} is {row[source.column]!r}, "
        f"expected a decimal number below {10 ** (AMOUNT_PRECISION - digits)}"
    )
