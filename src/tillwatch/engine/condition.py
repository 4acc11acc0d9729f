"""A pattern's condition over the tables: evaluated for any slots, many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine import values
from tillwatch.engine.aggregates import combined
from tillwatch.engine.evaluate import evaluate
from tillwatch.engine.members import Members
from tillwatch.engine.order import KRule, OrderStatistic, last_rank, quantile_fraction, quantile_index
from tillwatch.engine.table import Table
from tillwatch.engine.values import Vector
from tillwatch.patterns.expression import Compare, Expr, Name, Number, PercentileCont, PercentRank, walk
from tillwatch.patterns.program import Grain, Plan, Use, grain_of

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RankClause:
    """`percent_rank(x) OVER keys` against a constant, as a cut-off: x at most it, or above it (`above`)."""

    rank: PercentRank
    order: OrderStatistic
    above: bool


@dataclass(frozen=True, slots=True)
class Quantile:
    """`percentile_cont(p, x) OVER keys` between two members of the population."""

    node: PercentileCont
    lower: OrderStatistic
    upper: OrderStatistic


class Condition:
    """Evaluates a plan's tree. Order statistics are made once and kept up to date by `observe` and `update`."""

    def __init__(self, plan: Plan, tables: Mapping[Grain, Table], digits: int) -> None:
        self.plan = plan
        self.tables = tables
        self.table = tables[plan.per]
        self.digits = digits
        self.members: dict[Grain, Members] = {}
        self.clauses: dict[Compare, RankClause] = {}
        self.quantiles: dict[PercentileCont, Quantile] = {}
        self._watched: list[tuple[OrderStatistic, Use, Grain]] = []
        for node in walk(plan.tree):
            self._bind(node)

    def _bind(self, node: Expr) -> None:
        if isinstance(node, Compare) and (clause := rank_against_number(node)) and clause not in self.clauses:
            rank, op, limit = clause_parts(clause)
            rule = last_rank(float(limit), strict=op in ("<", ">="))
            self.clauses[clause] = RankClause(rank, self._order(rank, rule), above=op in (">", ">="))
        elif isinstance(node, PercentileCont) and node not in self.quantiles:
            lower, upper = (self._order(node, quantile_index(node.p, upper=u)) for u in (False, True))
            self.quantiles[node] = Quantile(node, lower, upper)
        elif isinstance(node, PercentRank):
            self.group_members(grain_of(node.over))

    def _order(self, node: PercentRank | PercentileCont, rule: KRule) -> OrderStatistic:
        use, over = self.plan.uses[str(node.x)], grain_of(node.over)
        dtype = np.float64 if use.kind == "float" else np.int64
        order = OrderStatistic(rule, dtype, lambda group: self.population(use, over, group))
        self.group_members(over)
        self._watched.append((order, use, over))
        return order

    def group_members(self, over: Grain) -> Members:
        """The members of groups of this grain."""
        return self.members.setdefault(over, Members(self.table, over))

    def population(self, use: Use, over: Grain, group: int) -> NDArray[np.int64 | np.float64]:
        """The known values of a feature among the members of a group."""
        x = self.feature(use, self.group_members(over).of(group), self.plan.per)
        known: NDArray[np.int64 | np.float64] = x.data if x.null is None else x.data[~x.null]
        return known

    def observe(self, unique: Ints) -> list[tuple[Ints, Vector, Ints]]:
        """To be called before a chunk is added: the touched members of kept groups as they are."""
        fresh = self.table.transactions[unique] == 0
        seen = []
        for order, use, over in self._watched:
            groups = self.table.up[over][unique]
            inside = groups < len(order.kept)
            inside[inside] = order.kept[groups[inside]]
            slots = unique[inside]
            x = self.feature(use, slots, self.plan.per)
            absent = fresh[inside] if x.null is None else fresh[inside] | x.null
            seen.append((slots, Vector(x.kind, x.data, absent), groups[inside]))
        return seen

    def update(self, seen: list[tuple[Ints, Vector, Ints]], new: Ints) -> None:
        """To be called after the chunk was added, with what `observe` returned and the slots that are new."""
        for members in self.members.values():
            members.add(new)
        for (order, use, _), (slots, old, groups) in zip(self._watched, seen, strict=True):
            x = self.feature(use, slots, self.plan.per)
            now = np.ones(len(slots), np.bool_) if x.null is None else ~x.null
            assert old.null is not None
            order.change(groups, old.data, ~old.null, x.data, now)

    def feature(self, use: Use, slots: Ints, base: Grain) -> Vector:
        """A feature for slots of the grain `base`, which is the feature's or a finer one."""
        table = self.tables[use.grain]
        at = slots if use.grain == base else self.tables[base].up[use.grain][slots]
        if use.lookup is not None:
            joined = table.lookups[use.lookup]
            return Vector(use.kind, joined.value[at], ~joined.known[at])
        return combined(use, [table.columns[part][at] for part in use.parts], self.digits)

    def evaluate(self, tree: Expr, slots: Ints, base: Grain) -> Vector:
        """The value of an expression for slots of the grain `base`."""
        return evaluate(tree, lambda node: self._leaf(node, slots, base), len(slots), self.digits)

    def _leaf(self, node: Expr, slots: Ints, base: Grain) -> Vector | None:
        match node:
            case Name():
                return self.feature(self.plan.uses[str(node)], slots, base)
            case Compare():
                return self._rank_compared(node, slots, base)
            case PercentRank():
                return self.percent_rank(node, slots)
            case PercentileCont():
                groups = self.table.up[grain_of(node.over)][slots]
                return self.quantile(self.quantiles[node], groups)
            case _:
                return None

    def _rank_compared(self, tree: Compare, slots: Ints, base: Grain) -> Vector | None:
        """The comparison of a percent_rank with a constant, by its cut-off; None for any other comparison."""
        clause = rank_against_number(tree)
        if clause is None:
            return None
        bound = self.clauses[clause]
        x = self.feature(self.plan.uses[str(bound.rank.x)], slots, base)
        cut = bound.order.at(self.table.up[grain_of(bound.rank.over)][slots])
        return Vector("bool", x.data > cut if bound.above else x.data <= cut, x.null)

    def quantile(self, bound: Quantile, groups: Ints) -> Vector:
        """The interpolated quantile of groups: lower + (upper - lower) * fraction, in float64."""
        lower, upper = bound.lower.at(groups), bound.upper.at(groups)
        kind = self.plan.uses[str(bound.node.x)].kind
        a, b = (values.as_float(Vector(kind, v), self.digits) for v in (lower, upper))
        n = bound.lower.population[groups]
        between = quantile_fraction(bound.node.p, n)
        with np.errstate(invalid="ignore"):  # an empty population: -inf on both sides, and unknown
            return Vector("float", np.where(between > 0, a + (b - a) * between, a), n == 0)

    def percent_rank(self, node: PercentRank, slots: Ints) -> Vector:
        """SQL's percent_rank of each slot within its group."""
        below, n, null = self.ranks(node, slots)
        return Vector("float", below / np.maximum(n - 1, 1), null)

    def ranks(self, node: PercentRank, slots: Ints) -> tuple[Ints, Ints, NDArray[np.bool_] | None]:
        """For each slot: how many of its group are below it, the population, and where it has no value."""
        use, over = self.plan.uses[str(node.x)], grain_of(node.over)
        x = self.feature(use, slots, self.plan.per)
        groups = self.table.up[over][slots]
        below, n = np.zeros(len(slots), np.int64), np.zeros(len(slots), np.int64)
        for group in np.unique(groups).tolist():
            mine = groups == group
            population = np.sort(self.population(use, over, group))
            below[mine] = np.searchsorted(population, x.data[mine], "left")
            n[mine] = len(population)
        return below, n, x.null


_FLIP = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def rank_against_number(node: Compare) -> Compare | None:
    """The comparison with the percent_rank on the left, when it is one of a percent_rank with a constant."""
    if node.op not in _FLIP:
        return None
    if isinstance(node.left, PercentRank) and isinstance(node.right, Number):
        return node
    if isinstance(node.right, PercentRank) and isinstance(node.left, Number):
        return Compare(_FLIP[node.op], node.right, node.left)  # type: ignore[arg-type]
    return None


def clause_parts(clause: Compare) -> tuple[PercentRank, str, Decimal]:
    """The rank, the operator and the constant of what `rank_against_number` returned."""
    assert isinstance(clause.left, PercentRank) and isinstance(clause.right, Number)
    return clause.left, clause.op, clause.right.value
