"""Cells of a landed frame as text, as they are or worked out, for the decoder."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from tillwatch.engine.derived import work_out
from tillwatch.model import PROBLEM
from tillwatch.patterns.derived import Derived


def problem_column(column: str) -> str:
    """The column of a frame that says what is wrong with a derived one."""
    return f"{PROBLEM} {column}"


def worked_out(frame: pl.DataFrame, column: str, derived: Derived) -> Iterator[pl.Series]:
    """What a derived column is worked out to, and what is wrong where it cannot be."""
    names = derived.names or frame.columns[:1]  # also a constant has as many rows as the frame
    cells = frame.select(as_text(name, frame.schema).alias(name) for name in names)
    worked = work_out(cells, derived, "number" if column == "amount" else "text")
    yield worked["value"].alias(column)
    yield worked["problem"].alias(problem_column(column))


def as_text(column: str | Derived, schema: pl.Schema) -> pl.Expr:
    """A column as text; what has none (nested values, bytes that are not UTF-8) is as if it were not there."""
    assert isinstance(column, str)
    if column not in schema or schema[column].is_nested() or schema[column] in (pl.Duration, pl.Object):
        return pl.repeat(None, pl.len(), dtype=pl.String)
    if schema[column] == pl.Binary:
        return pl.col(column).map_elements(_utf8, return_dtype=pl.String)
    return pl.col(column).cast(pl.String)


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
