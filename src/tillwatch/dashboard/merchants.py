"""The view Merchants: groups of keys against the gates of patterns, and who is near to being detected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tillwatch.dashboard import lacking, spreading
from tillwatch.dashboard.nearness import Worked, nearest_of
from tillwatch.dashboard.site import Site
from tillwatch.history.groups import Group, Groups, grains, groups, one_group, slot_of
from tillwatch.patterns.program import Grain
from tillwatch.state.look import Wanted

FEW, MANY = 10, 200
"""Groups that are listed at first, and all that are when it is asked for."""

NEAR = 5
"""Near misses of a pattern on the first page, and in one group."""

FOUND = 20
"""Detections in one group that are listed."""


FIRST_SECONDS = 2.0
"""So long a page waits when nothing was worked out yet."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a page asks for: groups of which grain, with which text in their key; few or many."""

    grain: Grain
    text: str
    all: bool

    def address(self, path: str, **changes: str) -> str:
        """The address of the same question with something changed."""
        said = {"by": ",".join(self.grain), "text": self.text, "all": "1" if self.all else ""} | changes
        return f"{path}?{urlencode({name: value for name, value in said.items() if value})}"


def routes(site: Site) -> list[Route]:
    """The groups with the near misses, its live part; all near misses of a pattern; one group."""

    def page(request: Request) -> Response:
        return site.page(request, "merchants.html", "merchants", **_values(site, request))

    def part(request: Request) -> Response:
        return site.page(request, "merchants_part.html", "merchants", **_values(site, request))

    def near(request: Request) -> Response:
        return site.page(request, "near.html", "merchants", **_near_values(site, request))

    def near_part(request: Request) -> Response:
        return site.page(request, "near_part.html", "merchants", **_near_values(site, request))

    def one(request: Request) -> Response:
        return site.page(request, "merchant.html", "merchants", **_one_values(site, request))

    return [
        Route("/merchants", page),
        Route("/parts/merchants", part),
        Route("/merchants/near", near),
        Route("/parts/near", near_part),
        Route("/merchants/one", one),
    ]


def _values(site: Site, request: Request) -> dict[str, Any]:
    worked = site.nearness.ask(FIRST_SECONDS)
    found: dict[str, Any] = {**_common(site, worked), "question": None, "few": FEW, "live": _live(request, "merchants")}
    if worked is None or worked.standing is None or worked.patterns is None:
        return {**found, "groups": None, "grains": [], "near": [], "others": []}
    known = grains(worked.standing.fold.program)
    question = _question(request, known)
    shown = _groups(site, worked, question) if question else None
    return {
        **found,
        "question": question,
        "grains": known,
        "groups": shown,
        "near": [(each, [lacking.near(n) for n in each.nearest[:NEAR]]) for each in worked.patterns.values()],
        "others": worked.others,
    }


def _groups(site: Site, worked: Worked, question: Question) -> Groups:
    standing = worked.standing
    assert standing is not None  # asked before
    limit = MANY if question.all or question.text else FEW
    key = ("groups", worked.version, question)
    return site.kept.get(key, lambda: groups(standing.fold, question.grain, limit, question.text))


def _question(request: Request, known: list[Grain]) -> Question | None:
    """Raises HTTPException for a grain that no pattern looks at."""
    asked = request.query_params
    if not known:
        return None
    grain = tuple(asked["by"].split(",")) if asked.get("by") else known[0]
    if grain not in known:
        raise HTTPException(404, f"No pattern looks at '{','.join(grain)}'.")
    return Question(grain, asked.get("text", "").strip()[:200], asked.get("all") == "1")


def _common(site: Site, worked: Worked | None) -> dict[str, Any]:
    known = grains(worked.standing.fold.program) if worked and worked.standing else []
    return {
        "worked": worked,
        "linked": {grain[0] for grain in known if len(grain) == 1},
        "behind": site.watch.seen.pulse.cursor - worked.chunks if worked and worked.standing else 0,
        "percent": lacking.percent,
        "plural": plural,
        "one": address,
    }


def _live(request: Request, part: str) -> str:
    return f"/parts/{part}?{request.url.query}" if request.url.query else f"/parts/{part}"


def _near_values(site: Site, request: Request) -> dict[str, Any]:
    """Raises HTTPException for a pattern that is not in force, or is not judged after chunks."""
    worked, name = site.nearness.ask(FIRST_SECONDS), request.query_params.get("pattern", "")
    only = request.query_params.get("only") == "1"
    found: dict[str, Any] = {**_common(site, worked), "only": only, "pattern": name, "live": _live(request, "near")}
    if worked is None or worked.patterns is None:
        return {**found, "each": None, "rows": []}
    each = worked.patterns.get(name)
    if each is None:
        raise HTTPException(404, f"There are no near misses of '{name}': no such pattern is judged after chunks.")
    return {**found, "each": each, "rows": [lacking.near(n) for n in (each.but_one if only else each.nearest)]}


def _one_values(site: Site, request: Request) -> dict[str, Any]:
    """Raises HTTPException when there is no such group."""
    key = {name: text for name, text in request.query_params.items() if name != "by"}
    worked = site.nearness.ask(FIRST_SECONDS)
    if worked is None or worked.standing is None:
        return {**_common(site, worked), "key": key, "group": None}
    fold, grain = worked.standing.fold, tuple(key)
    slot = slot_of(fold, grain, key) if grain in grains(fold.program) else None
    if slot is None:
        raise HTTPException(404, f"No transaction of {lacking.key_text(key)} has come.")
    shown = site.kept.get(("group", worked.version, grain, slot), lambda: _one(site, worked, grain, slot))
    return {**_common(site, worked), **shown}


def _one(site: Site, worked: Worked, grain: Grain, slot: int) -> dict[str, Any]:
    assert worked.standing is not None and worked.patterns is not None
    names, group = one_group(worked.standing.fold, grain, slot)
    finer = [each for each in worked.patterns.values() if set(grain) < set(each.plan.per)]
    with site.pipeline.opened(readonly=True) as state:
        near = [
            (each, [lacking.near(n) for n in nearest_of(each.misses, each.plan, state, NEAR, within=(grain, slot))])
            for each in worked.patterns.values()
            if set(grain) <= set(each.plan.per)
        ]
        found = state.newest(wanted, limit=FOUND) if (wanted := _wanted(group)) else []
    return {
        "key": dict(group.key),
        "group": group,
        "names": names,
        "pictures": [p for each in finer for p in spreading.pictures(worked.standing.fold, each, grain, slot)],
        "near": near,
        "found": found,
        "all_found": f"/detections?{urlencode(group.key)}",
    }


def _wanted(group: Group) -> Wanted | None:
    """Which detections are in a group, as far as they can be asked for."""
    if not set(group.key) <= {"customer", "merchant"}:
        return None
    return Wanted(customer=group.key.get("customer"), merchant=group.key.get("merchant"))


def address(key: Mapping[str, str]) -> str:
    """The address of one group."""
    return f"/merchants/one?{urlencode(key)}"


def plural(grain: Grain) -> str:
    """What keys of a grain are called.

    >>> plural(("merchant",)), plural(("category",)), plural(("customer", "device"))
    ('merchants', 'categories', 'pairs of customer, device')
    """
    if len(grain) != 1:
        return f"{'pairs' if len(grain) == 2 else 'keys'} of {', '.join(grain)}"
    return f"{grain[0][:-1]}ies" if grain[0].endswith("y") else f"{grain[0]}s"
