"""Reading a lookup: a reference table, aggregated per key before it is joined."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from tillwatch.engine.decode import AMOUNT_PRECISION
from tillwatch.engine.dictionary import clean, cleaned
from tillwatch.engine.lookup import LookupData
from tillwatch.errors import ConfigError, SourceError
from tillwatch.patterns.features import TEXT_COLUMNS
from tillwatch.patterns.program import LookupSpec, ValueKind, grain_of

_VALUE = re.compile(r"\s*(avg|sum|min|max|count)\s*\(\s*(\*|\"[^\"]+\"|[\w ]+?)\s*\)\s*", re.IGNORECASE)
_KINDS: Mapping[str, ValueKind] = {"avg": "float", "count": "int"}


@dataclass(frozen=True, slots=True)
class LookupSource:
    """Where a lookup comes from: the file, its key columns by logical name, and the aggregate of its value."""

    name: str
    path: Path
    on: Mapping[str, str]
    function: str
    column: str

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
    wrong = [key for key in on if key not in TEXT_COLUMNS]
    if wrong or not on:
        keys = ", ".join(TEXT_COLUMNS)
        raise ConfigError(f"lookups.{name}.on: found {', '.join(wrong) or 'nothing'}, expected one or more of {keys}")
    return LookupSource(name, path, dict(on), match[1].lower(), match[2].strip('"'))


def columns_of(source: LookupSource) -> list[str]:
    """The columns of the file. Raises SourceError when it cannot be read or a needed one is missing."""
    names = _scan(source).collect_schema().names()
    _check_columns(source, names)
    return names


def read_lookup(source: LookupSource, digits: int) -> LookupData:
    """Reads and aggregates a lookup; sums are of integers scaled by 10^digits. Raises SourceError."""
    try:
        columns_of(source)
        rows = _parsed(source, digits).collect()
        with source.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"lookup {source.name}: cannot read {source.path}: {error.strerror}") from None
    except PolarsError as error:
        raise SourceError(f"lookup {source.name}: cannot read {source.path}: {str(error).splitlines()[0]}") from None
    if rows["wrong"].sum():
        raise SourceError(_first_wrong(source, digits))
    return LookupData(source.spec, _finished(source, rows, digits), digest)


def _scan(source: LookupSource) -> pl.LazyFrame:
    name = source.path.name.removesuffix(".gz").removesuffix(".zst")
    if not source.path.is_file():
        raise SourceError(f"lookup {source.name}: there is no file {source.path}")
    try:
        if name.endswith(".parquet"):
            return pl.scan_parquet(source.path)
        if name.endswith((".jsonl", ".ndjson")):
            return pl.scan_ndjson(source.path)
        frame = pl.scan_csv(source.path, infer_schema=False, separator="\t" if name.endswith(".tsv") else ",")
        frame = frame.rename({c: clean(c) for c in frame.collect_schema().names()})
    except PolarsError as error:
        raise SourceError(f"lookup {source.name}: cannot read {source.path}: {str(error).splitlines()[0]}") from None
    return frame


def _check_columns(source: LookupSource, names: list[str]) -> None:
    wanted = [*source.on.values(), *([] if source.column == "*" else [source.column])]
    missing = [c for c in wanted if c not in names]
    if missing:
        raise SourceError(
            f"lookup {source.name}: {source.path} has no column {', '.join(repr(c) for c in missing)}; "
            f"it has {', '.join(names)}. Set lookups.{source.name}.on and .value"
        )


def _parsed(source: LookupSource, digits: int) -> pl.LazyFrame:
    """One row per key as spelled: sums, counts, extremes of the value, and how many values are not numbers."""
    keys = [pl.col(column).cast(pl.String).fill_null("").alias(key) for key, column in source.on.items()]
    text = pl.lit("0") if source.column == "*" else _text(source)
    value = text.cast(pl.Decimal(AMOUNT_PRECISION, digits), strict=False).to_physical().cast(pl.Int64).alias("value")
    given = (text.is_not_null() & (text != "")).alias("given")
    return (
        _scan(source)
        .select(*keys, value, given)
        .group_by(*source.on)
        .agg(
            pl.col("value").sum().alias("sum"),
            pl.col("value").min().alias("min"),
            pl.col("value").max().alias("max"),
            pl.col("value").count().cast(pl.Int64).alias("count"),
            (pl.col("given") & pl.col("value").is_null()).sum().alias("wrong"),
        )
    )


def _text(source: LookupSource) -> pl.Expr:
    """The value as text, cleaned as a row's amount is."""
    return cleaned(pl.col(source.column).cast(pl.String)).str.strip_chars()


def _finished(source: LookupSource, rows: pl.DataFrame, digits: int) -> pl.DataFrame:
    """Keys cleaned, spellings of one key added up, and the value of CONTRACT 3: a quotient of exact integers."""
    totals = (
        rows.with_columns(cleaned(pl.col(key)).alias(key) for key in source.on)
        .group_by(*source.on)
        .agg(pl.col("sum", "count").sum(), pl.col("min").min(), pl.col("max").max())
        .filter(pl.col("count") > 0, *(pl.col(key) != "" for key in source.on))
    )
    average = pl.col("sum").cast(pl.Float64) / (pl.col("count") * 10**digits).cast(pl.Float64)
    value = average if source.function == "avg" else pl.col(source.function)
    return totals.select(*source.on, value.alias("value"))


def _first_wrong(source: LookupSource, digits: int) -> str:
    text = _text(source)
    wrong = text.is_not_null() & (text != "") & text.cast(pl.Decimal(AMOUNT_PRECISION, digits), strict=False).is_null()
    row = _scan(source).with_row_index("row", 1).filter(wrong).head(1).collect().row(0, named=True)
    return (
        f"lookup {source.name}: {source.path} row {row['row']}: {source.column} is {row[source.column]!r}, "
        f"expected a decimal number below {10 ** (AMOUNT_PRECISION - digits)}"
    )
