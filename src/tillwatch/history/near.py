"""Near misses: the keys for which a pattern comes closest to being true, of all those for which it is not.

A key's gap is how far it is from the condition, 0 where that is true. A clause that compares has the gap

- of a rank: the distance from its limit, both being shares from 0 to 1;
- of anything else: the distance from the value that would do, as a share of the greater of the two, 1 at most.

What is unknown has the gap 1. Where all clauses must hold the gaps are added up, where one of them is enough the
smallest counts. So is counted how many clauses a key misses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.condition import Condition
from tillwatch.engine.fold import Fold
from tillwatch.engine.values import Vector, as_float
from tillwatch.history.clauses import Clause, KeyView
from tillwatch.history.needs import Needs
from tillwatch.history.whole import Whole
from tillwatch.patterns.expression import And, Compare, Expr, Not, Or, PercentRank
from tillwatch.patterns.program import Plan

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

EXAMINED = 20
"""So many times as many keys are looked at as are wanted: those that were detected already do not count."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far keys are from a condition: the gap, and the clauses that they miss."""

    gap: Floats
    missing: Ints


@dataclass(frozen=True, slots=True)
class Near:
    """A key that misses a pattern's condition, with every clause; those that keep it from being true have a need.

    `seq` is its last detection, of a pattern that detects a key again; None when there was none.
    """

    key: Mapping[str, str]
    slot: int
    gap: float
    missing: int
    condition: Clause
    seq: int | None


@dataclass(frozen=True, slots=True)
class Nearness:
    """The keys nearest to a pattern: `nearest` by gap; `but_one` are those that miss a single clause, by gap too.

    Of all `keys` that the pattern knows it holds now for `holding`.
    """

    plan: Plan
    keys: int
    holding: int
    nearest: tuple[Near, ...]
    but_one: tuple[Near, ...]


Detected = Callable[[Mapping[str, str]], int | None]
"""The seq of the last detection of a key by the pattern, None when there is none."""


def near_misses(fold: Fold, plan: Plan, chunk: int, limit: int, detected: Detected, *, negative: bool) -> Nearness:
    """The keys nearest to a pattern that is judged after chunks, as the tables of the fold are, after `chunk`.

    Keys for which it holds are left out, and, where a key is detected once, those that were. `negative` says whether
    amounts may be.
    """
    condition = Condition(plan, fold.tables, fold.program.digits)
    whole = Whole(condition)
    far = distances(whole, plan.tree)
    holds = np.broadcast_to(whole.vector(plan.tree).true(), whole.slots.shape)
    made = _Making(fold, condition, whole, far, chunk, detected, negative)
    missed = np.flatnonzero(~holds)
    nearest = made.nearest(missed, limit)
    but_one = made.nearest(missed[far.missing[missed] == 1], limit)
    return Nearness(plan, len(whole.slots), int(holds.sum()), nearest, but_one)


@dataclass(frozen=True, slots=True)
class _Making:
    """Makes near misses of places among all keys."""

    fold: Fold
    condition: Condition
    whole: Whole
    far: Distance
    chunk: int
    detected: Detected
    negative: bool

    def nearest(self, places: Ints, limit: int) -> tuple[Near, ...]:
        """Of these places the nearest, by gap, then by clauses missed, then by key."""
        some = _smallest(self.far.gap[places], EXAMINED * limit)
        places = places[some]
        keys = self.fold.keys(self.condition.plan.per, self.whole.slots[places])
        gaps, missing = self.far.gap[places].tolist(), self.far.missing[places].tolist()
        order = sorted(range(len(places)), key=lambda n: (gaps[n], missing[n], tuple(keys[n].values())))
        once = self.condition.plan.pattern.emit == "once"
        found: list[Near] = []
        for n in order:
            if len(found) == limit:
                break
            seq = self.detected(keys[n])
            if seq is None or not once:
                slot = int(self.whole.slots[places[n]])
                found.append(Near(keys[n], slot, gaps[n], missing[n], self._condition(slot), seq))
        return tuple(found)

    def _condition(self, slot: int) -> Clause:
        view = KeyView(self.condition, slot, self.chunk)
        plan = self.condition.plan
        return Needs(view, plan, self.fold.tables, self.negative).of(view.clause(plan.tree))


def _smallest(values: Floats, count: int) -> Ints:
    """The places of the smallest values, and of all that equal the greatest of them up to as many again."""
    if len(values) <= count:
        return np.arange(len(values))
    bound = np.partition(values, count)[count]
    return np.concatenate([np.flatnonzero(values < bound), np.flatnonzero(values == bound)[:count]])


def distances(whole: Whole, tree: Expr, *, wanted: bool = True) -> Distance:
    """How far each key is from the expression, which is a condition, being true; or false, if that is wanted."""
    match tree:
        case Not(x=x):
            return distances(whole, x, wanted=not wanted)
        case And() | Or():
            sides = [distances(whole, side, wanted=wanted) for side in (tree.left, tree.right)]
            return _all(*sides) if isinstance(tree, And) == wanted else _any(*sides)
    truth = whole.vector(tree)
    fits = np.broadcast_to(truth.true() if wanted else _false(truth), whole.slots.shape)
    gap = _gap(whole, tree, wanted=wanted) if isinstance(tree, Compare) else np.ones(len(whole.slots))
    return Distance(np.where(fits, 0.0, gap), np.where(fits, 0, 1))


def _all(one: Distance, other: Distance) -> Distance:
    return Distance(one.gap + other.gap, one.missing + other.missing)


def _any(one: Distance, other: Distance) -> Distance:
    first = (one.gap < other.gap) | ((one.gap == other.gap) & (one.missing <= other.missing))
    return Distance(np.where(first, one.gap, other.gap), np.where(first, one.missing, other.missing))


def _false(truth: Vector) -> NDArray[np.bool_]:
    wrong: NDArray[np.bool_] = ~truth.data
    return wrong if truth.null is None else wrong & ~truth.null


_STEP = {(">", True): 1, ("<", True): -1, ("<=", False): 1, (">=", False): -1}
"""What is beyond the bound by a whole step: by the operator, and whether it is wanted."""


def _gap(whole: Whole, tree: Compare, *, wanted: bool) -> Floats:
    """How far apart both sides are, where they do not compare as is wanted."""
    left, right = whole.vector(tree.left), whole.vector(tree.right)
    a, b = (as_float(side, whole.condition.digits) for side in (left, right))
    if left.kind == right.kind == "int":
        b = b + _STEP.get((tree.op, wanted), 0)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(a - b)
        if not any(isinstance(side, PercentRank) for side in (tree.left, tree.right)):
            greater = np.maximum(np.abs(a), np.abs(b))
            gap = np.divide(gap, greater, out=np.zeros_like(gap), where=greater > 0)
    gap = np.broadcast_to(np.minimum(np.where(np.isfinite(gap), gap, 1.0), 1.0), whole.slots.shape)
    for side in (left, right):
        gap = gap if side.null is None else np.where(side.null, 1.0, gap)
    return gap
