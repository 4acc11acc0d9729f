"""A back-test in figures: counts by chunk, day or time, and all of it for JSON and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from tillwatch.history.backtest import Backtest, ChunkTime, Swept
from tillwatch.history.difference import Difference
from tillwatch.model import Detection

By = Literal["chunk", "day", "time"]
UNKNOWN = "unknown"

CHANGES = ("change", "patternId", "ActionType", "customerName", "MerchantId", "key", "chunk_now", "chunk_draft")
POINTS = ("patternId", "threshold", "value", "detections", "added", "removed", "moved")


def counts(found: Backtest, by: By) -> list[tuple[str, dict[str, tuple[int, int]]]]:
    """Detections by chunk, by day of processing, or by time: for each pattern those in force, and the draft's.

    Chunks go in order. A day or time that is not known is `unknown`.
    """
    labels = {chunk.number: label_of(chunk, by) for chunk in found.chunks}
    now = [Counter(labels[d.chunk] for d in each.now) for each in found.differences]
    draft = [Counter(labels[d.chunk] for d in each.draft) for each in found.differences]
    patterns = [each.pattern for each in found.differences]
    return [
        (label, {p: (a[label], b[label]) for p, a, b in zip(patterns, now, draft, strict=True)})
        for label in dict.fromkeys(labels.values())
    ]


def label_of(chunk: ChunkTime, by: By) -> str:
    """What a chunk is counted under.

    >>> [label_of(ChunkTime(7, "12", None), by) for by in ("chunk", "day", "time")]
    ['7', 'unknown', '12']
    """
    if by == "chunk":
        return str(chunk.number)
    return (chunk.day if by == "day" else chunk.time) or UNKNOWN


def as_json(found: Backtest) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "first_chunk": found.first,
        "last_chunk": found.last,
        "rows": found.rows,
        "as_run": found.as_run,
        "patterns": [_difference(each) for each in found.differences],
        "chunks": [
            {"chunk": chunk.number, "time": chunk.time, "day": chunk.day, "now": now, "draft": draft}
            for chunk, (now, draft) in zip(found.chunks, _by_chunk(found), strict=True)
        ],
        "sweeps": [_swept(swept) for swept in found.sweeps],
    }


def _by_chunk(found: Backtest) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    for _, by_pattern in counts(found, "chunk"):
        yield {p: now for p, (now, _) in by_pattern.items()}, {p: draft for p, (_, draft) in by_pattern.items()}


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "patternId": each.pattern,
        "now": len(each.now),
        "draft": len(each.draft),
        "added": [_detection(d) for d in each.added],
        "removed": [_detection(d) for d in each.removed],
        "moved": [{"key": a.key, "chunk_now": a.chunk, "chunk_draft": b.chunk} for a, b in each.moved],
    }


def _detection(d: Detection) -> dict[str, Any]:
    return {"key": d.key, "chunk": d.chunk, "evidence": d.evidence}


def _swept(swept: Swept) -> dict[str, Any]:
    return {
        "patternId": swept.sweep.pattern,
        "threshold": swept.sweep.threshold,
        "now": None if swept.now is None else str(swept.now),
        "points": [dict(zip(POINTS[2:], row[2:], strict=True)) for row in point_rows([swept])],
    }


def point_rows(sweeps: Sequence[Swept]) -> list[tuple[str, str, str, int, int, int, int]]:
    """A row for each value of each sweep, with the columns of POINTS."""
    return [
        (
            swept.sweep.pattern,
            swept.sweep.threshold,
            f"{point.value:f}",
            len(point.difference.draft),
            len(point.difference.added),
            len(point.difference.removed),
            len(point.difference.moved),
        )
        for swept in sweeps
        for point in swept.points
    ]


def change_rows(found: Backtest) -> Iterator[tuple[str | int | None, ...]]:
    """A row for each detection that is added, removed or moved, with the columns of CHANGES."""
    for each in found.differences:
        yield from (_change("added", d, None, d.chunk) for d in each.added)
        yield from (_change("removed", d, d.chunk, None) for d in each.removed)
        yield from (_change("moved", a, a.chunk, b.chunk) for a, b in each.moved)


def _change(change: str, d: Detection, now: int | None, draft: int | None) -> tuple[str | int | None, ...]:
    return (change, d.pattern, d.action, d.customer, d.merchant, d.key_text, now, draft)
