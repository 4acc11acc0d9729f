"""Features: running values per key, declared as SQL aggregates.

>>> parse_feature("female_customers", "count(distinct customer) filter (where gender = 'F')").kind
'distinct'
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlglot import exp

from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.expression import (
    And,
    Compare,
    Expr,
    ExpressionError,
    IsNull,
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


def parse_feature(name: str, text: str, keys: Sequence[str] = STANDARD_KEYS) -> Feature:
    """The feature that `text` declares; `keys` are the text columns there can be. Raises ExpressionError."""
    if not _NAME.fullmatch(name):
        raise ExpressionError(f"'{name}' cannot be a feature's name: use letters a to z, digits and _")
    aggregate, window = split_window(text)
    tree = parse_sql(aggregate)
    where: Expr | None = None
    if isinstance(tree, exp.Filter):
        where = convert(tree.expression.this, {})
        _check_filter(where, keys)
        tree = tree.this
    kind, column = _aggregate(tree, keys)
    return Feature(name, kind, column, where, text.strip(), window)


def grain_order(keys: Sequence[str]) -> tuple[str, ...]:
    """What can be a key, in the order of keys in every grain. An amount is a key by its canonical decimal.

    >>> grain_order(["customer", "merchant", "device"])
    ('customer', 'merchant', 'amount', 'device')
    """
    own = [key for key in keys if key not in STANDARD_KEYS]
    return (*(key for key in keys if key in STANDARD_KEYS), "amount", *own)


def parse_filter(text: str, keys: Sequence[str] = STANDARD_KEYS) -> Expr:
    """The filter on rows that `text` is. Raises ExpressionError.

    >>> show(parse_filter("category <> 'es_travel' and amount > 1"))
    "category <> 'es_travel' and amount > 1"
    """
    where = convert(parse_sql(text), {})
    _check_filter(where, keys)
    return where


def _aggregate(tree: exp.Expr, keys: Sequence[str]) -> tuple[Kind, str | None]:
    inner = tree.this
    if isinstance(tree, exp.Count):
        if isinstance(inner, exp.Star):
            return "count", None
        if isinstance(inner, exp.Distinct) and len(inner.expressions) == 1:
            return "distinct", _column(inner.expressions[0], keys, "count(distinct …)")
        if isinstance(inner, exp.Column):
            _column(inner, (*keys, *NUMBER_COLUMNS), "count(…)")
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


def _column(node: exp.Expr, allowed: Sequence[str], what: str) -> str:
    if isinstance(node, exp.Column) and not node.args.get("table") and node.name in allowed:
        return node.name
    found = node.sql()
    raise ExpressionError(
        f"{what} takes one of the columns {', '.join(allowed)}; found '{found}'{meant(found, allowed)}", place(node)
    )


def _check_filter(where: Expr, keys: Sequence[str]) -> None:
    """A filter is a condition on columns of the row: text compared by = and <>, amount with numbers."""
    match where:
        case And() | Or():
            _check_filter(where.left, keys)
            _check_filter(where.right, keys)
        case Not():
            _check_filter(where.x, keys)
        case Truth():
            return
        case IsNull(x=Name() as column) if column.qualifier is None and column.name in keys:
            return
        case Compare(op=op, left=Name() as column, right=Text() | Number() as value):
            _check_comparison(op, column, value, keys)
        case _:
            start = next((n.start for n in walk(where) if isinstance(n, Name)), None)
            raise ExpressionError(f"'{show(where)}' is not a filter: compare a column with a value", start)


def _check_comparison(op: str, column: Name, value: Text | Number, keys: Sequence[str]) -> None:
    text = isinstance(value, Text)
    allowed = keys if text else NUMBER_COLUMNS
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
    return columns_in(feature.where) | ({feature.column} if feature.column else set())


def columns_in(where: Expr | None) -> set[str]:
    """The mapped columns that a filter reads."""
    return {n.name for n in walk(where) if isinstance(n, Name)} if where else set()


def plain_filter(where: Expr | None) -> Expr | None:
    """The filter without the places of its names, so that equal filters are equal."""
    match where:
        case Compare(op=op, left=Name(name=name), right=right):
            return Compare(op, Name(name), right)
        case And(left=left, right=right):
            return And(plain_filter(left) or left, plain_filter(right) or right)
        case Or(left=left, right=right):
            return Or(plain_filter(left) or left, plain_filter(right) or right)
        case Not(x=x):
            return Not(plain_filter(x) or x)
        case IsNull(x=Name(name=name)):
            return IsNull(Name(name))
        case _:
            return where


def check_nulls(where: Expr | None, texts: Collection[str], nullable: Collection[str]) -> None:
    """Only text columns that a lookup brings can be asked for whether they are null. Raises ExpressionError."""
    asked = (n.x for n in walk(where) if isinstance(n, IsNull) and isinstance(n.x, Name)) if where is not None else ()
    for column in asked:
        if column.name in texts and column.name not in nullable:
            raise ExpressionError(
                f"'{column} is null' is never true: every valid row has a {column}; only texts of lookups can be null",
                column.start,
            )


def of_known(feature: Feature, nullable: Collection[str]) -> Feature:
    """The feature; one that counts different texts of a lookup counts those that are known."""
    if feature.kind != "distinct" or feature.column is None or feature.column not in nullable:
        return feature
    known = Not(IsNull(Name(feature.column)))
    return replace(feature, where=known if feature.where is None else And(feature.where, known))
