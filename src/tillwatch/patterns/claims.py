"""What must be so for a condition to be true, or not to be: claims joined by AND and OR.

A claim says no more than the engine guarantees. Where rounding, or a value that is no number, leaves doubt, it says
less; so what contradicts itself here is never true there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from tillwatch.patterns import ranges
from tillwatch.patterns.expression import (
    Absolute,
    And,
    Arithmetic,
    Coalesce,
    Compare,
    CompareOp,
    Expr,
    IsNull,
    Name,
    Not,
    Number,
    Or,
    PercentileCont,
    PercentRank,
    Truth,
    walk,
)
from tillwatch.patterns.program import Use
from tillwatch.patterns.ranges import Range
from tillwatch.patterns.shown import show


@dataclass(frozen=True, slots=True)
class Within:
    """A value is in a range. `value` is as it is shown."""

    value: str
    range: Range


@dataclass(frozen=True, slots=True)
class Other:
    """A value is not this number."""

    value: str
    number: Fraction


@dataclass(frozen=True, slots=True)
class Ordered:
    """One value is at most another, or less; `exact` when it is compared as whole numbers are, without rounding."""

    low: str
    high: str
    strict: bool = False
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Sized:
    """A comparison of values of which one at least is worked out from others."""

    left: Expr
    right: Expr
    strict: bool


@dataclass(frozen=True, slots=True)
class Known:
    """A value is known, or is not."""

    value: str
    known: bool


@dataclass(frozen=True, slots=True)
class Never:
    """Nothing makes it so."""


@dataclass(frozen=True, slots=True)
class All:
    """All of these."""

    parts: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these."""

    parts: tuple[Claim, ...]


Claim = Within | Other | Ordered | Sized | Known | Never | All | AnyOf

_OPPOSITE: Mapping[CompareOp, CompareOp] = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_FLIPPED: Mapping[CompareOp, CompareOp] = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Claims:
    """Makes claims of conditions. `uses` are the names of a pattern, `digits` those of its amounts."""

    uses: Mapping[str, Use]
    digits: int

    def of(self, tree: Expr, truth: bool, *, or_unknown: bool = False) -> Claim:
        """What must be so for the condition to be `truth`, or, if asked for, unknown."""
        match tree:
            case And(left=left, right=right) | Or(left=left, right=right):
                parts = tuple(self.of(side, truth, or_unknown=or_unknown) for side in (left, right))
                return All(parts) if isinstance(tree, And) == truth else AnyOf(parts)
            case Not(x=x):
                return self.of(x, not truth, or_unknown=or_unknown)
            case Truth(value=value):
                return All() if value == truth else Never()
            case IsNull(x=x):
                return self._null(x) if truth else self._not_null(x)
            case Compare(op=op, left=left, right=right):
                claim = self._compared(op if truth else _OPPOSITE[op], left, right, opposite=not truth)
                return AnyOf((claim, self._null(left), self._null(right))) if or_unknown else claim
            case _:
                return All()

    def _null(self, tree: Expr) -> Claim:
        match tree:
            case Number():
                return Never()
            case Name():
                return Known(show(tree), known=False)
            case PercentRank(x=x) | Absolute(x=x):
                return self._null(x)
            case Arithmetic(op=op, left=left, right=right) if op != "/":
                return AnyOf((self._null(left), self._null(right)))
            case _:
                return All()

    def _not_null(self, tree: Expr) -> Claim:
        return All(tuple(Known(name, known=True) for name in _needed(tree)))

    def _compared(self, op: CompareOp, left: Expr, right: Expr, *, opposite: bool) -> Claim:
        """`left op right`, both known."""
        known = (self._not_null(left), self._not_null(right))
        if isinstance(left, Number) and not isinstance(right, Number):
            op, left, right = _FLIPPED[op], right, left
        if isinstance(left, Number) and isinstance(right, Number):
            return All() if self._holds(op, left.value, right.value) else Never()
        if _is_own(left) and isinstance(right, Number):
            return All((*known, self._bounded(op, left, right.value)))
        if opposite and not (_is_own(left) and _is_own(right)):
            return All(known)  # what is worked out may be no number, for which `not x < 1` is true
        return All((*known, *self._ordered(op, left, right)))

    def _holds(self, op: CompareOp, left: Decimal, right: Decimal) -> bool:
        (a, exact_a), (b, exact_b) = (ranges.constant(v, self.digits) for v in (left, right))
        if not (exact_a and exact_b):
            a, b = Fraction(float(left)), Fraction(float(right))
        return {"=": a == b, "<>": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]

    def _bounded(self, op: CompareOp, left: Expr, number: Decimal) -> Claim:
        value, (bound, held) = show(left), ranges.constant(number, self.digits)
        step = self.step(left)
        if step is None:
            bound = Fraction(float(number))
        large = abs(bound) * 10**self.digits >= ranges.HELD
        if op == "<>":
            return Other(value, bound) if held and not large else All()
        low, high = (bound if op in (">", ">=", "=") else None), (bound if op in ("<", "<=", "=") else None)
        within = Range(low, high, above=op == ">", below=op == "<")
        return Within(value, within if step is None else (within.on(step) if held and not large else within.wider()))

    def _ordered(self, op: CompareOp, left: Expr, right: Expr) -> Iterator[Claim]:
        if op == "<>":
            return
        if op in (">", ">="):
            op, left, right = _FLIPPED[op], right, left
        if not (_is_own(left) and _is_own(right)):
            yield from (Sized(a, b, op == "<") for a, b in [(left, right), (right, left)][: 2 if op == "=" else 1])
            return
        a, b, exact = show(left), show(right), self.step(left) is not None and self.step(right) is not None
        yield Ordered(a, b, op == "<", exact)
        if op == "=":
            yield Ordered(b, a, False, exact)

    def step(self, tree: Expr) -> Fraction | None:
        """What a value is always a multiple of; None for one that is held as float64."""
        kind = self.uses[str(tree)].kind if isinstance(tree, Name) else "float"
        return {"int": Fraction(1), "decimal": Fraction(1, 10**self.digits)}.get(kind)


def _is_own(tree: Expr) -> bool:
    """Whether it is a value of its own, not worked out from others."""
    return isinstance(tree, Name | PercentRank | PercentileCont)


def _needed(tree: Expr) -> Iterator[str]:
    """The names that must be known for the value to be known."""
    match tree:
        case Name():
            yield show(tree)
        case Arithmetic(left=left, right=right):
            yield from _needed(left)
            yield from _needed(right)
        case PercentRank(x=x) | Absolute(x=x):
            yield from _needed(x)
        case Coalesce() | PercentileCont() | Number() | _:
            return


def named(tree: Expr) -> list[Expr]:
    """The values of its own that an expression is made of."""
    return [node for node in walk(tree) if _is_own(node)]
