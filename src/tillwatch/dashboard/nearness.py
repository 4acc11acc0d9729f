"""The running values of all keys, and who is near to being detected: worked out in the background, for all viewers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tillwatch.config import masked
from tillwatch.dashboard.watch import Watch
from tillwatch.errors import StateMissing, TillwatchError
from tillwatch.history.near import Misses, Near
from tillwatch.history.standing import Standing, standing
from tillwatch.patterns.program import Plan
from tillwatch.pipeline import Pipeline
from tillwatch.state.base import State

NEAREST = 50
"""Near misses of a pattern that are listed."""

LEAST_PAUSE = 3.0
PAUSE = 9
"""Seconds between two workings, or so many times what one takes, whichever is longer."""


@dataclass(frozen=True, slots=True)
class OfPattern:
    """A pattern's near misses; `but_one` are those that miss a single clause."""

    plan: Plan
    misses: Misses
    nearest: tuple[Near, ...]
    but_one: tuple[Near, ...]


@dataclass(frozen=True, slots=True)
class Worked:
    """What was worked out of the tables before chunk `chunks`; `others` are patterns that have no near misses.

    `problem` says why there is nothing. `seconds` is how long it took.
    """

    version: int
    chunks: int
    standing: Standing | None = None
    patterns: Mapping[str, OfPattern] | None = None
    others: tuple[Plan, ...] = ()
    problem: str = ""
    waits: bool = False
    seconds: float = 0.0


class Nearness:
    """Works it out when it is asked for and has changed since; one thread, at most a tenth of the time."""

    def __init__(self, pipeline: Pipeline, watch: Watch) -> None:
        self._pipeline, self._watch = pipeline, watch
        self._lock, self._stop, self._first = threading.Lock(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._last: Worked | None = None
        self._known: object = None
        self._ended = -1e9

    @property
    def part(self) -> str:
        """Another one whenever there is, or could be, something new."""
        return f"{self._watch.seen.pulse.tables}-{self._watch.seen.pulse.rule_sets}-{self.version}"

    @property
    def version(self) -> int:
        """How often it was worked out."""
        return self._last.version if self._last else 0

    def ask(self, wait: float = 0.0) -> Worked | None:
        """What is known, None if nothing is even after `wait` seconds; begins to work it out when it is not of now."""
        with self._lock:
            if self._stands() != self._known and self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="tillwatch-near", daemon=True)
                self._thread.start()
        if self._last is None:
            self._first.wait(wait)
        return self._last

    def stop(self) -> None:
        """Works no more."""
        self._stop.set()
        if (thread := self._thread) is not None:
            thread.join()

    def _stands(self) -> object:
        pulse = self._watch.seen.pulse
        return pulse.tables, pulse.rule_sets, pulse.seq

    def _run(self) -> None:
        try:
            before = self._last.seconds if self._last else 0.0
            rest = self._ended + max(LEAST_PAUSE, PAUSE * before) - time.monotonic()
            if rest <= 0 or not self._stop.wait(rest):
                stands = self._stands()
                self._last, self._known = self._work(time.monotonic()), stands
        finally:
            self._ended, self._thread = time.monotonic(), None
            self._first.set()
        self._watch.tell()

    def _work(self, began: float) -> Worked:
        version = self.version + 1
        try:
            with self._pipeline.opened(readonly=True) as state, state.snapshot():
                found = standing(state, self._pipeline.settings)
                patterns = {
                    plan.pattern.id: _of(found, plan, state) for plan in found.plans if plan.pattern.judge == "chunk"
                }
        except TillwatchError as error:
            seconds = time.monotonic() - began
            waits = isinstance(error, StateMissing)
            return Worked(version, 0, problem=masked(str(error)), waits=waits, seconds=seconds)
        others = tuple(plan for plan in found.plans if plan.pattern.judge != "chunk")
        return Worked(version, found.chunks, found, patterns, others, seconds=time.monotonic() - began)


def _of(found: Standing, plan: Plan, state: State) -> OfPattern:
    misses = Misses(found.fold, plan, found.chunks - 1, negative=found.negative)
    nearest, but_one = (nearest_of(misses, plan, state, NEAREST, but_one=one) for one in (False, True))
    return OfPattern(plan, misses, nearest, but_one)


def nearest_of(
    misses: Misses,
    plan: Plan,
    state: State,
    limit: int,
    *,
    but_one: bool = False,
    within: tuple[tuple[str, ...], int] | None = None,
) -> tuple[Near, ...]:
    """The nearest keys of a pattern, without those that were detected; the state says which were."""
    pattern = plan.pattern

    def detected(key: Mapping[str, str]) -> int | None:
        return state.last_of(pattern.id, key, shadow=pattern.shadow)

    return misses.nearest(limit, detected, but_one=but_one, within=within)
