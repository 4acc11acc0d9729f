"""The view Back-tests: the results that are kept, and some of them beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tillwatch.config import masked
from tillwatch.dashboard.growing import growths, sweeps
from tillwatch.dashboard.site import Kept as Answers
from tillwatch.dashboard.site import Site
from tillwatch.errors import ObjectMissing, TillwatchError
from tillwatch.history.kept import Kept, Moved, is_name, names, read
from tillwatch.stores.base import Store

LISTED = 50
MOST = 6
"""Results that are compared: as many as there are colors."""

CHANGES, ALL_CHANGES = 40, 1_000
"""Changes that are listed at first, and when more are asked for."""

LETTERS = "ABCDEF"


@dataclass(frozen=True, slots=True)
class Entry:
    """A result as the list has it, or why it cannot be read: then there is nothing but its name."""

    name: str
    at: str = ""
    tried: tuple[str, ...] = ()
    first: int = 0
    last: int = 0
    as_run: bool = True
    patterns: tuple[tuple[str, int, int, int, int, int], ...] = ()
    sweeps: tuple[str, ...] = ()
    problem: str = ""

    @property
    def changed(self) -> list[tuple[str, int, int, int, int, int]]:
        """The patterns that are not as in force."""
        return [each for each in self.patterns if any(each[3:])]


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that some of the results add, remove or move: its chunk in force, and what each of them does with it."""

    pattern: str
    key: tuple[tuple[str, str], ...]
    each: tuple[Moved | None, ...]

    @property
    def differs(self) -> bool:
        """Whether the results do not agree on it."""
        return any(moved != self.each[0] for moved in self.each)


def routes(site: Site) -> list[Route]:
    """The list, and results beside each other."""
    entries, whole = Answers(4 * LISTED), Answers(2 * MOST)

    def page(request: Request) -> Response:
        return site.page(request, "backtests.html", "backtests", **_list(site, entries))

    def compare(request: Request) -> Response:
        chosen = list(dict.fromkeys(request.query_params.getlist("r")))
        return site.page(request, "backtest.html", "backtests", **_compared(site, whole, request, chosen))

    return [Route("/backtests", page), Route("/backtests/compare", compare)]


def _store(site: Site) -> Store | None:
    place = site.pipeline.settings.backtests
    return None if place is None else site.pipeline.store(place)


def _list(site: Site, entries: Answers) -> dict[str, Any]:
    found: dict[str, Any] = {"entries": [], "more": 0, "place": None, "problem": "", "most": MOST}
    try:
        if (store := _store(site)) is not None:
            there = names(store)
            shown = [entries.get(name, partial(_entry, store, name)) for name in there[:LISTED]]
            found |= {"entries": shown, "more": len(there) - len(shown), "place": store.uri}
    except (TillwatchError, OSError) as error:
        found["problem"] = masked(str(error))
    return found


def _entry(store: Store, name: str) -> Entry:
    try:
        kept = read(store, name)
    except TillwatchError as error:
        return Entry(name, problem=masked(str(error)))
    patterns = tuple((p.pattern, p.now, p.draft, *map(p.count, ("added", "removed", "moved"))) for p in kept.patterns)
    swept = tuple(f"{c.pattern}.{c.threshold}" for c in kept.curves)
    return Entry(name, kept.at, kept.tried, kept.first, kept.last, kept.as_run, patterns, swept)  # type: ignore[arg-type]


def _compared(site: Site, whole: Answers, request: Request, chosen: Sequence[str]) -> dict[str, Any]:
    """Raises HTTPException when nothing that is there was chosen, or too much; TillwatchError for what is no result."""
    store = _store(site)
    if not chosen or store is None:
        raise HTTPException(404, "No back-test was chosen.")
    if len(chosen) > MOST:
        raise HTTPException(400, f"{len(chosen)} back-tests were chosen; at most {MOST} are shown beside each other.")
    results = [_read(store, whole, name) for name in chosen]
    by = request.query_params.get("by", "chunk")
    if by not in ("chunk", "day", "time"):
        raise HTTPException(400, f"by: found '{by}', expected chunk, day or time")
    patterns = list(dict.fromkeys(p.pattern for result in results for p in result.patterns))
    changes, more = differences(results), request.query_params.get("all") == "1"
    return {
        "results": list(zip(LETTERS, results, strict=False)),
        "rows": [
            (pattern, _now(results, pattern), [_of(result, pattern) for result in results]) for pattern in patterns
        ],
        "growths": growths(results, patterns, by),
        "sweeps": sweeps(results),
        "changes": changes[: ALL_CHANGES if more else CHANGES],
        "all": more,
        "total": len(changes),
        "by": by,
        "chosen": chosen,
        "same_chunks": len({(r.first, r.last) for r in results}) == 1,
    }


def _read(store: Store, whole: Answers, name: str) -> Kept:
    if not is_name(name):
        raise HTTPException(404, "There is no such back-test.")
    try:
        return whole.get(name, lambda: read(store, name))
    except ObjectMissing:
        raise HTTPException(404, f"There is no back-test {name} any more.") from None


def _now(results: Sequence[Kept], pattern: str) -> list[int]:
    """How many are in force: one number when all results say the same."""
    return list(dict.fromkeys(p.now for result in results for p in result.patterns if p.pattern == pattern))


def _of(result: Kept, pattern: str) -> tuple[int, int, int, int] | None:
    """The draft's detections of a pattern, and how many are added, removed and moved."""
    for each in result.patterns:
        if each.pattern == pattern:
            return each.draft, each.count("added"), each.count("removed"), each.count("moved")
    return None


def differences(results: Sequence[Kept]) -> list[Difference]:
    """All keys that a result changes; those on which the results do not agree come first, then by pattern and key."""
    found: dict[tuple[str, tuple[tuple[str, str], ...], int], list[Moved | None]] = {}
    for number, result in enumerate(results):
        for of in result.patterns:
            again: dict[tuple[tuple[str, str], ...], int] = {}
            for moved in of.changes:
                occasion = again[moved.key] = again.get(moved.key, -1) + 1
                found.setdefault((of.pattern, moved.key, occasion), [None] * len(results))[number] = moved
    made = [Difference(pattern, key, tuple(each)) for (pattern, key, _), each in found.items()]
    return sorted(made, key=lambda d: (not d.differs, d.pattern, d.key))
