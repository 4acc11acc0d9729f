"""Judging a pattern after a chunk: only keys whose truth can have changed are looked at.

A key can change when the chunk touched it. It can also change untouched, when something of its group moved: a
group's own features in a clause, or the cut-off of a rank. What a condition reads of a group is the group's
signature; a group whose signature changed has all its members judged again, any other group none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.condition import Condition, rank_against_number
from tillwatch.engine.scope import Item, Scope, summary
from tillwatch.engine.table import Touch
from tillwatch.patterns.expression import (
    Compare,
    Expr,
    Name,
    PercentileCont,
    PercentRank,
    children,
    conjuncts,
    walk,
)
from tillwatch.patterns.program import Grain

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Slots for which the condition came true after the chunk, and for which it ceased to be."""

    risen: Ints
    fallen: Ints


class Judge:
    """One pattern: for which slots it holds now, and what a chunk changes of that."""

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self.plan = condition.plan
        self.due = False  # whether all keys are to be judged after the next chunk
        self.holding: Bools = np.zeros(0, np.bool_)
        self.detected: Bools = np.zeros(0, np.bool_)
        self._seen: Bools = np.zeros(0, np.bool_)  # scratch of _to_look_at, all False in between
        self._scopes: dict[Grain, Scope] = {}
        clauses = conjuncts(self.plan.tree)
        for clause in clauses:
            if (pure := self._pure_scope(clause)) is not None:
                self._scope(pure).gates.append(self._item(clause, pure))
            else:
                self._collect(clause)
        self._clauses = sorted(clauses, key=self._cost)

    def judge(self, touches: Mapping[Grain, Touch], *, whole: bool = False) -> Verdict:
        """What changed by the chunk that was just added; judged for the keys that it may have changed, or for all."""
        table = self.condition.table
        self.room(table.size)
        slots = np.flatnonzero(table.transactions[: table.size] > 0) if whole else self._to_look_at(touches)
        true = self._true_of_any(slots) if whole else self._true(slots)
        held_before = self.holding[slots]
        self.holding[slots] = true
        return Verdict(slots[true & ~held_before], slots[held_before & ~true])

    def _to_look_at(self, touches: Mapping[Grain, Touch]) -> Ints:
        """The distinct slots whose truth can have changed."""
        looked_at = [self.condition.having(touches[self.plan.per].unique)]
        self._seen[looked_at[0]] = True
        for grain, scope in self._scopes.items():
            moved, closed = scope.changed(touches[grain].unique)
            members = self.condition.group_members(grain)
            for group in moved.tolist():
                self._look_at(members.of(group), looked_at)
            if len(closed):
                held = np.flatnonzero(self.holding)
                self._look_at(held[np.isin(self.condition.table.up[grain][held], closed)], looked_at)
        slots = np.concatenate(looked_at)
        self._seen[slots] = False
        return slots

    def _look_at(self, slots: Ints, looked_at: list[Ints]) -> None:
        more = slots[~self._seen[slots]]
        self._seen[more] = True
        looked_at.append(more)

    def _true_of_any(self, slots: Ints) -> Bools:
        """The same of slots that may be no keys to the pattern: those before it may have held for them."""
        mine = self.condition.having(slots)
        true = np.zeros(len(slots), np.bool_)
        true[np.isin(slots, mine[self._true(mine)])] = True
        return true

    def _true(self, slots: Ints) -> Bools:
        left = np.arange(len(slots))
        for clause in self._clauses:
            truth = self.condition.evaluate(clause, slots[left], self.plan.per).true()
            left = left[np.broadcast_to(truth, left.shape)]  # a clause on constants alone has one truth for all
        true = np.zeros(len(slots), np.bool_)
        true[left] = True
        return true

    def room(self, size: int) -> None:
        """Makes room for slots up to `size`."""
        if size > len(self.holding):
            more = max(1024, 2 * size) - len(self.holding)
            self.holding = np.concatenate([self.holding, np.zeros(more, np.bool_)])
            self.detected = np.concatenate([self.detected, np.zeros(more, np.bool_)])
            self._seen = np.concatenate([self._seen, np.zeros(more, np.bool_)])

    def _cost(self, clause: Expr) -> int:
        """Gates first, then what a key knows of itself, then ranks: each narrows what the next looks at."""
        if any(isinstance(n, PercentRank | PercentileCont) for n in walk(clause)):
            return 2
        return 0 if self._pure_scope(clause) is not None else 1

    def _pure_scope(self, tree: Expr) -> Grain | None:
        """The coarser grain that alone decides the expression, if there is one."""
        nodes = list(walk(tree))
        if any(isinstance(n, PercentRank | PercentileCont) for n in nodes):
            return None
        grains = {self.plan.uses[str(n)].grain for n in nodes if isinstance(n, Name)}
        grain = next(iter(grains)) if len(grains) == 1 else None
        return None if grain == self.plan.per else grain

    def _collect(self, tree: Expr) -> None:
        """Adds what the expression reads of coarser grains to their scopes."""
        if (pure := self._pure_scope(tree)) is not None:
            self._scope(pure).items.append(self._item(tree, pure))
        elif isinstance(tree, Compare) and (clause := rank_against_number(tree)):
            bound = self.condition.clauses[clause]
            self._scope(self.plan.over(bound.rank)).items.append(bound.order.at)
        elif isinstance(tree, PercentileCont):
            quantile = self.condition.quantiles[tree]
            self._scope(self.plan.over(tree)).items.append(lambda g: summary(self.condition.quantile(quantile, g)))
        elif isinstance(tree, PercentRank):
            self._scope(self.plan.over(tree)).always = True
        else:
            for child in children(tree):
                self._collect(child)

    def _item(self, tree: Expr, grain: Grain) -> Item:
        return lambda groups: summary(self.condition.evaluate(tree, groups, grain))

    def _scope(self, grain: Grain) -> Scope:
        self.condition.group_members(grain)
        return self._scopes.setdefault(grain, Scope())
