"""Time, where it is allowed: outside the core."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    """Wall time for people, monotonic time for waiting."""

    def now(self) -> str:
        """Wall time as ISO 8601 with offset and milliseconds, in the configured zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits for the event, at most so long; returns whether it is set."""
        ...


class SystemClock:
    """The machine's clock."""

    def __init__(self, zone: str = "Asia/Kolkata") -> None:
        self._zone = ZoneInfo(zone)

    def now(self) -> str:
        return iso(datetime.datetime.now(self._zone))

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


def iso(moment: datetime.datetime) -> str:
    """ISO 8601 with offset and milliseconds.

    >>> iso(datetime.datetime(2026, 11, 20, 13, 5, 7, 123999, ZoneInfo("Asia/Kolkata")))
    '2026-11-20T13:05:07.123+05:30'
    """
    return moment.isoformat(timespec="milliseconds")
