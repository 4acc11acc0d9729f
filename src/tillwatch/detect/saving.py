"""When the tables of running values are saved: in time that is not needed for chunks, else seldom.

Nothing that is detected depends on it. A start after a crash folds the chunks behind the last saving again.
"""

from __future__ import annotations

CHUNKS = 128
"""Chunks after which the tables are saved although more chunks wait."""

PAUSE = 9
"""Where there is no room, this many times what saving takes passes in between: a tenth of the time goes into it."""

_ROOM = 1.5
"""While nothing waits, saving is begun when this many times what it takes is left until the next chunk."""

_FIRST_GUESS = 3e-6
"""Seconds a row, before anything was measured."""


class Saving:
    """Knows how long saving takes and how chunks come. Times are monotonic, in seconds."""

    def __init__(self, now: float) -> None:
        self._per_row = _FIRST_GUESS
        self._saved_at = now
        self._worked_at = now
        self._gap = 0.0

    def worked(self, now: float) -> None:
        """Chunks were worked off just now."""
        self._gap = now - self._worked_at
        self._worked_at = now

    def due(self, chunks: int, rows: int, now: float) -> bool:
        """Whether so many unsaved chunks, which touched so many rows, are too many even when more wait."""
        return chunks >= CHUNKS and now - self._saved_at >= PAUSE * rows * self._per_row

    def fits(self, rows: int, now: float) -> bool:
        """Nothing waits: whether saving so many rows is done before the next chunk comes, or was long not done."""
        gap = max(self._gap, now - self._worked_at)
        cost = rows * self._per_row
        return _ROOM * cost <= gap or now - self._saved_at >= PAUSE * cost

    def done(self, rows: int, began: float, now: float) -> None:
        """So many rows were saved."""
        self._saved_at = now
        if rows:
            self._per_row = (now - began) / rows
