"""What is always so of the values that a condition names, whatever rows come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from tillwatch.patterns.claims import Claim, Known, Ordered, Within
from tillwatch.patterns.expression import Expr, Name, PercentileCont, PercentRank, conjuncts, walk
from tillwatch.patterns.features import SPREADS, Feature, plain_filter
from tillwatch.patterns.pattern import Judge
from tillwatch.patterns.program import Grain, Plan
from tillwatch.patterns.ranges import NOT_NEGATIVE, Range
from tillwatch.patterns.shown import show

_COUNTS = ("count", "distinct")


@dataclass(frozen=True, slots=True)
class Fact:
    """A claim that is always so, and the words for it."""

    claim: Claim
    words: str


@dataclass(frozen=True, slots=True)
class _Used:
    """A feature at a grain, by the name it is used under."""

    name: str
    grain: Grain
    feature: Feature


def facts_of(plan: Plan, features: Mapping[str, Feature], *, negative: bool) -> list[Fact]:
    """What is always so in a pattern's condition; `negative`: amounts may be below zero."""
    features = {**features, **plan.pattern.features}
    used = [
        _Used(label, use.grain, features[label.rpartition(".")[2]])
        for label, use in plan.uses.items()
        if use.lookup is None and use.column is None
    ]
    found = [fact for u in used for fact in _alone(u, plan.pattern.judge, negative=negative)]
    if not negative and "amount" in plan.uses and plan.uses["amount"].column:
        found.append(Fact(Within("amount", NOT_NEGATIVE), "amounts are not negative"))
    found += [fact for a in used for b in used if a is not b and (fact := _beside(a, b, negative=negative))]
    not_negative = {fact.claim.value for fact in found if isinstance(fact.claim, Within)}
    return found + list(_ranks(plan.tree, not_negative))


def _alone(used: _Used, judge: Judge, *, negative: bool) -> Iterator[Fact]:
    name, kind = used.name, used.feature.kind
    if kind in _COUNTS:
        if judge == "chunk" or used.feature.window is None:  # else a row may be too late for the window
            yield Fact(Known(name, known=True), f"{name} is a count and always known")
        yield Fact(Within(name, NOT_NEGATIVE), f"{name} is a count and never negative")
    elif kind in SPREADS:
        yield Fact(Within(name, NOT_NEGATIVE), f"{name} is never negative")
    elif not negative:
        yield Fact(Within(name, NOT_NEGATIVE), f"amounts are not negative, nor is {name}")
    if kind == "distinct" and used.feature.column in used.grain:
        words = f"{name} counts one {used.feature.column} at most, being per {', '.join(used.grain)}"
        yield Fact(Within(name, Range(high=Fraction(1))), words)


def _beside(a: _Used, b: _Used, *, negative: bool) -> Fact | None:
    """The fact that a is never more than b, if it is one."""
    kinds = (a.feature.kind, b.feature.kind)
    if kinds == ("min", "min"):
        at_most = _narrower(b, a)
    elif kinds == ("min", "max"):
        at_most = _narrower(a, b) or _narrower(b, a)
    elif kinds == ("distinct", "distinct"):
        at_most = a.feature.column == b.feature.column and _narrower(a, b)
    else:
        at_most = kinds in _AT_MOST | (set() if negative else _AT_MOST_NOT_NEGATIVE) and _narrower(a, b)
    return Fact(Ordered(a.name, b.name), f"{a.name} is never more than {b.name}") if at_most else None


_AT_MOST = {("count", "count"), ("distinct", "count"), ("max", "max")}
"""What is never more when fewer rows are looked at; averages are rounded, so nothing is said of them."""

_AT_MOST_NOT_NEGATIVE = {("sum", "sum"), ("max", "sum"), ("min", "sum")}


def _narrower(a: _Used, b: _Used) -> bool:
    """Whether every row that a looks at is one that b looks at. The last rows of one key are not those of another."""
    window = b.feature.window
    if window is not None and (window.kind == "transactions" or window != a.feature.window):
        return False
    return set(b.grain) <= set(a.grain) and set(_filters(b.feature)) <= set(_filters(a.feature))


def _filters(feature: Feature) -> list[Expr]:
    where = plain_filter(feature.where)
    return conjuncts(where) if where is not None else []


def _ranks(tree: Expr, not_negative: set[str]) -> Iterator[Fact]:
    for node in dict.fromkeys(walk(tree)):
        if isinstance(node, PercentRank):
            words = f"{show(node)} is from 0 to 1"
            yield Fact(Within(show(node), Range(Fraction(0), Fraction(1))), words)
        elif isinstance(node, PercentileCont) and isinstance(node.x, Name) and show(node.x) in not_negative:
            yield Fact(Within(show(node), NOT_NEGATIVE), f"{show(node.x)} is never negative")
