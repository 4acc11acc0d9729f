"""The view Detections: newest first, filtered, page by page; counted over time; exported."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tillwatch.dashboard import detection
from tillwatch.dashboard.site import Site
from tillwatch.errors import StateMissing
from tillwatch.state.base import StoredDetection
from tillwatch.state.look import NO_END, Span, Wanted

PAGE = 100
BLOCK = 5_000
"""Detections that are read at a time for an export; none of it holds a transaction open."""

COLUMNS = ("seq", "chunk", "patternId", "ActionType", "customerName", "MerchantId", "detectionTime", "holds", "key")
_COLORS = ("one", "two", "three", "four", "five", "six")
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d)?)?)?)?")
_STEPS = {19: 1, 18: 10, 16: 60, 15: 600, 13: 3600, 10: 86_400}
"""Characters of a time to seconds: 2026-11-20T13:0 is ten minutes."""

_ALL_OF = "0001-01-01T00:00:00"
MOST_BARS = 150
_UTC = datetime.UTC
_NONE = Span(0, None, None)


@dataclass(frozen=True, slots=True)
class Question:
    """What a page of the view asks for, as its address says it."""

    wanted: Wanted
    before: int | None
    given: Mapping[str, str]

    def address(self, path: str, **changes: str | int) -> str:
        """The address of the same question with something changed."""
        parameters = {**self.given, **changes}
        return f"{path}?{urlencode(parameters)}" if parameters else path


def routes(site: Site) -> list[Route]:
    """The list, its live part, the exports, and one detection."""

    def page(request: Request) -> Response:
        question = asked(request)
        return site.page(request, "detections.html", "detections", **_values(site, question))

    def part(request: Request) -> Response:
        question = asked(request)
        key = ("detections", site.watch.seen.pulse.commit, question.wanted, question.before)
        text = site.kept.get(key, lambda: site.text("detections_part.html", **_values(site, question)))
        return Response(text, media_type="text/html")

    def export_csv(request: Request) -> Response:
        return _file(_csv(site, asked(request)), "text/csv", "detections.csv")

    def export_json(request: Request) -> Response:
        return _file(_json(site, asked(request)), "application/json", "detections.json")

    return [
        Route("/detections", page),
        Route("/parts/detections", part),
        Route("/detections.csv", export_csv),
        Route("/detections.json", export_json),
        *detection.routes(site),
    ]


def asked(request: Request) -> Question:
    """The question of an address. Raises HTTPException 400 for what is none."""
    given = {name: text.strip() for name, text in request.query_params.items() if text.strip()}
    for name in ("since", "until"):
        if name in given and not _TIME.fullmatch(given[name]):
            raise HTTPException(400, f"{name}: found '{given[name]}', expected a time such as 2026-11-20T13:05")
    before = given.pop("before", "")
    if before and not (before.isascii() and before.isdecimal() and len(before) < 19):
        raise HTTPException(400, f"before: found '{before}', expected a seq")
    names = {"pattern", "action", "customer", "merchant", "since", "until", "text"}
    given = {name: text for name, text in given.items() if name in names}
    wanted = Wanted(**given)
    if wanted.until:
        wanted = replace(wanted, until=wanted.until + "~")  # what begins so is included
    return Question(wanted, int(before) if before else None, given)


@dataclass(frozen=True, slots=True)
class Found:
    """What the state says to a question: one detection more than a page has, if there is one."""

    rows: Sequence[StoredDetection] = ()
    span: Span = _NONE
    actions: Sequence[tuple[str, str, int]] = ()
    length: int = 19
    counts: Sequence[tuple[str, str, int]] = ()


def _found(site: Site, question: Question) -> Found:
    """Nothing while there is no state yet."""
    wanted = question.wanted
    try:
        with site.pipeline.opened(readonly=True) as state, state.snapshot():
            span = state.span(wanted)
            length = _length(span)
            rows = state.newest(wanted, question.before or NO_END, PAGE + 1)
            return Found(rows, span, state.actions(), length, state.counts(wanted, length))
    except StateMissing:
        return Found()


def _values(site: Site, question: Question) -> dict[str, Any]:
    found = _found(site, question)
    rows, actions = found.rows, found.actions
    patterns = list(dict.fromkeys(pattern for pattern, _, _ in actions))
    older = question.address("/detections", before=rows[PAGE - 1].seq) if len(rows) > PAGE else None
    return {
        "question": question,
        "rows": rows[:PAGE],
        "total": found.span.count,
        "older": older,
        "newest": question.address("/detections") if question.before else None,
        "patterns": patterns,
        "actions": list(dict.fromkeys(action for _, action, _ in actions)),
        "by_time": _chart(found.counts, patterns, found.length),
        "periods": _periods(found.counts),
        "export": {kind: question.address(f"/detections.{kind}") for kind in ("csv", "json")},
        "live": question.address("/parts/detections"),
    }


def _length(span: Span) -> int:
    """Into how fine times they are counted, so that there are not too many bars."""
    if span.first is None or span.last is None:
        return 19
    seconds = (_moment(span.last[:19]) - _moment(span.first[:19])).total_seconds()
    return next((length for length, step in _STEPS.items() if seconds / step <= MOST_BARS), 7)


def _moment(text: str) -> datetime.datetime:
    """The moment that a beginning of a time begins at, as if its zone were UTC: only shown as it is written."""
    return datetime.datetime.fromisoformat(text + _ALL_OF[len(text) :]).replace(tzinfo=_UTC)


def _chart(counts: Sequence[tuple[str, str, int]], patterns: Sequence[str], length: int) -> dict[str, Any]:
    found = {(pattern, int(_moment(period).timestamp())): count for pattern, period, count in counts}
    times = sorted({at for _, at in found})
    if times and length in _STEPS:
        times = list(range(times[0], times[-1] + 1, _STEPS[length]))
    series = [
        {
            "name": pattern,
            "color": _COLORS[n % len(_COLORS)],
            "look": "bars",
            "values": [found.get((pattern, at), 0) for at in times],
        }
        for n, pattern in enumerate(patterns)
        if any(name == pattern for name, _ in found)
    ]
    end = times[-1] + _STEPS.get(length, 30 * 86_400) if times else 0
    return {"kind": "time", "zone": "UTC", "x": times, "to": end, "stacked": True, "series": series}


def _periods(counts: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """(period, pattern, detections) for the table, the newest first."""
    return [(period.replace("T", " "), pattern, count) for pattern, period, count in reversed(counts)][:200]


def _all(site: Site, question: Question) -> Iterator[list[StoredDetection]]:
    before = question.before or NO_END
    while True:
        with site.pipeline.opened(readonly=True) as state:
            block = state.newest(question.wanted, before, BLOCK)
        if not block:
            return
        yield block
        before = block[-1].seq


def _record(stored: StoredDetection) -> dict[str, Any]:
    d = stored.detection
    values = (stored.seq, d.chunk, d.pattern, d.action, d.customer, d.merchant, stored.at, stored.holds, dict(d.key))
    return dict(zip(COLUMNS, values, strict=True))


def _csv(site: Site, question: Question) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for block in _all(site, question):
        for stored in block:
            *values, key = _record(stored).values()
            writer.writerow([*values, json.dumps(key, ensure_ascii=False)])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _json(site: Site, question: Question) -> Iterator[str]:
    between = "[\n"
    for block in _all(site, question):
        for stored in block:
            record = {**_record(stored), "evidence": stored.detection.evidence}
            yield between + json.dumps(record, ensure_ascii=False)
            between = ",\n"
    yield "[]\n" if between == "[\n" else "\n]\n"


def _file(parts: Iterator[str], kind: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parts, media_type=kind, headers=headers)
