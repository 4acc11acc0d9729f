"""Which values a value can have: ranges, worked out with, exact where the engine is exact and wider elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from tillwatch.patterns.expression import Absolute, Arithmetic, Coalesce, Expr, Number
from tillwatch.patterns.shown import show

HELD = 2**53
"""Integers below this in size are held exactly, whatever they are compared as."""

_WIDER = Fraction(1, 2**40)
"""Share by which a bound is moved outwards that rounding to float64 may have moved."""


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, None where there is no bound; `above` and `below`: the bound itself is not in it."""

    low: Fraction | None = None
    high: Fraction | None = None
    above: bool = False
    below: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is in it."""
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.above or self.below))

    def meet(self, other: Range) -> Range:
        """What is in both."""
        low, above = _tighter((self.low, self.above), (other.low, other.above), max)
        high, below = _tighter((self.high, self.below), (other.high, other.below), min)
        return Range(low, high, above, below)

    def join(self, other: Range) -> Range:
        """The smallest range that has both in it, its ends included."""
        low = None if self.low is None or other.low is None else min(self.low, other.low)
        high = None if self.high is None or other.high is None else max(self.high, other.high)
        return Range(low, high)

    def wider(self) -> Range:
        """The same with room for rounding."""
        low = None if self.low is None else self.low - abs(self.low) * _WIDER
        high = None if self.high is None else self.high + abs(self.high) * _WIDER
        return Range(low, high)

    def on(self, step: Fraction | None) -> Range:
        """The same for values that are multiples of `step`: from the first such value to the last."""
        if step is None:
            return self
        low = None if self.low is None else math.ceil(self.low / step) * step
        high = None if self.high is None else math.floor(self.high / step) * step
        low = low + step if low is not None and self.above and low == self.low else low
        high = high - step if high is not None and self.below and high == self.high else high
        return Range(low, high)


ANY = Range()
NOT_NEGATIVE = Range(Fraction(0))


_End = tuple[Fraction | None, bool]


def _tighter(a: _End, b: _End, pick: Callable[[Fraction, Fraction], Fraction]) -> _End:
    if a[0] is None or b[0] is None:
        return b if a[0] is None else a
    if a[0] == b[0]:
        return a[0], a[1] or b[1]
    return a if pick(a[0], b[0]) == a[0] else b


def constant(value: Decimal, digits: int) -> tuple[Fraction, bool]:
    """A constant as the engine holds it, and whether comparing a count or a decimal with it is exact."""
    exact = Fraction(value)
    scaled = exact * 10**digits
    if scaled.denominator == 1 and abs(scaled) < HELD:
        return exact, True
    return Fraction(float(value)), False


def of(tree: Expr, known: Mapping[str, Range]) -> Range:
    """The range of a value made of others; `known` has those of names, ranks and quantiles, as they are shown."""
    match tree:
        case Number(value=value):
            return Range(Fraction(value), Fraction(value))
        case Arithmetic(op=op, left=left, right=right):
            return _calculated(op, of(left, known), of(right, known))
        case Absolute(x=x):
            return _size(of(x, known))
        case Coalesce(x=x, otherwise=otherwise):
            return of(x, known).join(of(otherwise, known))
        case _:
            return known.get(show(tree), ANY)


def _calculated(op: str, a: Range, b: Range) -> Range:
    if op == "-":
        return _calculated("+", a, Range(_minus(b.high), _minus(b.low)))
    if op == "+":
        return Range(_sum(a.low, b.low, -1), _sum(a.high, b.high, 1))
    return (_product(a, b) if op == "*" else _quotient(a, b)).wider()


def _product(a: Range, b: Range) -> Range:
    if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
        ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        return Range(min(ends), max(ends))
    if a.low is None or b.low is None or a.low < 0 or b.low < 0:
        return ANY
    return Range(a.low * b.low)


def _quotient(a: Range, b: Range) -> Range:
    """What is divided by zero is unknown, so it is in no range."""
    if a.low is None or b.low is None or a.low < 0 or b.low < 0:
        return ANY
    low = a.low / b.high if b.high else Fraction(0)
    return Range(low, None if a.high is None or b.low == 0 else a.high / b.low)


def _size(a: Range) -> Range:
    if a.low is not None and a.low >= 0:
        return a
    if a.high is not None and a.high <= 0:
        return Range(-a.high, _minus(a.low))
    return Range(Fraction(0), None if a.low is None or a.high is None else max(-a.low, a.high))


def _minus(x: Fraction | None) -> Fraction | None:
    return None if x is None else -x


def _sum(a: Fraction | None, b: Fraction | None, outwards: int) -> Fraction | None:
    """The sum with room for rounding of either, which is much when they nearly cancel."""
    return None if a is None or b is None else a + b + outwards * (abs(a) + abs(b)) * _WIDER
