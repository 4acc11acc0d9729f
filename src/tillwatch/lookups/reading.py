"""Reading a lookup: a reference table, aggregated per key before it is joined."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import polars as pl
from polars.exceptions import PolarsError

from tillwatch.clock import SystemClock
from tillwatch.engine.decode import AMOUNT_PRECISION
from tillwatch.engine.dictionary import cleaned
from tillwatch.engine.lookup import LookupData
from tillwatch.engine.table import SUM_LIMIT
from tillwatch.errors import SourceError
from tillwatch.lookups.files import file_table
from tillwatch.lookups.postgres import database_table
from tillwatch.lookups.source import LookupSource
from tillwatch.lookups.texts import texts_of
from tillwatch.retry import Retry
from tillwatch.sources import open_source
from tillwatch.sources.spool import local_copy

PATIENCE = 10.0
"""Seconds for which a place elsewhere is asked again for a lookup that it refuses for now."""


def patience(report: Callable[[str], None] = lambda text: None) -> Retry:
    """Of a call that nobody stops; `report` hears of what is tried again."""
    return Retry(SystemClock(), threading.Event(), report, PATIENCE)


def read_lookup(source: LookupSource, digits: int, retry: Retry | None = None) -> LookupData:
    """Reads and aggregates a lookup; sums are of integers scaled by 10^digits. A place elsewhere is asked with `retry`.

    Raises SourceError when the table cannot be read, lacks a column, has a row that does not fit its header, a value
    that is no number, or two texts for a key.
    """
    if source.uri is None:
        return _read(source, digits)
    if source.said_by:
        return (retry or patience())(lambda: _read(source, digits))
    try:
        return _read_elsewhere(source, source.uri, digits, retry or patience())
    except SourceError as error:
        named = f"lookup {source.name}: "
        raise type(error)(named + str(error).removeprefix(named)) from None


def _read_elsewhere(source: LookupSource, uri: str, digits: int, retry: Retry) -> LookupData:
    with closing(open_source(uri)) as place, local_copy(place, retry) as path:
        try:
            return _read(replace(source, path=path, uri=None), digits)
        except SourceError as error:
            raise SourceError(str(error).replace(str(path), uri)) from None


def _read(source: LookupSource, digits: int) -> LookupData:
    spec = source.spec
    source = replace(source, on={f"_{key}": column for key, column in source.on.items()})  # no key is called `count`
    try:
        table, digest = (database_table(source), "") if source.said_by else file_table(source)
        _check_columns(source, table.collect_schema().names())
        found = _numbers(source, table, digits) if spec.is_feature else texts_of(source, table)
    except (OSError, PolarsError) as error:
        text = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise SourceError(f"lookup {source.name}: cannot read {source.place}: {text}") from None
    values = found.rename({key: key.removeprefix("_") for key in source.on})
    return LookupData(spec, values, digest or _digest(values))


def _numbers(source: LookupSource, table: pl.LazyFrame, digits: int) -> pl.DataFrame:
    rows = _parsed(source, table, digits, _as_it_is(source)).collect()
    if rows["wrong"].sum():  # cleaning every value costs more than all the rest, and is seldom needed
        rows = _parsed(source, table, digits, _cleaned(source)).collect()
    if rows["wrong"].sum():
        raise SourceError(_first_wrong(source, table, digits))
    return _finished(source, rows, digits)


def _digest(values: pl.DataFrame) -> str:
    """Of a table whose rows come in no order: the SHA-256 of the values, by key."""
    keys = [name for name in values.columns if name != "value"]
    return hashlib.sha256(values.sort(*keys).write_csv().encode()).hexdigest()


def _check_columns(source: LookupSource, names: list[str]) -> None:
    wanted = [*source.on.values(), *([] if source.column in ("*", "") else [source.column])]
    missing = [c for c in wanted if c not in names]
    if missing:
        raise SourceError(
            f"lookup {source.name}: {source.place} has no column {', '.join(repr(c) for c in missing)}; "
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
        .filter((pl.col("count") > 0) | source.required, *(pl.col(key) != "" for key in source.on))
    )
    if (totals["size"].max() or 0.0) >= SUM_LIMIT:  # type: ignore[operator]
        raise SourceError(
            f"lookup {source.name}: {source.place}: the {source.column} of a key is too large to be summed"
        )
    average = pl.col("sum").cast(pl.Float64) / (pl.col("count") * 10**digits).cast(pl.Float64)
    value = average if source.function == "avg" else pl.col(source.function)
    return totals.select(*source.on, pl.when(pl.col("count") > 0).then(value).alias("value"))


def _first_wrong(source: LookupSource, table: pl.LazyFrame, digits: int) -> str:
    text = _cleaned(source)
    wrong = text.is_not_null() & (text != "") & text.cast(pl.Decimal(AMOUNT_PRECISION, digits), strict=False).is_null()
    row = table.with_row_index("row", 1).filter(wrong).head(1).collect().row(0, named=True)
    return (
        f"lookup {source.name}: {source.place} row {row['row']}: {source.column} is {row[source.column]!r}, "
        f"expected a decimal number below {10 ** (AMOUNT_PRECISION - digits)}"
    )
