"""Time windows of tables: when the clock moves, the rows that have left a window are taken back.

The cost follows the rows that leave, not the keys. A least or greatest value that leaves is looked for again among the
rows that stay, in one pass over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.retained import Retained, Segment
from tillwatch.engine.table import Table
from tillwatch.patterns.program import Accumulator, Grain

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gone:
    """Rows of a segment that have left the windows of a size."""

    size: int
    segment: Segment
    part: slice


class Expiry:
    """The windows of some tables over the retained rows."""

    def __init__(self, tables: Mapping[Grain, Table], retained: Retained) -> None:
        self._tables, self._retained = tables, retained
        self._windows: dict[int, list[tuple[Table, Accumulator]]] = {}
        for table in tables.values():
            for acc in table.spec.accumulators:
                if acc.window is not None and not acc.last:
                    self._windows.setdefault(acc.window.size, []).append((table, acc))

    def gone(self, before: int | None, clock: int | None) -> list[Gone]:
        """What left when the clock moved."""
        if before is None or clock is None or before == clock:
            return []
        found = [
            Gone(size, segment, segment.between(before - size, clock - size))
            for size in self._windows
            for segment in self._retained.segments
        ]
        return [gone for gone in found if gone.part.start < gone.part.stop]

    def slots(self, gone: Sequence[Gone]) -> dict[Grain, Ints]:
        """The slots, in each table with windows, of the rows that left."""
        left: dict[Grain, list[Ints]] = {}
        for each in gone:
            for grain in {table.spec.grain for table, _ in self._windows[each.size]}:
                left.setdefault(grain, []).append(each.segment.slots[grain][each.part].astype(np.int64))
        return {grain: np.concatenate(slots) for grain, slots in left.items()}

    def take_back(self, gone: Sequence[Gone], clock: int) -> None:
        """Takes the rows that left out of the tables; to be called before the chunk's rows are added."""
        for size in dict.fromkeys(each.size for each in gone):
            mine = [each for each in gone if each.size == size]
            fallen = {
                (table.spec.grain, acc.name): self._taken_back(table, acc, mine)
                for table, acc in self._windows[size]
                if acc.op != "distinct"
            }
            for table, acc in self._windows[size]:
                if acc.op == "distinct":
                    self._lower(table, acc, fallen[acc.child, acc.counter])
                elif acc.op in ("min", "max"):
                    self._bring_back(table, acc, fallen[table.spec.grain, acc.name], clock - size)

    def _taken_back(self, table: Table, acc: Accumulator, gone: Sequence[Gone]) -> Ints:
        found = []
        for each in gone:
            slots = each.segment.slots[table.spec.grain][each.part].astype(np.int64)
            found.append(table.take_back(acc, each.segment.rows.take(each.part), slots))
        return np.concatenate(found)

    def _lower(self, table: Table, acc: Accumulator, fallen: Ints) -> None:
        """Distinct values of which no row is left."""
        grain = table.spec.grain
        parents = fallen if acc.child == grain else self._tables[acc.child].up[grain][fallen]
        np.subtract.at(table.columns[acc.name], parents, 1)

    def _bring_back(self, table: Table, acc: Accumulator, lost: Ints, after: int) -> None:
        if not len(lost):
            return
        wanted = np.zeros(table.size, np.bool_)
        wanted[lost] = True
        for segment, part in self._retained.later(after):
            slots = segment.slots[table.spec.grain][part]
            at = np.flatnonzero(wanted[slots])
            table.bring_back(acc, segment.rows.take(part).take(at), slots[at].astype(np.int64))
