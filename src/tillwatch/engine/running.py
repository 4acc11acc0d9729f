"""The values before each row of a chunk: of the tables, and of windows before the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Rows
from tillwatch.engine.filters import Filters
from tillwatch.engine.retained import Retained
from tillwatch.engine.spans import Reducer, Span, before_chunk, within_chunk
from tillwatch.engine.table import Table, Touch
from tillwatch.patterns.program import Accumulator, Grain

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Running:
    """A chunk that is about to be added to the tables.

    `late` are the rows that come too late for their windows to be known; None when the program has none.
    """

    rows: Rows
    tables: Mapping[Grain, Table]
    touches: Mapping[Grain, Touch]
    retained: Retained | None
    filters: Filters
    late: Bools | None
    _values: dict[tuple[Grain, Accumulator], Ints] = field(default_factory=dict)
    _spans: dict[tuple[Grain, int | None], list[Span]] = field(default_factory=dict)

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
            assert acc.window is not None
            self._values[grain, acc] = self._reducer().reduced(acc, self._stretches(grain, acc.window.size))
        return self._values[grain, acc]

    def _reducer(self) -> Reducer:
        return Reducer(self.filters, len(self.rows))

    def _stretches(self, grain: Grain, size: int | None) -> list[Span]:
        if (grain, size) not in self._spans:
            slots = self.touches[grain].slots
            time = np.zeros(0, np.int64) if self.rows.time is None else self.rows.time
            found = list(within_chunk(self.rows, slots, time, size))
            if size is not None and self.retained is not None:
                earlier = (before_chunk(s, grain, slots, time, size) for s in self.retained.segments)
                found += [span for span in earlier if span is not None]
            self._spans[grain, size] = found
        return self._spans[grain, size]

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
