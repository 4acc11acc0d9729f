"""One chunk per period, without drift."""

from __future__ import annotations

import threading

from tillwatch.clock import Clock

_REST = 0.05


class Pace:
    """Gives one turn per `every` seconds, at multiples of `every` after the first.

    A turn that comes late by less than a period does not move the next one. Periods that went by as a whole
    are left out, not made up for: there is never a burst. `every` 0 gives turns at once.
    """

    def __init__(self, every: float, clock: Clock) -> None:
        self.every = every
        self._clock = clock
        self._due: float | None = None
        self._spare = 0.0

    def turn(self, stop: threading.Event) -> bool:
        """Waits for the next turn; False when `stop` is set."""
        if not self.every:
            return not stop.is_set()
        now = self._clock.monotonic()
        due = now if self._due is None else self._due
        late = now - due
        self._spare = -late
        if late < 0 and self._clock.wait(stop, -late):
            return False
        missed = max(late // self.every, 0)
        self._due = due + (missed + 1) * self.every
        return not stop.is_set()

    def rest(self, stop: threading.Event) -> None:
        """Leaves the processor to whoever works on what has just landed, when there is time to spare for it."""
        rest = min(_REST, self.every / 2)
        left = (self._due or 0.0) - self._clock.monotonic()
        if rest and min(self._spare, left) >= 2 * rest:
            self._clock.wait(stop, rest)
