"""One chunk per period, without drift."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as ingest sees it."""

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        ...

    def time(self) -> float:
        """Seconds since 1970, comparable with the modification times of files."""
        ...

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Waits until `stop` is set or the time is over; whether it is set."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """See Clock."""
        return time.monotonic()

    def time(self) -> float:
        """See Clock."""
        return time.time()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """See Clock."""
        return stop.wait(seconds)


class Pace:
    """Gives one turn per `every` seconds, at multiples of `every` after the first.

    A turn that comes late by less than a period does not move the next one. Periods that went by as a whole
    are left out, not made up for: there is never a burst. `every` 0 gives turns at once.
    """

    def __init__(self, every: float, clock: Clock) -> None:
        self._every = every
        self._clock = clock
        self._due: float | None = None

    def turn(self, stop: threading.Event) -> bool:
        """Waits for the next turn; False when `stop` is set."""
        if not self._every:
            return not stop.is_set()
        now = self._clock.now()
        due = now if self._due is None else self._due
        late = now - due
        if late < 0 and self._clock.wait(stop, -late):
            return False
        missed = max(late // self._every, 0)
        self._due = due + (missed + 1) * self._every
        return not stop.is_set()
