"""Numbers as a person reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping


def many(count: int, noun: str) -> str:
    """A count with its noun.

    >>> many(1, "chunk"), many(1200, "row")
    ('1 chunk', '1,200 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time that passed.

    >>> duration(0.94), duration(75), duration(7260)
    ('0.9 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def rate(count: float, seconds: float, noun: str = "row") -> str:
    """Rows, or what else is counted, per second, to three digits.

    >>> rate(594_643, 0.9), rate(0, 0.0), rate(3, 2, "chunk"), rate(30, 2, "chunk")
    ('661,000 rows/s', '0 rows/s', '1.5 chunks/s', '15 chunks/s')
    """
    found = float(f"{count / seconds if seconds else 0:.3g}")
    return f"{found:,.1f} {noun}s/s" if 0 < found < 10 and found % 1 else f"{int(found):,} {noun}s/s"


class Ahead:
    """How fast work goes, and how long it still takes, by the last seconds.

    >>> ahead = Ahead()
    >>> for second, done in enumerate((0, 100, 200)):
    ...     ahead.note(second, done)
    >>> ahead.text(1000, "chunk"), ahead.left(1000)
    ('100 chunks/s, 8 s left', '8 s left')
    """

    SECONDS = 20.0

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def note(self, now: float, done: float) -> None:
        """Notes how much is done at a time in seconds."""
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self.SECONDS:
            self._samples.popleft()

    def text(self, total: float, noun: str) -> str:
        """Both in words, as far as they can be told yet."""
        seconds, done = self._last()
        if not seconds:
            return ""
        left = self.left(total)
        return rate(done, seconds, noun) + (f", {left}" if left else "")

    def left(self, total: float) -> str:
        """The time in words, empty when it cannot be told."""
        seconds, done = self._last()
        rest = total - self._samples[-1][1]
        return f"{span(seconds * rest / done)} left" if done > 0 and rest > 0 else ""

    def _last(self) -> tuple[float, float]:
        (since, before), (now, done) = self._samples[0], self._samples[-1]
        return now - since, done - before


def percent(part: float) -> str:
    """A part of something; all of it only when it is all.

    >>> percent(0.5), percent(0.9999), percent(1.0)
    ('50 %', '99 %', '100 %')
    """
    return f"{int(100 * part)} %"


def span(seconds: float) -> str:
    """A time that lies ahead, not more exactly than it can be known.

    >>> span(0.2), span(75), span(7260)
    ('1 s', '1 min 15 s', '2 h 01 min')
    """
    return f"{max(1, round(seconds))} s" if seconds < 59.5 else duration(seconds)


def by_pattern(found: Mapping[str, int]) -> str:
    """Detections with how many by pattern.

    >>> by_pattern({"PatId1": 70, "PatId3": 4}), by_pattern({"PatId1": 0})
    ('74 detections (PatId1 70, PatId3 4)', '0 detections')
    """
    total = sum(found.values())
    parts = ", ".join(f"{pattern} {count:,}" for pattern, count in found.items())
    return many(total, "detection") + (f" ({parts})" if total else "")
