"""The keys of the coarser grains that patterns look at, such as merchants: how far each is to a pattern's gate.

A gate is a clause on the group alone that a pattern needs, such as `merchant.transactions > 50000`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.condition import Condition
from tillwatch.engine.evidence import evidence, plain
from tillwatch.engine.fold import Fold
from tillwatch.history.clauses import one
from tillwatch.history.near import gap
from tillwatch.patterns.expression import Compare, Expr, Name, Number, PercentileCont, PercentRank, conjuncts, walk
from tillwatch.patterns.program import Grain, Plan, Program, Use
from tillwatch.patterns.shown import show

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gate:
    """A clause of a pattern on a group: what is compared, how and with what; `share` of the way is gone, 0 to 1."""

    pattern: str
    text: str
    value: Any
    op: str
    bound: Any
    share: float
    holds: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A key of a coarser grain: its transactions, further values by the names that `Groups` has, and its gates."""

    key: Mapping[str, str]
    slot: int
    transactions: int
    values: tuple[Any, ...]
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """The keys of a grain with the most transactions; there are `total`, `found` of them fit what was asked for."""

    grain: Grain
    names: tuple[str, ...]
    gates: tuple[tuple[str, str], ...]
    total: int
    found: int
    rows: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """What a pattern ranks, or else compares, of the keys of a group: their values, nan where unknown.

    The clause begins or ceases to hold at `cut_off`, None where it is not one number.
    """

    pattern: str
    name: str
    text: str
    values: Floats
    cut_off: float | None


def grains(program: Program) -> list[Grain]:
    """The grains whose keys are of interest: those coarser than a pattern's, and single keys that one is per."""
    found: Counter[Grain] = Counter()
    for plan in program.plans:
        if plan.pattern.judge == "chunk":
            coarser = {use.grain for use in plan.uses.values()} | {plan.over(node) for node in _ranks(plan.tree)}
            found.update({plan.per} if len(plan.per) == 1 else set())
            found.update(grain for grain in coarser if grain and grain != plan.per)
    kept = {table.grain for table in program.tables}
    return [grain for grain, _ in found.most_common() if grain in kept]


def _ranks(tree: Expr) -> Iterator[PercentRank | PercentileCont]:
    return (node for node in walk(tree) if isinstance(node, PercentRank | PercentileCont))


def groups(fold: Fold, grain: Grain, limit: int, text: str = "") -> Groups:
    """The groups with the most transactions; with `text` those that have it in a part of their key, in any case."""
    table = fold.tables[grain]
    slots = np.flatnonzero(table.transactions[: table.size] > 0)
    total = len(slots)
    if text:
        keys = fold.keys(grain, slots)
        slots = slots[[any(text.casefold() in part.casefold() for part in key.values()) for key in keys]]
    shown = slots[np.argsort(-table.transactions[slots], kind="stable")[:limit]]
    plans = [plan for plan in fold.program.plans if plan.pattern.judge == "chunk"]
    values = {**_members(fold, grain, shown), **_features(fold, plans, grain, shown)}
    gates = [gate for plan in plans for gate in _gates(fold, plan, grain, shown)]
    rows = [
        Group(
            key,
            int(slot),
            int(table.transactions[slot]),
            tuple(each[n] for each in values.values()),
            tuple(gate[n] for gate in gates),
        )
        for n, (slot, key) in enumerate(zip(shown.tolist(), fold.keys(grain, shown), strict=True))
    ]
    heads = tuple((gate[0].pattern, gate[0].text) for gate in gates if gate)
    return Groups(grain, tuple(values), heads, total, len(slots), tuple(rows))


def slot_of(fold: Fold, grain: Grain, key: Mapping[str, str]) -> int | None:
    """The slot of a group, None when no row of it has come. Nothing is learned of keys that are not there."""
    table = fold.tables[grain]
    slots = np.flatnonzero(table.transactions[: table.size] > 0)
    for name in grain:
        code = next((n for n, text in enumerate(fold.decoder.dictionaries[name].values) if text == key[name]), -1)
        slots = slots[table.keys[name][slots] == code]
    return int(slots[0]) if len(slots) else None


def one_group(fold: Fold, grain: Grain, slot: int) -> tuple[tuple[str, ...], Group]:
    """A group, and the names of its values."""
    plans = [plan for plan in fold.program.plans if plan.pattern.judge == "chunk"]
    slots = np.array([slot])
    values = {**_members(fold, grain, slots), **_features(fold, plans, grain, slots)}
    gates = tuple(gate[0] for plan in plans for gate in _gates(fold, plan, grain, slots))
    transactions = int(fold.tables[grain].transactions[slot])
    group = Group(fold.keys(grain, slots)[0], slot, transactions, tuple(v[0] for v in values.values()), gates)
    return tuple(values), group


def _members(fold: Fold, grain: Grain, slots: Ints) -> dict[str, list[int]]:
    """How many keys with one part more each group has, by that part: `customers`."""
    found: dict[str, list[int]] = {}
    for finer, table in fold.tables.items():
        more = [key for key in finer if key not in grain]
        if len(more) == 1 and len(finer) == len(grain) + 1 and more[0] in ("customer", "merchant"):
            there = np.flatnonzero(table.transactions[: table.size] > 0)
            counts = np.bincount(table.up[grain][there], minlength=fold.tables[grain].size)
            found[f"{more[0]}s"] = counts[slots].tolist()
    return found


def _features(fold: Fold, plans: Sequence[Plan], grain: Grain, slots: Ints) -> dict[str, list[Any]]:
    """The features of groups that patterns use, by name."""
    found: dict[str, list[Any]] = {}
    for plan in plans:
        condition = Condition(plan, fold.tables, fold.program.digits)
        for use in plan.uses.values():
            name = use.label.rpartition(".")[2]
            if use.grain == grain and _is_kept(use) and name not in ("transactions", *found):
                found[name] = plain(one(condition.feature(use, slots, grain)), fold.program.digits)
    return found


def _is_kept(use: Use) -> bool:
    return use.column is None and not use.passing


def _gates(fold: Fold, plan: Plan, grain: Grain, slots: Ints) -> Iterator[list[Gate]]:
    """For each clause of the pattern that is on groups of this grain alone: what it is for each."""
    condition = Condition(plan, fold.tables, fold.program.digits)
    for clause in conjuncts(plan.tree):
        if isinstance(clause, Compare) and _is_on(clause, plan, grain):
            left, right = (one(condition.evaluate(side, slots, grain)) for side in (clause.left, clause.right))
            truth = np.broadcast_to(condition.evaluate(clause, slots, grain).true(), slots.shape)
            missing = np.where(truth, 0.0, np.broadcast_to(gap(clause, left, right, fold.program.digits), slots.shape))
            sides = [_spread_out(plain(side, fold.program.digits), len(slots)) for side in (left, right)]
            yield [
                Gate(plan.pattern.id, show(clause), a, clause.op, b, 1 - far, holds)
                for a, b, far, holds in zip(*sides, missing.tolist(), truth.tolist(), strict=True)
            ]


def _spread_out(values: list[Any], count: int) -> list[Any]:
    return values * count if len(values) == 1 != count else values


def _is_on(clause: Expr, plan: Plan, grain: Grain) -> bool:
    """Whether a clause reads nothing but groups of this grain."""
    nodes = list(walk(clause))
    names = [node for node in nodes if isinstance(node, Name)]
    ranked = any(isinstance(node, PercentRank | PercentileCont) for node in nodes)
    return bool(names) and not ranked and all(plan.uses[str(name)].grain == grain for name in names)


def members(fold: Fold, plan: Plan, grain: Grain, slot: int) -> Ints:
    """The keys of a pattern in a group."""
    condition = Condition(plan, fold.tables, fold.program.digits)
    return condition.having(condition.group_members(grain).of(slot))


def spreads(fold: Fold, plan: Plan, grain: Grain, slots: Ints) -> list[Spread]:
    """What the pattern ranks of the keys of a group among themselves; where it ranks nothing, what it compares."""
    condition = Condition(plan, fold.tables, fold.program.digits)
    if not len(slots):
        return []
    facts = evidence(condition, slots[:1], 0)[0]
    found: dict[str, Spread] = {}
    for node in _ranks(plan.tree):
        if plan.over(node) == grain:
            part = "ranks" if isinstance(node, PercentRank) else "quantiles"
            cut_off = facts[part][show(node)]["cut_off" if part == "ranks" else "value"]
            found.setdefault(str(node.x), _spread(condition, node.x, show(node), slots, cut_off))
    if found:
        return list(found.values())
    for clause in conjuncts(plan.tree):
        match clause:
            case Compare(left=Name() as name, right=Number(value=bound)) if plan.uses[str(name)].grain == plan.per:
                found.setdefault(str(name), _spread(condition, name, show(clause), slots, float(bound)))
    return list(found.values())


def _spread(condition: Condition, name: Name, text: str, slots: Ints, cut_off: float | None) -> Spread:
    plan = condition.plan
    values = plain(condition.feature(plan.uses[str(name)], slots, plan.per), condition.digits)
    floats = np.array([np.nan if value is None else value for value in values], np.float64)
    return Spread(plan.pattern.id, str(name), text, floats, cut_off)
