"""The values before each row of a chunk: of the tables, and of windows before the row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Rows
from tillwatch.engine.filters import Filters
from tillwatch.engine.late import Late
from tillwatch.engine.spans import Reducer, Span, before_chunk, within_chunk
from tillwatch.engine.table import Table, Touch
from tillwatch.engine.windows import Windows
from tillwatch.patterns.program import Accumulator, Grain
from tillwatch.patterns.windows import Window

Ints = NDArray[np.int64]


@dataclass(slots=True)
class Running:
    """A chunk that is about to be added to the tables."""

    rows: Rows
    tables: Mapping[Grain, Table]
    touches: Mapping[Grain, Touch]
    windows: Windows
    filters: Filters
    _values: dict[tuple[Grain, Accumulator], Ints] = field(default_factory=dict)
    _spans: dict[tuple[Grain, Window | None], list[Span]] = field(default_factory=dict)

    def accumulated(self, grain: Grain, acc: Accumulator) -> Ints:
        """An accumulator of a table, of all rows before each."""
        if (grain, acc) not in self._values:
            table, slots = self.tables[grain], self.touches[grain].slots
            held = table.columns[acc.name][slots]
            if acc.op == "distinct":
                more = self._sum_of(self._first_of(acc), grain)
            else:
                more = self._reducer().reduced(acc, self._stretches(grain, None))
            choose = {"min": np.minimum, "max": np.maximum}.get(acc.op, np.add)
            self._values[grain, acc] = choose(held, more)
        return self._values[grain, acc]

    def passing(self, grain: Grain, acc: Accumulator) -> Ints:
        """An accumulator over its window before each row."""
        if (grain, acc) not in self._values:
            self._values[grain, acc] = self._reducer().reduced(acc, self._stretches(grain, acc.window))
        return self._values[grain, acc]

    @property
    def late(self) -> Late | None:
        """The rows that come too late for windows before them to be known; None when the program has none."""
        return self.windows.late(self.rows)

    def _reducer(self) -> Reducer:
        return Reducer(self.filters, len(self.rows))

    def _stretches(self, grain: Grain, window: Window | None) -> list[Span]:
        if (grain, window) not in self._spans:
            self._spans[grain, window] = list(self._found(grain, self.touches[grain].slots, window))
        return self._spans[grain, window]

    def _found(self, grain: Grain, slots: Ints, window: Window | None) -> Iterator[Span]:
        time = self.rows.time
        if window is None or time is None:
            yield from within_chunk(self.rows, slots, slots, None)
        elif window.kind == "transactions":
            yield from self.windows.rings.before(grain, self.rows, slots, window.size)
        else:
            yield from within_chunk(self.rows, slots, time, window.size)
            for segment in self.windows.retained.segments if self.windows.retained else ():
                if (span := before_chunk(segment, grain, slots, time, window.size)) is not None:
                    yield span

    def _first_of(self, acc: Accumulator) -> Ints:
        """1 for each row that is the first of all with its distinct value, else 0."""
        child, slots = self.tables[acc.child], self.touches[acc.child].slots
        counter = next(a for a in child.spec.accumulators if a.name == acc.counter)
        fresh = child.columns[counter.name][slots] == 0
        if counter.where is not None:
            fresh &= self.filters.mask(counter.where, self.rows)
        at = np.flatnonzero(fresh)
        first = np.zeros(len(slots), np.int64)
        first[at[np.unique(slots[at], return_index=True)[1]]] = 1
        return first

    def _sum_of(self, values: Ints, grain: Grain) -> Ints:
        """For each row the sum of values of the rows of its key before it in the chunk."""
        (span,) = self._stretches(grain, None)
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(values[span.order])])
        total: Ints = sums[span.stop] - sums[span.start]
        return total
