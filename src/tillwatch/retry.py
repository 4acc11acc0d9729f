"""Trying again what a store or a database refused for now: back-off with jitter, reported each time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
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
)

T = TypeVar("T")

FIRST_DELAY = 0.2
LONGEST_DELAY = 30.0
LONGEST_ASKED = 3600.0
"""Who asks to be left alone for longer is asked again after this time all the same."""

_FINAL = (ObjectExists, ObjectMissing, ObjectConflict, StateConflict, StateMissing)


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a caller has patience. `patience` is in seconds, None for ever; `report` hears of each failure."""

    clock: Clock
    stop: threading.Event
    report: Callable[[str], None]
    patience: float | None = None
    jitter: random.Random = field(default_factory=random.Random)

    def __call__(self, action: Callable[[], T]) -> T:
        """What `action` returns. It must be safe to repeat. Raises its error when patience ends or on stop."""
        began, delay = self.clock.monotonic(), FIRST_DELAY
        while True:
            try:
                return action()
            except (StoreError, StateError, OutputUnavailable, SourceUnavailable) as error:
                waited = self.clock.monotonic() - began
                asked = min(getattr(error, "after", 0.0), LONGEST_ASKED)  # who refuses may say for how long
                pause = max(delay, asked)
                over = self.patience is not None and waited + pause > self.patience
                if isinstance(error, _FINAL) or over or self.stop.is_set():
                    raise
                self.report(f"{error} (trying again in {pause:.1f} s)")
            if self.clock.wait(self.stop, max(delay * self.jitter.uniform(0.5, 1.0), asked)):
                return action()
            delay = min(2 * delay, LONGEST_DELAY)
