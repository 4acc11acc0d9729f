"""One detection: why it fired, where its key stands among others, how it came to it."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tillwatch.config import masked
from tillwatch.dashboard.course import course
from tillwatch.dashboard.site import Site
from tillwatch.dashboard.standing import standings
from tillwatch.errors import TillwatchError
from tillwatch.history.clauses import Clause, EvidenceView
from tillwatch.patterns.program import Plan
from tillwatch.state.base import State, StoredDetection
from tillwatch.state.look import NO_END


def routes(site: Site) -> list[Route]:
    """The page of one detection, and its history, which is worked out when it is asked for."""

    def page(request: Request) -> Response:
        with site.pipeline.opened(readonly=True) as state, state.snapshot():
            stored = _stored(state, request.path_params["seq"])
            values = _values(site, state, stored)
        return site.page(request, "detection.html", "detections", **values)

    def history(request: Request) -> Response:
        with site.pipeline.opened(readonly=True) as state:
            stored = _stored(state, request.path_params["seq"])
        found, problem = None, ""
        try:
            key = ("course", stored.seq, site.watch.seen.pulse.cursor)
            found = site.kept.get(key, lambda: course(site, stored))
        except (TillwatchError, OSError) as error:
            problem = masked(str(error))
        return site.page(request, "detection_history.html", "detections", stored=stored, found=found, problem=problem)

    return [Route("/detections/{seq:int}", page), Route("/detections/{seq:int}/history", history)]


def _stored(state: State, seq: int) -> StoredDetection:
    found = list(state.detections(seq, seq)) if seq < NO_END else []
    if not found:
        raise HTTPException(404, f"There is no detection {seq}.")
    return found[0]


def _values(site: Site, state: State, stored: StoredDetection) -> dict[str, Any]:
    d = stored.detection
    plan = site.plan(state, d.pattern, d.chunk)
    chunks = state.chunk_times(d.chunk, d.chunk)
    return {
        "stored": stored,
        "d": d,
        "pattern": plan.pattern if plan else None,
        "clause": _clause(plan, stored, site.pipeline.settings.amounts.digits) if plan else None,
        "standings": standings(state, plan, d.key, d.evidence) if plan else [],
        "tables": site.watch.seen.pulse.tables,
        "chunk": chunks[0] if chunks else None,
        "row": d.evidence.get("row"),
        "last": site.watch.seen.pulse.seq,
    }


def _clause(plan: Plan, stored: StoredDetection, digits: int) -> Clause | None:
    """The condition with the values of the evidence; None when it does not say all of them."""
    view = EvidenceView(plan, stored.detection.evidence, digits)
    try:
        return view.clause(plan.tree)
    except KeyError:
        return None
