"""What all views work with: the pipeline, what was seen of it, and pages made from templates."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tillwatch.compose import compose
from tillwatch.dashboard import words
from tillwatch.dashboard.nearness import Nearness
from tillwatch.dashboard.watch import Watch
from tillwatch.patterns.program import Plan, Program
from tillwatch.patterns.rules import from_text
from tillwatch.pipeline import Pipeline
from tillwatch.state.base import State

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """An entry of the navigation."""

    name: str
    title: str
    path: str


VIEWS = (
    View("now", "Now", "/"),
    View("detections", "Detections", "/detections"),
    View("merchants", "Merchants", "/merchants"),
    View("quality", "Quality", "/quality"),
    View("backtests", "Back-tests", "/backtests"),
)


class Kept:
    """The newest answers of costly questions, so that many viewers who ask the same cost one. For threads."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """The answer for this key, asked for once even when several ask at the same time."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key in self._answers:
                found: T = self._answers[key]
                return found
            found = ask()
        with self._lock:
            self._answers[key] = found
            self._locks.pop(key, None)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return found


class Site:
    """One pipeline's dashboard."""

    def __init__(self, pipeline: Pipeline, watch: Watch) -> None:
        self.pipeline, self.watch = pipeline, watch
        self.kept = Kept()
        self.nearness = Nearness(pipeline, watch)
        self._pages = _environment()

    @property
    def parts(self) -> dict[str, int | str]:
        """What pages show, by name, each with a number or text that is another one when it has changed."""
        return {**self.watch.seen.parts, "near": self.nearness.part}

    @cached_property
    def name(self) -> str:
        """What the pipeline is called: the folder of its configuration, or its source's name."""
        return words.source_name(self.pipeline.settings.source.uri)

    def page(self, request: Request, template: str, view: str = "", status: int = 200, **values: Any) -> HTMLResponse:
        """A page of a view, or a part of one that a page asks for again."""
        return HTMLResponse(self.text(template, view=view, path=request.url.path, **values), status)

    def text(self, template: str, **values: Any) -> str:
        """A template filled in. Texts are escaped."""
        return self._pages.get_template(template).render(
            {"site": self, "seen": self.watch.seen, "views": VIEWS} | values
        )

    def program(self, state: State, chunk: int) -> Program:
        """The patterns that were in force at a chunk. Lookups are not read for it."""
        records = [record for record in state.rule_sets() if record.first <= chunk]
        if not records:
            return self.pipeline.composed.program
        rules = records[-1].rules
        return self.kept.get(
            ("program", records[-1].hash), lambda: compose(self.pipeline.settings, rules=from_text(rules)).program
        )

    def plan(self, state: State, pattern: str, chunk: int) -> Plan | None:
        """A pattern as it was in force at a chunk."""
        plans = self.program(state, chunk).plans
        return next((plan for plan in plans if plan.pattern.id == pattern), None)


def _environment() -> Environment:
    pages = Environment(
        loader=PackageLoader("tillwatch.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    pages.filters.update(words.FILTERS)
    pages.globals["asset"] = _asset_path()
    return pages


def _asset_path() -> Callable[[str], str]:
    """The address of an asset, another one when its content is."""
    known: dict[str, str] = {}

    def asset(name: str) -> str:
        if name not in known:
            content = (resources.files("tillwatch.dashboard") / "assets" / name).read_bytes()
            known[name] = f"/assets/{name}?{hashlib.sha256(content).hexdigest()[:12]}"
        return known[name]

    return asset
