"""The view Quality: what was quarantined and filtered out, over the chunks; rows as they came; empty values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tillwatch.compose import reporter
from tillwatch.config import masked
from tillwatch.dashboard import words
from tillwatch.dashboard.site import Site
from tillwatch.errors import StateMissing, TillwatchError
from tillwatch.history.samples import Sample, samples
from tillwatch.report.quality import Quality, qualities, total
from tillwatch.state.review import Band
from tillwatch.stores.base import Store

MOST_BANDS = 120
"""Bars of the chart."""

MOST_REASONS = 5
"""Reasons that have a color of their own."""

ROWS, ROWS_OF_CHUNK, CHUNKS = 20, 5, 10
"""Sample rows in all and of a chunk, and the chunks that are looked at for them."""

MEASURED_CHUNKS, MEASURED_ROWS = 24, 240_000
"""What a quality report here is made of at most: the newest chunks."""

REPORTS = 10
"""Written reports that are shown."""

_COLORS = ("one", "two", "three", "four", "five")


@dataclass(frozen=True, slots=True)
class Written:
    """A day's report that a run has written: its last chunk, rows by what became of them."""

    day: str
    last: int
    rows: int
    counted: int
    quarantined: int
    filtered: int


def routes(site: Site) -> list[Route]:
    """The page, its live part, and the report, which is worked out when it is asked for."""

    def page(request: Request) -> Response:
        return site.page(request, "quality.html", "quality", **_values(site, request))

    def part(request: Request) -> Response:
        return site.page(request, "quality_part.html", "quality", **_values(site, request))

    def report(request: Request) -> Response:
        cursor = site.watch.seen.pulse.cursor
        found = site.kept.get(("report", cursor), lambda: _report(site, cursor))
        return site.page(request, "quality_report.html", "quality", **found)

    return [Route("/quality", page), Route("/parts/quality", part), Route("/quality/report", report)]


def _values(site: Site, request: Request) -> dict[str, Any]:
    seen = site.watch.seen
    reason = request.query_params.get("reason") or None
    totals = seen.totals
    width = max(1, -(-seen.pulse.cursor // MOST_BANDS))
    bands = site.kept.get(("bands", width, seen.pulse.cursor // width, totals.quarantined), lambda: _bands(site, width))
    done = totals.counted + totals.quarantined + totals.filtered
    rows, problem = site.kept.get(("samples", reason, totals.quarantined), lambda: _samples(site, reason))
    return {
        "totals": totals,
        "done": done,
        "reasons": sorted(seen.quarantined.items(), key=lambda item: (-item[1], item[0])),
        "bands": bands,
        "width": width,
        "chart": _chart(bands, width),
        "chart_said": _said(bands, totals.quarantined, done),
        "reason": reason,
        "samples": rows,
        "problem": problem,
        "live": f"/parts/quality?{urlencode({'reason': reason})}" if reason else "/parts/quality",
    }


def _bands(site: Site, width: int) -> list[Band]:
    """None before anything was run."""
    with suppress(StateMissing), site.pipeline.opened(readonly=True) as state, state.snapshot():
        return state.bands(width)
    return []


def _samples(site: Site, reason: str | None) -> tuple[list[Sample], str]:
    """Sample rows, or why there are none."""
    pipeline = site.pipeline
    try:
        with pipeline.opened(readonly=True) as state:
            chunks = state.wrong_chunks(reason, CHUNKS)
        store = pipeline.store(pipeline.settings.quarantine)
        return samples(store, chunks, _columns(site), reason, ROWS, ROWS_OF_CHUNK), ""
    except StateMissing:
        return [], ""
    except (TillwatchError, OSError) as error:
        return [], masked(str(error))
    except (ValueError, KeyError, TypeError):
        return [], "a file of the quarantine is not as it was written"


def _columns(site: Site) -> dict[str, Any]:
    columns: dict[str, Any] = dict(site.pipeline.composed.columns)
    time = site.pipeline.settings.columns.time
    return columns if time is None else {"time": time, **columns}


def _chart(bands: Sequence[Band], width: int) -> dict[str, Any]:
    """Rows quarantined by reason, the most frequent ones each, and rows filtered out, by chunks."""
    counts = Counter[str]()
    for band in bands:
        counts.update(band.reasons)
    named = [reason for reason, _ in counts.most_common(MOST_REASONS)]
    series = [_series(reason, _COLORS[n], [b.reasons.get(reason, 0) for b in bands]) for n, reason in enumerate(named)]
    if len(counts) > len(named):
        series.append(
            _series("others", "six", [b.quarantined - sum(b.reasons.get(r, 0) for r in named) for b in bands])
        )
    return {
        "kind": "number",
        "x": [band.first for band in bands],
        "to": bands[-1].first + width if bands else 1,
        "labels": [_label(band) for band in bands],
        "stacked": True,
        "series": series,
    }


def _series(name: str, color: str, values: list[int]) -> dict[str, Any]:
    return {"name": name, "color": color, "look": "bars", "values": values}


def _label(band: Band) -> str:
    chunks = f"chunk {band.first:,}" if band.first == band.last else f"chunks {band.first:,} to {band.last:,}"
    return f"{chunks}, {words.moment(band.until)}, {band.rows:,} rows"


def _said(bands: Sequence[Band], quarantined: int, done: int) -> str:
    worst = max(bands, key=lambda band: band.quarantined / max(1, band.rows), default=None)
    said = f"Rows quarantined by reason over the chunks: {quarantined:,} of {done:,} rows"
    if worst is None or not worst.quarantined:
        return said
    return f"{said}; most in chunk {worst.first:,} to {worst.last:,}, {words.share(worst.quarantined, worst.rows)}"


def _report(site: Site, cursor: int) -> dict[str, Any]:
    """The quality of the newest chunks, and what runs have written."""
    pipeline = site.pipeline
    found: dict[str, Any] = {"quality": None, "columns": [], "numbers": [], "problem": "", "written": [], "place": None}
    try:
        with pipeline.opened(readonly=True) as state:
            numbers = _newest(
                state.chunk_times(max(0, cursor - MEASURED_CHUNKS), cursor - 1), pipeline.landing.removed().chunks
            )
            made = reporter(pipeline.composed, pipeline.landing, state)
            parts = [quality for _, quality in qualities(made.landing, made.decoder, made.time, numbers)]
        measured = total(parts)
        found |= {"quality": measured, "numbers": numbers, "columns": empty_columns(measured)}
        if pipeline.settings.reports is not None:
            store = pipeline.store(pipeline.settings.reports)
            found |= {"written": _written(store), "place": store.uri}
    except (TillwatchError, OSError) as error:
        found["problem"] = masked(str(error))
    return found


def _newest(chunks: Sequence[Any], kept_from: int) -> list[int]:
    """The numbers of the newest chunks, one at least, no more rows than are measured."""
    numbers: list[int] = []
    rows = 0
    for chunk in reversed(chunks):
        rows += chunk.rows
        if chunk.number < kept_from or (numbers and rows > MEASURED_ROWS):
            break
        numbers.append(chunk.number)
    return numbers[::-1]


def _written(store: Store) -> list[Written]:
    """The newest reports of days, the newest first."""
    newest = {name.split("/")[1]: name for name in store.list("day/") if name.endswith(".json")}
    return [_read(store, day, name) for day, name in sorted(newest.items(), reverse=True)[:REPORTS]]


def _read(store: Store, day: str, name: str) -> Written:
    said = json.loads(store.get(name))
    of = said["total"]
    return Written(day, said["last_chunk"], of["rows"], of["counted"], sum(of["quarantined"].values()), of["filtered"])


def empty_columns(quality: Quality) -> list[tuple[str, int, int]]:
    """(column, rows, empty), those with the most empty values first."""
    found = [(name, rows, empty) for name, (rows, empty) in quality.columns.items()]
    return sorted(found, key=lambda each: (-each[2] / max(1, each[1]), each[0]))
