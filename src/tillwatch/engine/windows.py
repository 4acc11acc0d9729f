"""The windows of a program: the clock of the stream, the rows they still need, and what leaves them.

A program without windows, and without late rows to be quarantined, does nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Decoded, Rows
from tillwatch.engine.expiry import Expiry, Gone
from tillwatch.engine.filters import Filters
from tillwatch.engine.last_rows import LastRows, columns_of
from tillwatch.engine.late import Late, Lateness, late_rows, set_aside
from tillwatch.engine.retained import Retained
from tillwatch.engine.table import Table, Touch
from tillwatch.model import Reach
from tillwatch.patterns.program import Accumulator, Grain, Program

Ints = NDArray[np.int64]

_EVER = -(2**62)


class Windows:
    """`clock` is the greatest time of all valid rows so far; None before the first, or where times are not read.

    With `rings_kept` who keeps the tables keeps the rings too; else they are made again from the log.
    """

    def __init__(
        self,
        program: Program,
        tables: Mapping[Grain, Table],
        lateness: Lateness,
        filters: Filters,
        *,
        rings_kept: bool = False,
    ) -> None:
        self.clock: int | None = None
        self._before: int | None = None
        self._lateness, self._rings_kept = lateness, rings_kept
        self._clocks: dict[int, int | None] = {}
        kept = [(t.grain, a) for t in program.tables for a in t.accumulators if a.window is not None]
        passing = [(u.grain, a) for p in program.plans for u in p.uses.values() for a in u.passing]
        self._passing = bool(passing)
        timed, asked = ([(g, a) for g, a in owned if not a.last] for owned in (kept, passing))
        self.retained = _retained(timed, asked, lateness.size)
        self._expiry = Expiry(tables, self.retained) if timed and self.retained else None
        self.rings = LastRows(tables, kept, passing, filters)

    def admit(self, decoded: Decoded, column: str) -> Decoded:
        """The chunk without the rows that are late, where these are quarantined."""
        return set_aside(decoded, self.clock, self._lateness, column)

    def punctual(self, rows: Rows) -> Rows:
        """Of some rows of the next chunk those that are not late, where these are quarantined."""
        late = late_rows(rows.time, self.clock, self._lateness)
        return rows if late is None else replace(rows.take(~late), source=rows.source)

    def move(self, chunk: int, rows: Rows, clock: int | None) -> list[Gone]:
        """Moves the clock to where it is after a chunk; returns the rows that leave windows by that."""
        if rows.time is None and clock is None:
            return []
        self._before = self.clock
        self._clocks[chunk] = self.clock
        times = [t for t in (self.clock, clock) if t is not None]
        if rows.time is not None and len(rows):
            times.append(int(rows.time.max()))
        self.clock = max(times, default=None)
        return self._expiry.gone(self._before, self.clock) if self._expiry else []

    def late(self, rows: Rows) -> Late | None:
        """The rows of the chunk that are too late for windows before them to be known; None without such windows."""
        if not self._passing or rows.time is None:
            return None
        clock = _EVER if self._before is None else self._before
        return Late(rows.time < max(clock - self._lateness.size, _EVER), rows.time < clock)

    def touched(self, touches: Mapping[Grain, Touch], gone: Sequence[Gone]) -> Mapping[Grain, Touch]:
        """What the chunk touches, with the keys that lose rows."""
        if not gone or self._expiry is None:
            return touches
        left = self._expiry.slots(gone)
        return {grain: touch.also(left[grain]) if grain in left else touch for grain, touch in touches.items()}

    def take_back(self, gone: Sequence[Gone]) -> None:
        """Takes the rows that left out of the tables."""
        if gone and self._expiry is not None and self.clock is not None:
            self._expiry.take_back(gone, self.clock)

    def remember(self, chunk: int, rows: Rows, slots: Mapping[Grain, Ints]) -> None:
        """Keeps the rows of a chunk as long as windows need them."""
        self._retain(chunk, rows, slots)
        if len(rows):
            self.rings.take(rows, slots)

    def recall(self, chunk: int, rows: Rows, slots: Mapping[Grain, Ints]) -> None:
        """Keeps rows of a chunk that the tables have already."""
        self._retain(chunk, rows, slots)
        if len(rows) and not self._rings_kept:
            self.rings.take(rows, slots)

    def _retain(self, chunk: int, rows: Rows, slots: Mapping[Grain, Ints]) -> None:
        if self.retained is not None and self.clock is not None and len(rows):
            self.retained.add(chunk, rows, slots, self.clock)

    def reach(self, following: int) -> Reach | None:
        """What the windows need of the log before the chunk that follows; None where times are not read."""
        if self.rings and not self._rings_kept:
            return Reach(0, None)  # the last rows of a key can be of any time
        if self.retained is None and self.clock is None:
            return None
        first = self.retained.first if self.retained is not None else None
        if first is None:
            self._clocks = {}
            return Reach(following, self.clock)
        self._clocks = {chunk: clock for chunk, clock in self._clocks.items() if chunk >= first}
        return Reach(first, self._clocks[first])


Owned = Sequence[tuple[Grain, Accumulator]]


def _retained(kept: Owned, passing: Owned, lateness: int) -> Retained | None:
    grains = tuple(dict.fromkeys(grain for grain, _ in (*kept, *passing)))
    if not grains:
        return None
    sizes = [a.window.size for _, a in kept if a.window] + [a.window.size + lateness for _, a in passing if a.window]
    columns = columns_of([a for _, a in kept if a.op != "distinct"] + [a for _, a in passing])
    return Retained(grains, columns, max(sizes))
