"""For tests: a clock that nobody has to wait for."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator

from tillwatch.clock import iso

BEGIN = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)


class ScriptedClock:
    """A clock that moves when waited on. At each wait the next thing happens; after the last one all is stopped."""

    def __init__(self, *happenings: Callable[[], object]) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []
        self._happenings: Iterator[Callable[[], object]] = iter(happenings)

    def now(self) -> str:
        """Wall time."""
        return iso(BEGIN + datetime.timedelta(seconds=self.seconds))

    def monotonic(self) -> float:
        """Seconds so far."""
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Lets the time pass."""
        self.seconds += seconds
        self.waits.append(seconds)
        happening = next(self._happenings, event.set)
        happening()
        return event.is_set()
