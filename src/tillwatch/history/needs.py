"""What a condition lacks for a key: how far each clause is from true, and what would bring it there.

What is said of a key's own counts and ranks is exact: so many more transactions of the key, and nothing else in
between, and the clause is true; with one fewer it is not. In a window of time, they have to come now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from tillwatch.engine.condition import clause_parts, rank_against_number
from tillwatch.engine.table import Table
from tillwatch.engine.values import Vector
from tillwatch.history.clauses import Clause, KeyView, Need, View
from tillwatch.patterns.expression import Compare, Expr, IsNull, Name, Number, PercentRank, walk
from tillwatch.patterns.program import Accumulator, Grain, Plan, Use
from tillwatch.patterns.shown import show

_OPPOSITE = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}

_RISING = {"count", "distinct", "max"}
"""Accumulators that never fall as rows come."""


@dataclass(frozen=True, slots=True)
class Change:
    """How far a value has to go: at least `by`, more than it when `strict`."""

    by: Fraction
    strict: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """Works out needs for one key. `negative` says whether amounts may be."""

    view: View
    plan: Plan
    tables: Mapping[Grain, Table]
    negative: bool

    def of(self, clause: Clause, wanted: bool = True) -> Clause:
        """The clause with the needs of those parts that keep it from being `wanted`."""
        if clause.truth is wanted:
            return clause
        if clause.parts:
            part_wanted = wanted != (clause.kind == "not")
            return replace(clause, parts=tuple(self.of(part, part_wanted) for part in clause.parts))
        return replace(clause, need=self._need(clause.tree, wanted))

    def _need(self, tree: Expr, wanted: bool) -> Need:
        match tree:
            case Compare() if self._columns(tree):
                return self._transaction(tree, tree.op if wanted else _OPPOSITE[tree.op])
            case Compare() if any(isinstance(node, Name) for node in walk(tree)):
                return self._comparison(tree, wanted)
            case IsNull(x=x):
                return Need(f"{show(x)} {'unknown' if wanted else 'known'}", show(x))
            case _:
                return Need("nothing: it is the same for every key", possible=False)

    def _columns(self, tree: Expr) -> list[Name]:
        """The columns of the transaction that an expression reads."""
        return [n for n in walk(tree) if isinstance(n, Name) and self._use(n).column is not None]

    def _transaction(self, tree: Compare, op: str) -> Need:
        """What the next transaction has to be."""
        for side, other, way in ((tree.left, tree.right, op), (tree.right, tree.left, _FLIPPED[op])):
            if isinstance(side, Name) and self._use(side).column is not None and not self._columns(other):
                value = self.view.value(other)
                if value is None:
                    return self._unknown(other)
                bound = f"'{value}'" if isinstance(value, str) else _shown(self._exact(other))
                return Need(f"a transaction with {side} {way} {bound}", str(side))
        return Need(f"a transaction with {show(Compare(op, tree.left, tree.right))}", show(tree.left))  # type: ignore[arg-type]

    def _comparison(self, tree: Compare, wanted: bool) -> Need:
        for side in (tree.left, tree.right):
            value = self.view.value(side)
            if value is None:
                return self._unknown(side)
            if not math.isfinite(value):
                return Need(f"{show(side)} within the range of numbers", show(side))
        if (clause := rank_against_number(tree)) is not None:
            rank, op, limit = clause_parts(clause)
            return self._rank(rank, op if wanted else _OPPOSITE[op], float(limit))
        op = tree.op if wanted else _OPPOSITE[tree.op]
        if isinstance(tree.right, Number):
            return self._move(tree.left, op, self._exact(tree.right))
        if isinstance(tree.left, Number):
            return self._move(tree.right, _FLIPPED[op], self._exact(tree.left))
        return self._apart(tree, op)

    def _unknown(self, side: Expr) -> Need:
        if isinstance(side, Name) and self._use(side).lookup is not None:
            return Need(f"a value of {side} for this key, which the lookup does not have", str(side), possible=False)
        return Need(f"{show(side)} known; it is unknown now", show(side))

    def _exact(self, tree: Expr) -> Fraction:
        return exact(self.view.vector(tree), self.view.digits)

    def _use(self, name: Name) -> Use:
        return self.plan.uses[str(name)]

    def _accumulator(self, use: Use) -> Accumulator:
        """The first of those that the feature is made of."""
        kept = self.tables[use.grain].spec.accumulators
        return use.passing[0] if use.passing else next(a for a in kept if a.name == use.parts[0])

    def _move(self, side: Expr, op: str, bound: Fraction) -> Need:
        """`side op bound`, the bound being fixed."""
        vector = self.view.vector(side)
        value = exact(vector, self.view.digits)
        change = change_of(op, value, bound, whole=vector.kind == "int")
        if change is None:
            return Need(f"{show(side)} of {_shown(bound)}, which a whole number never is", show(side), possible=False)
        return self._side(side, op, bound, change)

    def _side(self, side: Expr, op: str, bound: Fraction, change: Change) -> Need:
        """What moves a side of a comparison."""
        if isinstance(side, Name):
            return self._feature(side, op, bound, change)
        return _need(show(side), op, bound, change)

    def _feature(self, name: Name, op: str, bound: Fraction, change: Change) -> Need:
        use, by = self._use(name), change.by
        need = _need(str(name), op, bound, change)
        if use.lookup is not None:
            return replace(need, text=f"{need.text}; it comes from a lookup, not from transactions", possible=False)
        if use.average or use.spread is not None:
            return need
        kept = self._accumulator(use)
        falls = op in ("<", "<=") or by < 0
        if kept.window is None:
            if falls and (kept.op in _RISING or (kept.op == "sum" and not self.negative)):
                return replace(need, text=f"{need.text}, and it never falls", possible=False)
            if not falls and op != "<>" and kept.op == "min":
                return replace(need, text=f"{need.text}, and it never rises", possible=False)
        if kept.op in ("count", "distinct") and by > 0:
            within = f" within {kept.window.text}" if kept.window else ""
            return replace(need, text=f"{_shown(by)} more {_counted(name, kept, by)}{within}")
        return need

    def _apart(self, tree: Compare, op: str) -> Need:
        """Neither side is fixed."""
        left, right = (self.view.vector(side) for side in (tree.left, tree.right))
        whole = left.kind == right.kind == "int"
        value, bound = (exact(v, self.view.digits) for v in (left, right))
        change = change_of(op, value, bound, whole=whole)
        assert change is not None  # two whole numbers can be equal
        if op in ("=", "<>"):
            words = "equal to" if op == "=" else "other than"
            return Need(f"{show(tree.left)} {words} {show(tree.right)}", show(tree.left), _number(change.by))
        back = Change(-change.by, change.strict)
        ways = [self._side(tree.left, op, bound, change), self._side(tree.right, _FLIPPED[op], value, back)]
        ways = [way for way in ways if way.possible] or ways
        said = " or ".join(way.text for way in ways)
        return replace(ways[0], text=f"{said}, {'each ' if len(ways) > 1 else ''}with the other side as it is")

    def _rank(self, rank: PercentRank, op: str, limit: float) -> Need:
        """The rank among the others as they are, so that it holds when this key alone moves."""
        n, others, below = self._population(rank)
        shares = np.arange(n) / max(n - 1, 1)
        fitting = np.flatnonzero(_COMPARES[op](shares, limit))
        if not len(fitting):
            return Need(f"another limit: no rank of {n:,} is {op} {limit:g}", str(rank.x), possible=False)
        place = f"rank {below + 1:,} of {n:,}"
        if op in (">", ">="):
            needed = int(fitting[0])
            need = self._move(rank.x, ">", others(needed - 1))
            return replace(need, text=f"{need.text}: {place}, at least {needed + 1:,} is needed")
        needed = int(fitting[-1])
        need = self._move(rank.x, "<=", others(needed))
        return replace(need, text=f"{need.text}: {place}, at most {needed + 1:,} is needed")

    def _population(self, rank: PercentRank) -> tuple[int, Callable[[int], Fraction], int]:
        """The size of the population, the values of all others by their place, and how many are below this key."""
        assert isinstance(self.view, KeyView)  # there are no ranks of transactions
        condition, slot = self.view.condition, self.view.slots[0]
        use, over = self._use(rank.x), condition.plan.over(rank)
        members = condition.group_members(over).of(int(condition.table.up[over][slot]))
        vector = condition.feature(use, members[members != slot], condition.plan.per)
        known = vector.data if vector.null is None else vector.data[~vector.null]
        own = self.view.vector(rank.x).data[0]
        unit = 10**condition.digits if vector.kind == "decimal" else 1
        others = np.sort(known)
        return len(known) + 1, lambda place: Fraction(others[place].item()) / unit, int((known < own).sum())


_COMPARES: dict[str, Any] = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}


def exact(vector: Vector, digits: int) -> Fraction:
    """The first value of a vector, nothing rounded off. It must be known and finite."""
    number = Fraction(vector.data[0].item())
    return number / 10**digits if vector.kind == "decimal" else number


def change_of(op: str, value: Fraction, bound: Fraction, *, whole: bool) -> Change | None:
    """How far the value is from `value op bound`; None when a whole number can never be.

    >>> change_of(">", Fraction(77), Fraction(80), whole=True), change_of("=", Fraction(1), Fraction(3, 2), whole=True)
    (Change(by=Fraction(4, 1), strict=False), None)
    """
    if op == "<>":
        return Change(Fraction(0), strict=True)
    if not whole or op == "=":
        return None if whole and bound.denominator != 1 else Change(bound - value, op in ("<", ">"))
    least = {">": math.floor(bound) + 1, ">=": math.ceil(bound), "<": math.ceil(bound) - 1, "<=": math.floor(bound)}
    return Change(least[op] - value, strict=False)


def _need(what: str, op: str, bound: Fraction, change: Change) -> Need:
    by = _number(change.by)
    if op == "<>":
        return Need(f"{what} other than {_shown(bound)}", what)
    if op == "=":
        return Need(f"{what} of exactly {_shown(bound)}", what, by)
    if not change.by:
        return Need(f"{what} {'above' if op == '>' else 'below'} {_shown(bound)}", what, by)
    return Need(f"{what} {_direction(op)} by {_gap(change)}", what, by)


def _number(exactly: Fraction) -> int | float:
    return int(exactly) if exactly.denominator == 1 else float(exactly)


def _direction(op: str) -> str:
    return "higher" if op in (">", ">=") else "lower"


def _gap(change: Change) -> str:
    return f"{'more than ' if change.strict else ''}{_shown(abs(change.by))}"


def _shown(number: Fraction) -> str:
    """A number with up to four fraction digits, rounded up, so that it is enough.

    >>> _shown(Fraction(3)), _shown(Fraction(1, 10)), _shown(Fraction(1, 3)), _shown(Fraction(12345, 10))
    ('3', '0.1', '0.3334', '1,234.5')
    """
    scaled = math.ceil(number * 10_000)
    whole, rest = divmod(abs(scaled), 10_000)
    fraction = f"{rest:04d}".rstrip("0")
    return f"{'-' if scaled < 0 else ''}{whole:,}{'.' if fraction else ''}{fraction}"


def _counted(name: Name, kept: Accumulator, count: Fraction) -> str:
    """What a count counts, as far as it can be said in words."""
    if kept.op == "distinct":
        words = name.name.replace("_", " ")
        words = words.removesuffix("s") if count == 1 else words
    else:
        words = "transaction" if count == 1 else "transactions"
    of = f" of the {name.qualifier}" if name.qualifier else ""
    return words + of + (f" that {name.name} counts" if kept.op == "count" and kept.where is not None else "")
