"""Trying again what a store or a database refused for now: back-off with jitter, reported each time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tillwatch.clock import Clock
from tillwatch.errors import (
    ObjectConflict,
    ObjectExists,
    ObjectMissing,
    OutputUnavailable,
    SourceUnavailable,
    StateConflict,
    StateError,
    StateMissing,
    StoreError,
    TillwatchError,
)
from tillwatch.events import Recovered, Retried

T = TypeVar("T")

FIRST_DELAY = 0.2
LONGEST_DELAY = 30.0
LONGEST_ASKED = 3600.0
"""Who asks to be left alone for longer is asked again after this time all the same."""

_FINAL = (ObjectExists, ObjectMissing, ObjectConflict, StateConflict, StateMissing)


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a caller has patience. `patience` is in seconds, None for ever.

    `report` hears of each failure in words, or `hear` of each, and of success after failures, as events. `place` is the
    name in the configuration of what is asked, where an error does not say it.
    """

    clock: Clock
    stop: threading.Event
    report: Callable[[str], None]
    patience: float | None = None
    jitter: random.Random = field(default_factory=random.Random)
    hear: Callable[[Retried | Recovered], None] | None = None
    place: str = "elsewhere"

    def __call__(self, action: Callable[[], T]) -> T:
        """What `action` returns. It must be safe to repeat. Raises its error when patience ends or on stop."""
        began, delay, failures = self.clock.monotonic(), FIRST_DELAY, dict[str, int]()
        while True:
            try:
                done = action()
            except (StoreError, StateError, OutputUnavailable, SourceUnavailable) as error:
                waited = self.clock.monotonic() - began
                asked = min(getattr(error, "after", 0.0), LONGEST_ASKED)  # who refuses may say for how long
                pause = max(delay, asked)
                over = self.patience is not None and waited + pause > self.patience
                if isinstance(error, _FINAL) or over or self.stop.is_set():
                    raise
                place = self.place_of(error)
                failures[place] = failures.get(place, 0) + 1
                self.failed(f"{error} (trying again in {pause:.1f} s)", place, error, pause, failures[place])
            else:
                self.worked(failures, began)
                return done
            if self.clock.wait(self.stop, max(delay * self.jitter.uniform(0.5, 1.0), asked)):
                return action()
            delay = min(2 * delay, LONGEST_DELAY)

    def place_of(self, error: TillwatchError) -> str:
        """The name in the configuration of the place that failed."""
        return error.place or ("state" if isinstance(error, StateError) else self.place)

    def failed(self, text: str, place: str, error: Exception, wait: float, attempt: int) -> None:
        """Tells that something failed and is tried again."""
        if self.hear is None:
            self.report(text)
        else:
            self.hear(Retried(text, place=place, error=type(error).__name__, wait=wait, attempt=attempt))

    def worked(self, failures: Mapping[str, int], began: float) -> None:
        """Tells that what has failed so often, by place, since a time has worked."""
        if self.hear is not None:
            for place, count in failures.items():
                self.hear(Recovered(place, count, self.clock.monotonic() - began))
