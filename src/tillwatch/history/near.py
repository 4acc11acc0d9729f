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
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.condition import Condition
from tillwatch.engine.fold import Fold
from tillwatch.engine.values import Vector, as_float
from tillwatch.history.clauses import Clause, KeyView
from tillwatch.history.needs import Needs
from tillwatch.history.whole import Whole
from tillwatch.patterns.expression import And, Compare, Expr, Not, Or, PercentRank
from tillwatch.patterns.program import Grain, Plan

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
    gap: float
    missing: int
    condition: Clause
    seq: int | None


Detected = Callable[[Mapping[str, str]], int | None]
"""The seq of the last detection of a key by the pattern, None when there is none."""


class Misses:
    """How far all keys are from a pattern that is judged after chunks, as the tables of a fold are, after `chunk`.

    Of all `keys` that the pattern knows it holds for `holding`. `negative` says whether amounts may be. For threads.
    """

    def __init__(self, fold: Fold, plan: Plan, chunk: int, *, negative: bool) -> None:
        self.plan = plan
        self._fold, self._chunk, self._negative = fold, chunk, negative
        self._condition = Condition(plan, fold.tables, fold.program.digits)
        whole = Whole(self._condition)
        holds = np.broadcast_to(whole.vector(plan.tree).true(), whole.slots.shape)
        self.keys, self.holding = len(holds), int(holds.sum())
        far = distances(whole, plan.tree)
        missed = np.flatnonzero(~holds)
        self._slots, self._far = whole.slots[missed], Distance(far.gap[missed], far.missing[missed])
        self._lock = Lock()  # a condition learns while it is asked

    @property
    def but_one(self) -> int:
        """How many keys miss a single clause."""
        return int(np.count_nonzero(self._far.missing == 1))

    def holds(self, slots: Ints) -> NDArray[np.bool_]:
        """For which of these keys of the pattern it holds."""
        return ~np.isin(slots, self._slots)

    def nearest(
        self, limit: int, detected: Detected, *, but_one: bool = False, within: tuple[Grain, int] | None = None
    ) -> tuple[Near, ...]:
        """The nearest keys, by gap, then by clauses missed, then by key; `but_one` are those that miss a single clause.

        Keys for which it holds are left out, and, where a key is detected once, those that were. `within` is a coarser
        grain and a slot of it.
        """
        mine = np.ones(len(self._slots), np.bool_)
        if but_one:
            mine &= self._far.missing == 1
        if within is not None:
            grain, slot = within
            mine &= (
                self._slots == slot if grain == self.plan.per else self._condition.table.up[grain][self._slots] == slot
            )
        with self._lock:
            return self._nearest(np.flatnonzero(mine), limit, detected)

    def _nearest(self, places: Ints, limit: int, detected: Detected) -> tuple[Near, ...]:
        places = places[_smallest(self._far.gap[places], EXAMINED * limit)]
        keys = self._fold.keys(self.plan.per, self._slots[places])
        gaps, missing = self._far.gap[places].tolist(), self._far.missing[places].tolist()
        once = self.plan.pattern.emit == "once"
        found: list[Near] = []
        for n in sorted(range(len(places)), key=lambda n: (gaps[n], missing[n], tuple(keys[n].values()))):
            if len(found) == limit:
                break
            seq = detected(keys[n])
            if seq is None or not once:
                clause = self._clause(int(self._slots[places[n]]))
                found.append(Near(keys[n], gaps[n], missing[n], clause, seq))
        return tuple(found)

    def _clause(self, slot: int) -> Clause:
        view = KeyView(self._condition, slot, self._chunk)
        return Needs(view, self.plan, self._fold.tables, self._negative).of(view.clause(self.plan.tree))


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
    far = _gap(whole, tree, wanted=wanted) if isinstance(tree, Compare) else np.ones(len(whole.slots))
    return Distance(np.where(fits, 0.0, far), np.where(fits, 0, 1))


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
    left, right = whole.vector(tree.left), whole.vector(tree.right)
    return np.broadcast_to(gap(tree, left, right, whole.condition.digits, wanted=wanted), whole.slots.shape)


def gap(tree: Compare, left: Vector, right: Vector, digits: int, *, wanted: bool = True) -> Floats:
    """How far apart the sides of a comparison are, which does not hold as is wanted.

    >>> from tillwatch.patterns.expression import parse
    >>> a, b = Vector("int", np.array([40, 79])), Vector("int", np.array([80]))
    >>> gap(parse("a >= 80"), a, b, 4).tolist(), gap(parse("a > 79"), a, Vector("int", np.array([79])), 4)[1].item()
    ([0.5, 0.0125], 0.0125)
    """
    a, b = (as_float(side, digits) for side in (left, right))
    if left.kind == right.kind == "int":
        b = b + _STEP.get((tree.op, wanted), 0)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a - b)
        if not any(isinstance(side, PercentRank) for side in (tree.left, tree.right)):
            greater = np.maximum(np.abs(a), np.abs(b))
            apart = np.divide(apart, greater, out=np.zeros_like(apart), where=greater > 0)
    found: Floats = np.minimum(np.where(np.isfinite(apart), apart, 1.0), 1.0)
    for side in (left, right):
        found = found if side.null is None else np.where(side.null, 1.0, found)
    return found
