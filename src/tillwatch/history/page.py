"""A back-test as one page of HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from tillwatch.history.backtest import Backtest, Swept
from tillwatch.history.difference import Difference
from tillwatch.history.figures import change_rows, point_rows
from tillwatch.model import Detection
from tillwatch.report.chart import Line, curve, growth
from tillwatch.report.frame import framed
from tillwatch.report.parts import section, table

SHOWN = 500
"""Changes that the page lists; JSON and CSV have all of them."""


def page(found: Backtest) -> str:
    """The page, the same for the same back-test."""
    about = f"Chunks {found.first:,} to {found.last:,} of the landing zone; {found.rows:,} rows folded."
    if not found.as_run:
        about += " The state was made by another configuration: what is called in force here was never run."
    return framed("Back-test", about, "\n".join(_sections(found)), wide=True)


def _sections(found: Backtest) -> Iterator[str]:
    head = ("pattern", "in force", "draft", "added", "removed", "moved")
    yield section("What changes", table(head, (_summary(each) for each in found.differences)))
    for each in found.differences:
        if each.now or each.draft:
            yield section(f"{each.pattern}: detections so far", _growth(found, each))
    for swept in found.sweeps:
        yield _sweep(swept)
    total = sum(len(each.added) + len(each.removed) + len(each.moved) for each in found.differences)
    about = f"The first {SHOWN:,} of {total:,}." if total > SHOWN else ""
    rows = ((str(r[0]), str(r[1]), str(r[5]), _text(r[6]), _text(r[7])) for r in islice(change_rows(found), SHOWN))
    names = ("change", "pattern", "key", "chunk in force", "chunk of the draft")
    yield section("Changes", table(names, rows, ("pattern", "key")), about)


def _summary(each: Difference) -> tuple[str, ...]:
    numbers = [len(part) for part in (each.now, each.draft, each.added, each.removed, each.moved)]
    return (each.pattern, *(f"{number:,}" for number in numbers))


def _growth(found: Backtest, each: Difference) -> str:
    lines = [
        Line("in force", "now", _cumulated(each.now, found)),
        Line("draft", "draft", _cumulated(each.draft, found)),
    ]
    ends = [_end(found, at) for at in (0, -1)]
    return growth(f"{each.pattern}: detections in force and of the draft", lines, ends)


def _end(found: Backtest, at: int) -> str:
    chunk = found.chunks[at]
    return f"chunk {chunk.number:,}" + (f", time {chunk.time}" if chunk.time is not None else "")


def _cumulated(detections: Sequence[Detection], found: Backtest) -> list[tuple[float, float]]:
    """How many there were after each chunk at which there were more, and after the last one."""
    count, points = 0, [(float(found.first), 0.0)]
    for chunk, number in sorted(Counter(d.chunk for d in detections).items()):
        count += number
        points.append((float(chunk), float(count)))
    return [*points, (float(found.last), float(count))]


def _sweep(swept: Swept) -> str:
    name = f"{swept.sweep.pattern}.{swept.sweep.threshold}"
    ordered = sorted((float(p.value), float(len(p.difference.draft))) for p in swept.points)
    ends = (f"{ordered[0][0]:g}", f"{ordered[-1][0]:g}")
    mark = None if swept.now is None else float(swept.now)
    picture = curve(f"Detections by {name}", [Line("detections", "draft", ordered)], ends, mark)
    about = "" if mark is None else f"In force is {mark:g}."
    head = ("value", "detections", "added", "removed", "moved")
    rows = ((row[2], *(f"{n:,}" for n in row[3:])) for row in point_rows([swept]))
    return section(f"{name}: detections by value", picture + table(head, rows), about)


def _text(value: object) -> str:
    return "" if value is None else str(value)
