"""Which slots belong to a group: an index kept only for the groups that were asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.table import Table
from tillwatch.patterns.program import Grain

Ints = NDArray[np.int64]


class Members:
    """The slots of `table` by their slot in the coarser grain `over`; those whose counter `present` is not 0."""

    def __init__(self, table: Table, over: Grain, present: str) -> None:
        self._table = table
        self._over = over
        self._present = present
        self._lists: dict[int, list[Ints]] = {}
        self._kept = np.zeros(0, np.bool_)

    def of(self, group: int) -> Ints:
        """The slots of a group, in the order in which they were first seen."""
        parts = self._lists.get(group)
        if parts is None:
            groups = self._table.up[self._over][: self._table.size]
            seen = self._table.columns[self._present][: self._table.size] > 0
            parts = self._lists[group] = [np.flatnonzero((groups == group) & seen)]
            self._keep(group)
        if len(parts) > 1:
            parts = self._lists[group] = [np.concatenate(parts)]
        return parts[0]

    def add(self, new: Ints) -> None:
        """Notes slots whose counter a chunk has raised above 0."""
        groups = self._table.up[self._over][new]
        inside = groups < len(self._kept)
        inside[inside] = self._kept[groups[inside]]
        new, groups = new[inside], groups[inside]
        order = np.argsort(groups, kind="stable")
        new, groups = new[order], groups[order]
        for group, start, stop in runs(groups):
            self._lists[group].append(new[start:stop])

    def _keep(self, group: int) -> None:
        if group >= len(self._kept):
            grown = np.zeros(max(64, 2 * group), np.bool_)
            grown[: len(self._kept)] = self._kept
            self._kept = grown
        self._kept[group] = True


def runs(sorted_groups: Ints) -> list[tuple[int, int, int]]:
    """Stretches of equal values: (value, start, stop).

    >>> runs(np.array([3, 3, 5]))
    [(3, 0, 2), (5, 2, 3)]
    """
    if not len(sorted_groups):
        return []
    starts = np.flatnonzero(np.concatenate([[True], sorted_groups[1:] != sorted_groups[:-1]]))
    stops = np.append(starts[1:], len(sorted_groups))
    return list(zip(sorted_groups[starts].tolist(), starts.tolist(), stops.tolist(), strict=True))
