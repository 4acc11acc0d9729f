"""A condition for all keys of a pattern at once.

The engine keeps ranks group by group, for the groups that move; here all of them are worked out by one sort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.condition import Condition
from tillwatch.engine.evaluate import evaluate
from tillwatch.engine.order import quantile_fraction, quantile_index
from tillwatch.engine.values import Vector, as_float
from tillwatch.patterns.expression import Expr, Name, PercentileCont, PercentRank

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The known values of a feature, in order within each group.

    By key: `group`, and `below`, how many of its group are below it. By group: where its values `start` in `sorted`,
    and how many there are.
    """

    group: Ints
    below: Ints
    start: Ints
    population: Ints
    sorted: Vector


class Whole:
    """Evaluates expressions for all keys that the pattern has seen a row of; `slots` are theirs, in order."""

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        table = condition.table
        self.slots: Ints = condition.having(np.flatnonzero(table.transactions[: table.size] > 0))
        self._leaves: dict[Expr, Vector] = {}
        self._rankings: dict[tuple[str, tuple[str, ...]], Ranking] = {}

    def vector(self, tree: Expr) -> Vector:
        """The value of an expression for each key; of constants alone it may be of length 1."""
        return evaluate(tree, self._leaf, len(self.slots), self.condition.digits)

    def _leaf(self, node: Expr) -> Vector | None:
        if not isinstance(node, Name | PercentRank | PercentileCont):
            return None
        if node not in self._leaves:
            self._leaves[node] = self._read(node)
        return self._leaves[node]

    def _read(self, node: Name | PercentRank | PercentileCont) -> Vector:
        if isinstance(node, Name):
            return self._feature(node)
        if isinstance(node, PercentRank):
            ranking = self.ranking(node)
            n = ranking.population[ranking.group]
            return Vector("float", ranking.below / np.maximum(n - 1, 1), self._feature(node.x).null)
        return self._quantile(node)

    def _feature(self, name: Name) -> Vector:
        plan = self.condition.plan
        return self.condition.feature(plan.uses[str(name)], self.slots, plan.per)

    def ranking(self, node: PercentRank | PercentileCont) -> Ranking:
        """Where the keys stand in their groups by what is ranked."""
        over = self.condition.plan.over(node)
        name = (str(node.x), over)
        if name not in self._rankings:
            group = self.condition.table.up[over][self.slots] if over in self.condition.table.up else self.slots
            self._rankings[name] = ranked(self._feature(node.x), group)
        return self._rankings[name]

    def _quantile(self, node: PercentileCont) -> Vector:
        """lower + (upper - lower) * fraction, in float64, as `Condition.quantile` has it."""
        ranking = self.ranking(node)
        n = ranking.population
        values = as_float(ranking.sorted, self.condition.digits)
        known = np.flatnonzero(n)
        lower, upper = (values[ranking.start[known] + quantile_index(node.p, upper=u)(n[known])] for u in (False, True))
        between = quantile_fraction(node.p, n[known])
        found = np.zeros(len(n))
        with np.errstate(invalid="ignore"):
            found[known] = np.where(between > 0, lower + (upper - lower) * between, lower)
        return Vector("float", found[ranking.group], n[ranking.group] == 0)


def ranked(values: Vector, group: Ints) -> Ranking:
    """The ranking of values within groups, given by number.

    >>> ranked(Vector("int", np.array([5, 3, 5, 9])), np.array([0, 0, 0, 1])).below.tolist()
    [1, 0, 1, 0]
    """
    known = np.arange(len(group)) if values.null is None else np.flatnonzero(~values.null)
    order = known[np.lexsort((values.data[known], group[known]))]
    groups, data = group[order], values.data[order]
    population = np.bincount(groups, minlength=int(group.max(initial=-1)) + 1)
    start = np.concatenate([[0], np.cumsum(population)])[:-1].astype(np.int64)
    place = np.arange(len(order))
    first = np.ones(len(order), np.bool_)
    first[1:] = (groups[1:] != groups[:-1]) | (data[1:] != data[:-1])
    below = np.zeros(len(group), np.int64)
    below[order] = np.maximum.accumulate(np.where(first, place, 0)) - start[groups]
    return Ranking(group, below, start, population, Vector(values.kind, data))
