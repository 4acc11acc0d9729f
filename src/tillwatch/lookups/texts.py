"""A lookup of texts: one for each key, or none; and one that is nothing but its keys."""

from __future__ import annotations

import polars as pl

from tillwatch.engine.dictionary import cleaned
from tillwatch.errors import SourceError
from tillwatch.lookups.source import LookupSource


def texts_of(source: LookupSource, table: pl.LazyFrame) -> pl.DataFrame:
    """The clean keys with their text as `value`, null without one; true for a lookup that has keys only.

    Keys without a text are left out unless the lookup is required. Raises SourceError when a key has two texts.
    """
    keys = [cleaned(pl.col(column).cast(pl.String).fill_null("")).alias(key) for key, column in source.on.items()]
    named = [pl.col(key) != "" for key in source.on]
    if source.function == "keys":
        return table.select(keys).filter(named).unique().with_columns(value=pl.lit(True)).collect()
    text = cleaned(pl.col(source.column).cast(pl.String)).replace("", None).alias("value")
    rows = table.select(*keys, text).with_row_index("row", 1).filter(named)
    found = rows.group_by(*source.on).agg(pl.col("value").min(), pl.col("value").max().alias("other")).collect()
    twice = found.filter(pl.col("value") != pl.col("other"))
    if twice.height:
        raise SourceError(_two_texts(source, rows.join(twice.lazy().select(*source.on), on=[*source.on], how="semi")))
    return found.select(*source.on, "value").filter(pl.col("value").is_not_null() | source.required)


def _two_texts(source: LookupSource, rows: pl.LazyFrame) -> str:
    """Of the first key that has two texts, what they are and where."""
    texts = rows.drop_nulls("value").sort("row").collect()
    first = texts.row(0, named=True)
    mine = texts.filter(pl.col(key) == first[key] for key in source.on)
    other = mine.filter(pl.col("value") != first["value"]).row(0, named=True)
    shown = ", ".join(f"{key.removeprefix('_')} {first[key]!r}" for key in source.on)
    return (
        f"lookup {source.name}: {source.place}: {shown} has two texts of {source.column}: {first['value']!r} in row "
        f"{first['row']} and {other['value']!r} in row {other['row']}; a key can have one only"
    )
