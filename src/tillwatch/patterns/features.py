"""Features: running values per key, declared as SQL aggregates.

>>> parse_feature("female_customers", "count(distinct customer) filter (where gender = 'F')").kind
'distinct'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from tillwatch.patterns.expression import (
    And,
    Compare,
    Expr,
    ExpressionError,
    Name,
    Not,
    Number,
    Or,
    Text,
    Truth,
    convert,
    parse_sql,
    place,
    walk,
)
from tillwatch.patterns.mistakes import meant, near
from tillwatch.patterns.shown import show
from tillwatch.patterns.windows import Window, split_window

TEXT_COLUMNS = ("customer", "merchant", "category", "gender")
"""Mapped columns that hold text: they can be counted distinct, filtered on, and be keys."""

GRAIN_ORDER = (*TEXT_COLUMNS, "amount")
"""What can be a key, in the order of keys in every grain. An amount is a key by its canonical decimal."""

KEY_COLUMNS = ("customer", "merchant", "category")
"""Mapped columns that a valid row must have: keys."""

NUMBER_COLUMNS = ("amount",)
"""Mapped columns that hold numbers: they can be summed, averaged, compared."""

Spread = Literal["stddev", "stddev_pop", "variance", "variance_pop"]
Kind = Literal["count", "sum", "avg", "min", "max", "distinct", "stddev", "stddev_pop", "variance", "variance_pop"]
SPREADS: tuple[Spread, ...] = ("stddev", "stddev_pop", "variance", "variance_pop")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTIONS: dict[type[exp.Expr], Kind] = {
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Min: "min",
    exp.Max: "max",
    exp.Stddev: "stddev",
    exp.StddevSamp: "stddev",
    exp.StddevPop: "stddev_pop",
    exp.Variance: "variance",
    exp.VariancePop: "variance_pop",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """An aggregate over the rows of one key; which key is said where it is used.

    `column` is None for count(*); `where` keeps the rows that count, all of them when None, and so does `window`.
    """

    name: str
    kind: Kind
    column: str | None
    where: Expr | None
    text: str
    window: Window | None = None


def parse_feature(name: str, text: str) -> Feature:
    """The feature that `text` declares. Raises ExpressionError."""
    if not _NAME.fullmatch(name):
        raise ExpressionError(f"'{name}' cannot be a feature's name: use letters a to z, digits and _")
    aggregate, window = split_window(text)
    tree = parse_sql(aggregate)
    where: Expr | None = None
    if isinstance(tree, exp.Filter):
        where = convert(tree.expression.this, {})
        _check_filter(where)
        tree = tree.this
    kind, column = _aggregate(tree)
    return Feature(name, kind, column, where, text.strip(), window)


def _aggregate(tree: exp.Expr) -> tuple[Kind, str | None]:
    inner = tree.this
    if isinstance(tree, exp.Count):
        if isinstance(inner, exp.Star):
            return "count", None
        if isinstance(inner, exp.Distinct) and len(inner.expressions) == 1:
            return "distinct", _column(inner.expressions[0], TEXT_COLUMNS, "count(distinct …)")
        if isinstance(inner, exp.Column):
            _column(inner, (*TEXT_COLUMNS, *NUMBER_COLUMNS), "count(…)")
            raise ExpressionError("valid rows have every column: write count(*)", place(tree))
    kind = _FUNCTIONS.get(type(tree))
    if kind is not None and not tree.expressions:
        return kind, _column(inner, NUMBER_COLUMNS, f"{kind}(…)")
    hint = meant(tree.name, ("count", *_FUNCTIONS.values())) if isinstance(tree, exp.Anonymous) else ""
    raise ExpressionError(
        f"'{tree.sql()}' is not a feature{hint}. Write count(*), count(distinct column), sum, avg, min, max, stddev or "
        "variance of amount, each with an optional filter (where …) and an optional window (within 3 steps)",
        place(tree),
    )


def _column(node: exp.Expr, allowed: tuple[str, ...], what: str) -> str:
    if isinstance(node, exp.Column) and not node.args.get("table") and node.name in allowed:
        return node.name
    found = node.sql()
    raise ExpressionError(
        f"{what} takes one of the columns {', '.join(allowed)}; found '{found}'{meant(found, allowed)}", place(node)
    )


def _check_filter(where: Expr) -> None:
    """A filter is a condition on columns of the row: text compared by = and <>, amount with numbers."""
    match where:
        case And() | Or():
            _check_filter(where.left)
            _check_filter(where.right)
        case Not():
            _check_filter(where.x)
        case Truth():
            return
        case Compare(op=op, left=Name() as column, right=Text() | Number() as value):
            _check_comparison(op, column, value)
        case _:
            start = next((n.start for n in walk(where) if isinstance(n, Name)), None)
            raise ExpressionError(f"'{show(where)}' is not a filter: compare a column with a value", start)


def _check_comparison(op: str, column: Name, value: Text | Number) -> None:
    text = isinstance(value, Text)
    allowed = TEXT_COLUMNS if text else NUMBER_COLUMNS
    if column.qualifier or column.name not in allowed:
        kind = "text" if text else "a number"
        raise ExpressionError(
            f"'{column}' cannot be compared with {kind}; {near(str(column), allowed)}columns for that are "
            f"{', '.join(allowed)}",
            column.start,
        )
    if text and op not in ("=", "<>"):
        raise ExpressionError(f"text is compared with = or <> only, found '{op}'", column.start)


def columns_of(feature: Feature) -> set[str]:
    """The mapped columns that the feature reads.

    >>> sorted(columns_of(parse_feature("x", "sum(amount) filter (where gender = 'F')")))
    ['amount', 'gender']
    """
    named = {n.name for n in walk(feature.where) if isinstance(n, Name)} if feature.where else set()
    return named | ({feature.column} if feature.column else set())
