"""The view Now: rows in and out, lag, who is at work, the last hour."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tillwatch.dashboard import words
from tillwatch.dashboard.site import Site
from tillwatch.dashboard.watch import HOUR, AtWork, Seen
from tillwatch.state.activity import Activity
from tillwatch.state.look import Flow

STEP = 10
"""Seconds of a point of the chart."""

LEAST_SPAN = 120
"""Seconds that the chart shows at least."""

LATE_SECONDS = 60.0
"""A chunk that waits longer makes the lag stand out."""

TITLES = {"ingest": ("Ingest", "lands the source"), "detect": ("Detect", "finds and publishes")}


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Ingest or detect as the page says it."""

    title: str
    note: str
    alive: bool
    state: str
    since: str = ""
    counts: str = ""
    trouble: str = ""


def routes(site: Site) -> list[Route]:
    """The page, and the part of it that is live."""

    def page(request: Request) -> Response:
        return site.page(request, "now.html", "now", **values_of(site.watch.seen))

    def part(request: Request) -> Response:
        seen = site.watch.seen
        text = site.kept.get(("now", seen.version), lambda: site.text("now_part.html", **values_of(seen)))
        return Response(text, media_type="text/html")

    return [Route("/", page), Route("/parts/now", part)]


def values_of(seen: Seen) -> dict[str, Any]:
    """What the page says of what was seen."""
    totals, now = seen.totals, time.time()
    waits = words.age(seen.next_chunk.landed_at, now) if seen.lag and seen.next_chunk else None
    landed, processed = seen.speeds or (None, None)
    return {
        "seen": seen,
        "said": _said(seen),
        "totals": totals,
        "done": totals.counted + totals.quarantined + totals.filtered,
        "rates": {"landed": landed, "processed": processed},
        "late": waits is not None and waits > LATE_SECONDS,
        "lag_note": f"the oldest waits {words.seconds(waits)}" if waits is not None else _no_lag(seen),
        "waiting": f"{words.many(seen.files_waiting, 'file')} to be published"
        if seen.files_waiting
        else "all published",
        "flow": _chart(seen, now),
        "flow_said": _chart_said(seen),
        "minutes": _minutes(seen),
        "mechanisms": [_mechanism(each, now) for each in seen.at_work],
        "last": seen.last_processed,
        "took": _took(seen),
    }


def _said(seen: Seen) -> str:
    working = [each.name for each in seen.at_work if each.alive]
    if not working:
        began = (
            f"It was first started at {words.moment(seen.started_at)}." if seen.started_at else "It has not run yet."
        )
        return f"Nothing is at work. {began}"
    behind = f"{words.many(seen.lag, 'chunk')} behind" if seen.lag else "up to date"
    verb = "are" if len(working) > 1 else "is"
    return f"{' and '.join(working).capitalize()} {verb} at work, {behind}."


def _no_lag(seen: Seen) -> str:
    return "since when is not known" if seen.lag else "up to date" if seen.pulse.landed else "nothing has landed"


def _took(seen: Seen) -> float | None:
    last = seen.last_processed
    if last is None or last.landed_at is None or last.processed_at is None:
        return None
    return max(0.0, words.epoch(last.processed_at) - words.epoch(last.landed_at))


def _mechanism(found: AtWork, now: float) -> Mechanism:
    title, note = TITLES[found.name]
    state, activity = "at work" if found.alive else "not at work", found.activity
    if activity is None:
        return Mechanism(title, note, found.alive, state)
    count = sum(activity.retries.values())
    places = ", ".join(f"{place} {n:,}" for place, n in activity.retries.items())
    retries = f"{count:,} {'retry' if count == 1 else 'retries'}" + (f" ({places})" if places else "")
    trouble = f"{words.moment(activity.last_trouble_at)}: {activity.last_trouble}" if activity.last_trouble else ""
    return Mechanism(
        title,
        f"{note}; on {activity.host}, process {activity.pid}",
        found.alive,
        state,
        _since(found.alive, activity, now),
        f"{retries}, {words.many(activity.errors, 'error')}",
        trouble,
    )


def _since(alive: bool, activity: Activity, now: float) -> str:
    if alive:
        return f"since {words.moment(activity.began_at)}, {words.seconds(words.age(activity.began_at, now))}"
    if activity.ended_at is None:
        return f"it was killed: last heard of at {words.moment(activity.beat_at)}"
    return f"{activity.how or 'ended'} at {words.moment(activity.ended_at)}"


def _chart(seen: Seen, now: float) -> dict[str, Any]:
    """Rows a second by ten seconds, from the first of the hour in which something moved until now."""
    landed, processed = _by_step(seen.landed), _by_step(seen.processed)
    times = [*landed, *processed]
    if not times:
        return {"x": [], "series": []}
    at_work = any(each.alive for each in seen.at_work)
    last = now if at_work else max(times) + STEP
    first = max(min(min(times) - STEP, last - LEAST_SPAN), last - HOUR)
    x: list[float] = [*range(int(first) // STEP * STEP, int(last) + 1, STEP)]
    if at_work:
        x.append(round(now, 1))  # the step that goes on ends now
    return {
        "kind": "time",
        "x": x,
        "unit": "rows/s",
        "series": [
            {"name": "landed", "color": "one", "look": "steps", "values": _rates(landed, x)},
            {"name": "processed", "color": "two", "look": "edge", "values": _rates(processed, x)},
        ],
    }


def _by_step(flows: Iterable[Flow]) -> dict[int, int]:
    found: defaultdict[int, int] = defaultdict(int)
    for flow in flows:
        found[int(words.epoch(flow.at)) // STEP * STEP] += flow.rows
    return found


def _rates(rows: dict[int, int], x: Sequence[float]) -> list[float]:
    """Rows a second from each point to the next one; the last one is only an end."""
    rates = [round(rows.get(int(at), 0) / max(1.0, end - at), 1) for at, end in pairwise(x)]
    return [*rates, *rates[-1:]]


def _chart_said(seen: Seen) -> str:
    landed, processed = (sum(flow.rows for flow in flows) for flows in (seen.landed, seen.processed))
    return f"Rows a second in the last hour: {landed:,} rows landed, {processed:,} rows processed"


def _minutes(seen: Seen) -> list[tuple[str, int, int, int]]:
    """Rows landed, processed and quarantined by minute, the newest first."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for flow in seen.landed:
        found[flow.at[:16]][0] += flow.rows
    for flow in seen.processed:
        found[flow.at[:16]][1] += flow.rows
        found[flow.at[:16]][2] += flow.quarantined
    return [(at[11:], *counts) for at, counts in sorted(found.items(), reverse=True)]  # type: ignore[misc]
