"""Where a key stands among others now: the population of a feature, from the tables of running values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tillwatch.dashboard import words
from tillwatch.errors import StateError
from tillwatch.patterns.expression import Compare, Name, Number, PercentRank, walk
from tillwatch.patterns.program import Grain, Plan
from tillwatch.patterns.shown import show
from tillwatch.state.base import State

MOST_MEMBERS = 500_000
BINS = 48


@dataclass(frozen=True, slots=True)
class Question:
    """A feature whose population is to be shown, the keys that say among whom, and what the condition compares with."""

    feature: str
    over: Grain
    text: str
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A picture: `mine` is the key's value now, `rank` its place from 1 up among `population` values, ties together.

    `then` and `cut_off` are of the evidence: its value when it was detected, and from where the clause holds.
    """

    feature: str
    among: str
    population: int
    mine: float | None
    rank: int | None
    share: float | None
    then: Any
    cut_off: Any
    chart: Mapping[str, Any]


def questions(plan: Plan) -> list[Question]:
    """What a condition ranks, and the further features of its own grain that it compares with numbers."""
    found: dict[str, Question] = {}
    for node in walk(plan.tree):
        if isinstance(node, PercentRank):
            found[str(node.x)] = Question(str(node.x), plan.over(node), show(node))
    over = next((q.over for q in found.values()), plan.per[1:])
    for node in walk(plan.tree):
        if isinstance(node, Compare) and (name := _compared(node)) and name[0] not in found:
            found[name[0]] = Question(name[0], over, name[0], name[1])
    return [q for q in found.values() if _is_kept(plan, q.feature)]


def _compared(node: Compare) -> tuple[str, float] | None:
    for one, other in ((node.left, node.right), (node.right, node.left)):
        if isinstance(one, Name) and isinstance(other, Number):
            return str(one), float(other.value)
    return None


def _is_kept(plan: Plan, name: str) -> bool:
    """Whether the pattern's own table has the feature for every key of the population."""
    use = plan.uses[name]
    return use.grain == plan.per and use.column is None and not use.passing and plan.present == "transactions"


def standings(state: State, plan: Plan, key: Mapping[str, str], evidence: Mapping[str, Any]) -> list[Standing]:
    """The pictures for a key. Empty where the state does not keep what they are made of."""
    asked = questions(plan)
    groups = dict.fromkeys(q.over for q in asked)
    return [each for over in groups for each in _of_group(state, plan, key, evidence, over, asked)]


def _of_group(
    state: State, plan: Plan, key: Mapping[str, str], evidence: Mapping[str, Any], over: Grain, asked: list[Question]
) -> Iterator[Standing]:
    mine = [q for q in asked if q.over == over]
    features = [q.feature.rpartition(".")[2] for q in mine]
    within = {name: key[name] for name in over}
    try:
        rows = state.feature_rows("_".join(plan.per), (*plan.per, *features), within, MOST_MEMBERS)
    except StateError:
        return
    at = len(plan.per)
    own = next((row for row in rows if row[:at] == tuple(key[name] for name in plan.per)), None)
    among = f"at {' and '.join(within.values())}" if within else f"of all {plan.per[0]}s"
    for n, question in enumerate(mine, at):
        values = np.sort(np.array([row[n] for row in rows if row[n] is not None], np.float64))
        if len(values):
            yield _standing(question, values, own[n] if own else None, evidence, among)


def _standing(
    question: Question,
    values: np.ndarray[Any, np.dtype[np.float64]],
    mine: Any,
    evidence: Mapping[str, Any],
    among: str,
) -> Standing:
    rank_facts = evidence.get("ranks", {}).get(question.text, {})
    cut_off = rank_facts.get("cut_off", question.limit)
    then = evidence.get("features", {}).get(question.feature)
    below = None if mine is None else int(np.searchsorted(values, float(mine), "left"))
    return Standing(
        question.feature,
        among,
        len(values),
        mine,
        None if below is None else below + 1,
        None if below is None else below / max(1, len(values) - 1),
        then,
        cut_off,
        _chart(values, mine, cut_off),
    )


def _chart(values: np.ndarray[Any, np.dtype[np.float64]], mine: Any, cut_off: Any) -> dict[str, Any]:
    """A histogram; bins of whole numbers where these are few."""
    least, most = float(values[0]), float(values[-1])
    is_whole = bool(np.all(values == np.floor(values)))
    if is_whole and most - least < BINS:
        edges = np.arange(least, most + 2)
    elif is_whole:
        step = np.ceil((most - least + 1) / BINS)
        edges = np.arange(least, most + step + 1, step)
    else:
        edges = np.linspace(least, most if most > least else least + 1, BINS + 1)
    counts, _ = np.histogram(values, edges)
    marks = []
    if cut_off is not None:
        marks.append({"x": float(cut_off), "name": f"cut-off {words.value(cut_off)}", "color": "soft", "dashed": True})
    if mine is not None:
        marks.append({"x": float(mine), "name": f"this one {words.value(mine)}", "color": "bad"})
    ends = [float(mark["x"]) for mark in marks]  # type: ignore[arg-type]
    return {
        "kind": "number",
        "x": [float(edge) for edge in edges[:-1]],
        "from": min([float(edges[0]), *ends]),
        "to": max([float(edges[-1]), *ends]),
        "labels": [_label(low, high, is_whole) for low, high in pairwise(edges)],
        "series": [{"name": "how many", "color": "one", "look": "bars", "values": [int(n) for n in counts]}],
        "marks": marks,
    }


def _label(low: float, high: float, is_whole: bool) -> str:
    if is_whole:
        return words.value(int(low)) if high - low <= 1 else f"{words.value(int(low))} to {words.value(int(high) - 1)}"
    return f"{words.value(float(low))} to {words.value(float(high))}"
