"""Pictures of a group: how its keys are spread over what a pattern looks at, and where its cut-offs are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.dashboard import words
from tillwatch.dashboard.nearness import OfPattern
from tillwatch.engine.fold import Fold
from tillwatch.history.groups import Spread, members, spreads
from tillwatch.patterns.program import Grain

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_POINTS = 1_500
BARS = 40
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart with what it says in words, and as a table."""

    id: str
    title: str
    spec: dict[str, Any]
    label: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def pictures(fold: Fold, each: OfPattern, grain: Grain, slot: int) -> list[Picture]:
    """For what a pattern ranks or compares among the keys of a group: both together, then each alone."""
    slots = members(fold, each.plan, grain, slot)
    found = spreads(fold, each.plan, grain, slots)
    made = [_bars(spread, n) for n, spread in enumerate(found)]
    if len(found) > 1:
        made.insert(0, _points(found[0], found[1], each.misses.holds(slots)))
    return made


def _points(x: Spread, y: Spread, holds: Bools) -> Picture:
    known = np.flatnonzero(~np.isnan(x.values) & ~np.isnan(y.values))
    order = known[np.argsort(x.values[known], kind="stable")]
    held = holds[order]
    shown = np.zeros(len(order), np.bool_)
    shown[np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).astype(np.int64)] = True
    order = order[shown | held]
    a, b, held = x.values[order], y.values[order], holds[order]
    series = [
        {"name": "does not hold", "color": "one", "look": "points", "values": _where(b, ~held)},
        {"name": f"{x.pattern} holds", "color": "two", "look": "points", "values": _where(b, held)},
    ]
    if y.cut_off is not None:
        level = [round(y.cut_off, 9)] * len(order)
        series.append({"name": f"cut-off of {y.name}", "color": "three", "look": "line", "values": level})
    spec = {"kind": "number", "x": a.tolist(), "series": series, "marks": _mark(x)}
    spec |= {
        "labels": [
            f"{x.name} {words.value(float(v))}, {y.name} {words.value(float(w))}" for v, w in zip(a, b, strict=True)
        ]
    }
    label = (
        f"{y.name} by {x.name} of {len(known):,} keys; {x.pattern} holds for {int(holds.sum()):,}. "
        f"Cut-offs: {_cut(x)}, {_cut(y)}."
    )
    note = (
        f"{y.name} (up) by {x.name} (across); {len(order):,} of {len(known):,} keys are drawn."
        if len(order) < len(known)
        else f"{y.name} (up) by {x.name} (across)."
    )
    return Picture(f"{x.pattern}-both", f"{x.pattern}: {x.name} and {y.name}", spec, label, *_quantiles(x, y), note)


def _where(values: Floats, there: Bools) -> list[float | None]:
    return [v if here else None for v, here in zip(values.tolist(), there.tolist(), strict=True)]


def _mark(spread: Spread) -> list[dict[str, Any]]:
    if spread.cut_off is None:
        return []
    return [{"x": spread.cut_off, "name": f"cut-off {words.value(spread.cut_off)}", "color": "three", "dashed": True}]


def _cut(spread: Spread) -> str:
    return f"{spread.name} {words.value(spread.cut_off)}" if spread.cut_off is not None else f"{spread.name} none"


def _bars(spread: Spread, number: int) -> Picture:
    known = spread.values[~np.isnan(spread.values)]
    edges = edges_of(known)
    counts, _ = np.histogram(known, edges)
    spec = {
        "kind": "number",
        "x": edges[:-1].tolist(),
        "from": float(edges[0]),
        "to": float(edges[-1]),
        "labels": [f"{words.value(a)} to below {words.value(b)}" for a, b in pairwise(edges.tolist())],
        "series": [{"name": "keys", "color": "one", "look": "bars", "values": counts.tolist()}],
        "marks": _mark(spread),
    }
    unknown = len(spread.values) - len(known)
    label = f"How {len(known):,} keys are spread over {spread.name}; the cut-off is {_cut(spread)}."
    note = f"{unknown:,} keys have none." if unknown else ""
    return Picture(
        f"{spread.pattern}-{number}", f"{spread.pattern}: keys by {spread.name}", spec, label, *_quantiles(spread), note
    )


def edges_of(values: Floats) -> Floats:
    """Where the bars of a histogram begin and end: one for each whole number where there are few.

    >>> edges_of(np.array([1.0, 3.0])).tolist(), len(edges_of(np.array([0.5, 99.0]))), edges_of(np.zeros(0)).tolist()
    ([1.0, 2.0, 3.0, 4.0], 41, [0.0, 1.0])
    """
    if not len(values):
        return np.array([0.0, 1.0])
    least, most = float(values.min()), float(values.max())
    if most - least < BARS and bool((values == np.floor(values)).all()):
        return np.arange(least, most + 2)
    if bool((values == np.floor(values)).all()):
        step = math.ceil((most + 1 - least) / BARS)
        return least + step * np.arange(math.ceil((most + 1 - least) / step) + 1, dtype=np.float64)
    return np.linspace(least, np.nextafter(most, np.inf) if most > least else least + 1, BARS + 1)


def _quantiles(*found: Spread) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The head and the rows of a table of least, median and so on."""
    known = [spread.values[~np.isnan(spread.values)] for spread in found]
    names = {0.0: "least", 0.5: "median", 1.0: "greatest"}
    rows = [(names.get(share, f"{share:.0%} are below"), *(_at(values, share) for values in known)) for share in SHARES]
    return ("", *(spread.name for spread in found)), (
        *rows,
        ("cut-off", *(words.value(s.cut_off) if s.cut_off is not None else "none" for s in found)),
    )


def _at(values: Floats, share: float) -> str:
    return words.value(float(np.quantile(values, share))) if len(values) else "–"
