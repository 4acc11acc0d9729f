"""For tests: pieces of conditions, each written twice, as text of the pattern language and as DuckDB SQL.

The SQL says in its own words what the language promises: integers and decimals are exact, a decimal being a count of
ten-thousandths; so are their sums, differences and the products of two integers; all else is DOUBLE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

UNIT = 10_000

Kind = Literal["int", "decimal", "float", "bool", "text"]


@dataclass(frozen=True)
class Aggregate:
    """A feature: as a pattern declares it (empty for built-in ones), as SQL, its kind, whether it may be NULL.

    `within` says whether it has a window, of time or of transactions.
    """

    text: str
    sql: str
    kind: Kind
    nullable: bool = False
    within: str = ""


@dataclass(frozen=True, order=True)
class Rank:
    """A `percent_rank(x) over …` in a condition: the name x, the keys, and how evidence shows it."""

    x: str
    over: tuple[str, ...]
    shown: str


@dataclass(frozen=True)
class Term:
    """A piece of a condition: text, SQL, kind of value, whether it may be NULL, and the names and ranks it reads."""

    text: str
    sql: str
    kind: Kind
    nullable: bool = False
    names: frozenset[str] = frozenset()
    ranks: frozenset[Rank] = frozenset()


@dataclass(frozen=True, repr=False)
class Drawn:
    """A pattern: its keys, the features it may name, its thresholds, its condition, the life of its detections."""

    per: tuple[str, ...]
    features: Mapping[str, Aggregate]
    thresholds: Mapping[str, str]
    when: Term
    judge: str = "chunk"
    life: Mapping[str, str | bool] = field(default_factory=dict)

    @property
    def own(self) -> dict[str, str]:
        """The features that it declares."""
        return {name: f.text for name, f in self.features.items() if f.text}

    def __repr__(self) -> str:
        return f"per {self.per} on {self.judge} when {self.when.text} with {self.thresholds} {self.own} {self.life}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As hypothesis shows it."""
        printer.text(repr(self))


def join(text: str, sql: str, kind: Kind, *parts: Term, nullable: bool = False) -> Term:
    """A term made of others."""
    names = frozenset[str]().union(*(p.names for p in parts))
    ranks = frozenset[Rank]().union(*(p.ranks for p in parts))
    return Term(text, sql, kind, nullable or any(p.nullable for p in parts), names, ranks)


def average(keep: str = "") -> str:
    """The quotient of two exact integers."""
    return f"(sum(units){keep})::DOUBLE / nullif(count(*){keep} * {UNIT}, 0)::DOUBLE"


def spread(kind: str, keep: str = "") -> str:
    """A variance or standard deviation: n·Σx² − (Σx)², exact, over n·(n − 1) or n²."""
    n, total = f"(count(*){keep})::HUGEINT", f"(sum(units){keep})::HUGEINT"
    squares = f"(sum(units::HUGEINT * units){keep})::HUGEINT"
    divisor = f"{n} * {n}" if kind.endswith("_pop") else f"{n} * ({n} - 1)"
    found = f"(({n} * {squares} - {total} * {total})::DOUBLE / nullif(({divisor})::DOUBLE * {UNIT**2}::DOUBLE, 0))"
    return f"sqrt({found})" if kind.startswith("stddev") else found


def as_double(term: Term) -> str:
    """The value as DOUBLE."""
    return f"({term.sql})::DOUBLE / {UNIT}::DOUBLE" if term.kind == "decimal" else f"({term.sql})::DOUBLE"


def align(*terms: Term) -> tuple[Kind, list[str]]:
    """The common kind of terms, and their SQL in it."""
    kinds = {t.kind for t in terms}
    if "float" in kinds:
        return "float", [as_double(t) for t in terms]
    if len(kinds) == 2:
        return "decimal", [f"({t.sql}) * {UNIT}" if t.kind == "int" else t.sql for t in terms]
    return terms[0].kind, [t.sql for t in terms]


def compared(op: str, left: Term, right: Term) -> Term:
    """`left op right`."""
    _, (a, b) = align(left, right)
    return join(f"{left.text} {op} {right.text}", f"(({a}) {op} ({b}))", "bool", left, right)


def calculated(op: str, left: Term, right: Term) -> Term:
    """`left op right`; a quotient is unknown when divided by 0."""
    text = f"({left.text} {op} {right.text})"
    if op == "/":
        sql = f"(({as_double(left)}) / nullif({as_double(right)}, 0))"
        return join(text, sql, "float", left, right, nullable=True)
    if op == "*" and {left.kind, right.kind} != {"int"}:
        return join(text, f"(({as_double(left)}) * ({as_double(right)}))", "float", left, right)
    kind, (a, b) = align(left, right)
    return join(text, f"(({a}) {op} ({b}))", kind, left, right)


def coalesced(x: Term, otherwise: Term) -> Term:
    """`coalesce(x, otherwise)`; what is never unknown stays as exact as it is."""
    text = f"coalesce({x.text}, {otherwise.text})"
    kind, (a, b) = align(x, otherwise) if x.nullable else (x.kind, [x.sql, "NULL"])
    both = join(text, f"coalesce({a}, {b})", kind, x, otherwise)
    return Term(text, both.sql, kind, x.nullable and otherwise.nullable, both.names, both.ranks)


def constant(number: str, text: str | None = None) -> Term:
    """A number, as exact as its digits ask for; `text` when it is written in another way."""
    value, units = Decimal(number), Decimal(number) * UNIT
    if value == int(value):
        return Term(text or number, f"{int(value)}::HUGEINT", "int")
    if units == int(units):
        return Term(text or number, f"{int(units)}::HUGEINT", "decimal")
    return Term(text or number, f"'{number}'::DOUBLE", "float")


def rank(x: Term, over: tuple[str, ...], over_text: str) -> Term:
    """`percent_rank(x) over …`: among those that have an x."""
    text = f"percent_rank({x.text}) over {over_text}"
    shown = f"percent_rank({x.text}) over {over[0] if len(over) == 1 else over_text}"
    groups = ", ".join(["upto", *over, f"{x.sql} IS NULL"])
    sql = f"(CASE WHEN {x.sql} IS NOT NULL THEN percent_rank() OVER (PARTITION BY {groups} ORDER BY {x.sql}) END)"
    return Term(text, sql, "float", x.nullable, x.names, frozenset([Rank(x.text, over, shown)]))


def quantile(p: str, p_text: str, x: Term, over: tuple[str, ...], over_text: str) -> Term:
    """`percentile_cont(p, x) over …`, its place among the members worked out in integers."""
    share = Fraction(p)
    groups = ", ".join(["upto", *over])
    values = f"list({as_double(x)}) FILTER (WHERE {x.sql} IS NOT NULL) OVER (PARTITION BY {groups})"
    sql = f"cont(list_sort({values}), {share.numerator}, {share.denominator})"
    return join(f"percentile_cont({p_text}, {x.text}) over {over_text}", sql, "float", x, nullable=True)
