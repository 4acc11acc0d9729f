"""The rings of a program: the last rows of the keys of each grain that has windows of transactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Rows
from tillwatch.engine.filters import Filters
from tillwatch.engine.rings import Ring, settle
from tillwatch.engine.spans import Reducer, Span
from tillwatch.engine.table import Table
from tillwatch.patterns.expression import Name, walk
from tillwatch.patterns.features import NUMBER_COLUMNS
from tillwatch.patterns.program import Accumulator, Grain

Ints = NDArray[np.int64]
Owned = Sequence[tuple[Grain, Accumulator]]


class LastRows:
    """True when there are any rings. `kept` are accumulators of tables, `passing` those before a transaction.

    `rings` has those there are, by grain.
    """

    def __init__(self, tables: Mapping[Grain, Table], kept: Owned, passing: Owned, filters: Filters) -> None:
        self._tables, self._filters = tables, filters
        self._kept: dict[Grain, list[Accumulator]] = {}
        for grain, acc in kept:
            if acc.last:
                self._kept.setdefault(grain, []).append(acc)
        every: dict[Grain, list[Accumulator]] = {}
        for grain, acc in (*kept, *passing):
            if acc.last:
                every.setdefault(grain, []).append(acc)
        self.rings = {
            g: Ring(max(a.window.size for a in accs if a.window), columns_of(accs)) for g, accs in every.items()
        }

    def __bool__(self) -> bool:
        return bool(self.rings)

    def before(self, grain: Grain, rows: Rows, slots: Ints, size: int) -> Iterator[Span]:
        """The last rows of its key before each row of a chunk."""
        yield from self.rings[grain].merged(rows, slots, self._tables[grain].size).before(size)

    def take(self, rows: Rows, slots: Mapping[Grain, Ints]) -> None:
        """Takes the rows of a chunk, and brings the tables of the keys that it touched up to date."""
        for grain, ring in self.rings.items():
            table = self._tables[grain]
            merged = ring.merged(rows, slots[grain], table.size)
            ring.keep(merged)
            settle(table, self._kept.get(grain, ()), merged, Reducer(self._filters, len(merged.unique)))


def columns_of(accumulators: Sequence[Accumulator]) -> list[str]:
    """The text columns of a row that the accumulators look at."""
    read = {n.name for a in accumulators if a.where is not None for n in walk(a.where) if isinstance(n, Name)}
    counted = {a.column for a in accumulators if a.op == "distinct"}
    return sorted({c for c in read | counted if c is not None} - {*NUMBER_COLUMNS})
