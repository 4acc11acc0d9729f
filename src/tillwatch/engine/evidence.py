"""Why a detection fired: the value of every feature in the condition, and for ranks where the key stands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.condition import Condition, RankClause
from tillwatch.engine.values import Vector
from tillwatch.patterns.expression import (
    Name,
    PercentileCont,
    PercentRank,
    walk,
)
from tillwatch.patterns.shown import show

Ints = NDArray[np.int64]


def evidence(condition: Condition, slots: Ints, chunk: int) -> list[dict[str, Any]]:
    """Evidence for each slot, as it is now, after `chunk`. JSON-ready.

    `features` maps names as written to values. `ranks` maps `percent_rank(x) over k` to `value`, `rank` (from
    1), `population` and `cut_off`, the value of x at which the clause begins (or ceases) to hold.
    `quantiles` maps `percentile_cont(p, x) over k` to `value` and `population`.
    """
    found: list[dict[str, Any]] = [{"chunk": chunk, "features": {}} for _ in slots]
    tree = condition.plan.tree
    for node in walk(tree):
        if isinstance(node, Name):
            use = condition.plan.uses[str(node)]
            _note(
                found,
                "features",
                str(node),
                plain(condition.feature(use, slots, condition.plan.per), condition.digits),
            )
        elif isinstance(node, PercentRank):
            _note(found, "ranks", show(node), _ranks(condition, node, slots))
        elif isinstance(node, PercentileCont):
            groups = condition.table.up[condition.plan.over(node)][slots]
            bound = condition.quantiles[node]
            value = plain(condition.quantile(bound, groups), condition.digits)
            n = bound.lower.population[groups].tolist()
            _note(
                found,
                "quantiles",
                show(node),
                [{"value": v, "population": m} for v, m in zip(value, n, strict=True)],
            )
    return found


def plain(vector: Vector, digits: int) -> list[Any]:
    """A vector as Python values; unknown is None, a decimal the nearest float of the exact decimal."""
    data = (vector.data / 10**digits if vector.kind == "decimal" else vector.data).tolist()
    if vector.null is None:
        return list(data)
    return [None if null else value for value, null in zip(data, vector.null.tolist(), strict=True)]


def _note(found: list[dict[str, Any]], part: str, name: str, values: list[Any]) -> None:
    for record, value in zip(found, values, strict=True):
        record.setdefault(part, {})[name] = value


def _ranks(condition: Condition, node: PercentRank, slots: Ints) -> list[dict[str, Any]]:
    below, n, null = condition.ranks(node, slots)
    share = below / np.maximum(n - 1, 1)
    known = np.ones(len(slots), np.bool_) if null is None else ~null
    cut = _cut_offs(condition, node, slots)
    rows = zip(share.tolist(), below.tolist(), n.tolist(), known.tolist(), cut, strict=True)
    return [
        {"value": s if k else None, "rank": b + 1 if k else None, "population": m, "cut_off": c}
        for s, b, m, k, c in rows
    ]


def _cut_offs(condition: Condition, node: PercentRank, slots: Ints) -> list[Any]:
    """The value of x from which (or up to which) the clause holds, None where it holds for no value."""
    clause = next((c for c in condition.clauses.values() if c.rank == node), None)
    if clause is None:
        return [None] * len(slots)
    groups = condition.table.up[condition.plan.over(node)][slots]
    first = dict(zip(*(a.tolist() for a in np.unique(groups, return_index=True)), strict=True))
    cuts = {g: _cut_off(condition, clause, groups[at : at + 1]) for g, at in first.items()}
    return [cuts[g] for g in groups.tolist()]


def _cut_off(condition: Condition, clause: RankClause, group: Ints) -> Any:
    use, over = condition.plan.uses[str(clause.rank.x)], condition.plan.over(clause.rank)
    limit = clause.order.at(group)
    if not clause.above:
        return None if limit[0] == clause.order.least else plain(Vector(use.kind, limit), condition.digits)[0]
    # It begins to hold at the least member above the order statistic.
    population = condition.population(use, over, int(group[0]))
    higher = population[population > limit[0]]
    return plain(Vector(use.kind, higher.min(keepdims=True)), condition.digits)[0] if len(higher) else None
