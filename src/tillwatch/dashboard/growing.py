"""Pictures of back-tests beside each other: detections so far along the log, and over the values of a threshold."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tillwatch.dashboard import words
from tillwatch.history.kept import Curve, Kept, OfChunk

COLORS = ("one", "two", "three", "four", "five", "six")
LETTERS = "ABCDEF"
MOST_POINTS = 400
"""Points of a line: where there are more chunks, some are left out."""

Place = Callable[[OfChunk], float | None]


@dataclass(frozen=True, slots=True)
class Growth:
    """A pattern's detections so far. `ends` are, by line, how many there are at the end."""

    pattern: str
    spec: dict[str, Any]
    label: str
    ends: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Overlay:
    """The curves of one threshold. `points` are by value how many detections each result has, None if not tried."""

    name: str
    spec: dict[str, Any]
    label: str
    letters: tuple[str, ...]
    points: tuple[tuple[float, tuple[int | None, ...]], ...]


def growths(results: Sequence[Kept], patterns: Sequence[str], by: str) -> list[Growth]:
    """For each pattern the detections so far, in force and of each draft, by chunk, by day of processing, or by time.

    A pattern without detections has none; neither has any where days or times are not known.
    """
    place, kind = _place(results, by)
    made = []
    for pattern in patterns:
        lines = _lines(results, pattern, place)
        if any(line for _, _, line in lines):
            made.append(_growth(pattern, lines, kind, by))
    return made


def _lines(results: Sequence[Kept], pattern: str, place: Place) -> list[tuple[str, str, dict[float, int]]]:
    """(name, color, count by place): in force, once if all results say the same, then each draft."""
    lines: list[tuple[str, str, dict[float, int]]] = []
    for number, result in enumerate(results):
        now = _counts(result, place, lambda chunk: chunk.now.get(pattern, 0))
        if all(now != line for name, _, line in lines if name.startswith("in force")):
            known = any(name.startswith("in force") for name, _, _ in lines)
            lines.append((f"in force ({LETTERS[number]})" if known else "in force", "soft", now))
    for number, result in enumerate(results):
        draft = _counts(result, place, lambda chunk: chunk.draft.get(pattern, 0))
        lines.append((LETTERS[number], COLORS[number], draft))
    return lines


def _counts(result: Kept, place: Place, count: Callable[[OfChunk], int]) -> dict[float, int]:
    found: dict[float, int] = {}
    for chunk in result.chunks:
        at = place(chunk)
        if at is not None:
            found[at] = found.get(at, 0) + count(chunk)
    return found


def _growth(pattern: str, lines: Sequence[tuple[str, str, dict[float, int]]], kind: str, by: str) -> Growth:
    x = sorted({at for _, _, line in lines for at in line})
    step = max(1, math.ceil(len(x) / MOST_POINTS))
    shown = [at for n, at in enumerate(x) if n % step == 0 or n == len(x) - 1]
    series, ends = [], []
    for name, color, line in lines:
        sums, total = {}, 0
        for at in x:
            total += line.get(at, 0)
            sums[at] = total
        last = max(line, default=0.0)
        values = [sums[at] if at <= last else None for at in shown]
        series.append({"name": name, "color": color, "look": "edge", "values": values})
        ends.append((name, total))
    said = ", ".join(f"{name} {words.whole(total)}" for name, total in ends)
    spec = {"kind": kind, "x": shown, "series": series} | ({"zone": "UTC"} if kind == "time" else {})
    return Growth(pattern, spec, f"{pattern}: detections so far by {by}; at the end {said}", tuple(ends))


def _place(results: Sequence[Kept], by: str) -> tuple[Place, str]:
    """Where a chunk is on the axis, and the kind of the axis: of numbers or of times."""
    if by == "chunk":
        return (lambda chunk: float(chunk.number)), "number"
    if by == "day":
        return (lambda chunk: _moment(chunk.day)), "time"
    texts = [chunk.time for result in results for chunk in result.chunks if chunk.time is not None]
    if all(_number(text) is not None for text in texts):
        return (lambda chunk: _number(chunk.time)), "number"
    return (lambda chunk: _moment(chunk.time)), "time"


def _number(text: str | None) -> float | None:
    """A time that is a number, such as BankSim's step; quotes around it do not count."""
    try:
        number = float((text or "").strip("'\""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _moment(text: str | None) -> float | None:
    """Seconds since 1970 of an ISO 8601 time or day; without an offset it is taken for UTC."""
    try:
        found = datetime.datetime.fromisoformat((text or "").strip("'\""))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def sweeps(results: Sequence[Kept]) -> list[Overlay]:
    """The curves by threshold, those of all results in one picture."""
    found: dict[str, list[tuple[int, Curve]]] = {}
    for number, result in enumerate(results):
        for curve in result.curves:
            if curve.points and all(math.isfinite(point[0]) for point in curve.points):
                found.setdefault(f"{curve.pattern}.{curve.threshold}", []).append((number, curve))
    return [_overlay(name, curves) for name, curves in found.items()]


def _overlay(name: str, curves: Sequence[tuple[int, Curve]]) -> Overlay:
    x = sorted({point[0] for _, curve in curves for point in curve.points})
    counts = [{point[0]: point[1] for point in curve.points} for _, curve in curves]
    series = [
        {
            "name": LETTERS[number],
            "color": COLORS[number],
            "look": "line",
            "dots": True,
            "values": [count.get(value) for value in x],
        }
        for (number, _), count in zip(curves, counts, strict=True)
    ]
    marks = [
        {"x": now, "name": f"in force {now:g}", "color": "soft", "dashed": True}
        for now in dict.fromkeys(curve.now for _, curve in curves)
        if now is not None
    ]
    spec = {"kind": "number", "x": x, "series": series, "marks": marks}
    label = f"Detections by {name}, from {x[0]:g} to {x[-1]:g}: " + ", ".join(
        f"{LETTERS[number]} from {words.whole(curve.points[0][1])} to {words.whole(curve.points[-1][1])}"
        for number, curve in curves
    )
    points = tuple((value, tuple(count.get(value) for count in counts)) for value in x)
    return Overlay(name, spec, label, tuple(LETTERS[number] for number, _ in curves), points)
