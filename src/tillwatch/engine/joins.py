"""Lookups joined to tables: which version is in force, and what that gives to every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.lookup import Lookup, LookupIndex
from tillwatch.engine.table import Table
from tillwatch.patterns.program import Grain

Ints = NDArray[np.int64]

Changes = Mapping[str, Mapping[Grain, Ints]]
"""By lookup and grain: the slots whose value is another one now."""


class Joins:
    """The versions of all lookups over the tables of a fold. A version is read when its chunk comes."""

    def __init__(
        self, lookups: Sequence[Lookup], tables: Mapping[Grain, Table], dictionaries: Mapping[str, Dictionary]
    ) -> None:
        self._tables, self._dictionaries = tables, dictionaries
        self.later: list[Lookup] = []  # in the order in which they come into force
        self._indexes: dict[str, LookupIndex] = {}
        self.expect(lookups)

    def expect(self, versions: Iterable[Lookup]) -> None:
        """Takes versions that come into force later."""
        self.later = sorted([*self.later, *versions], key=lambda version: version.first)

    def move(self, chunk: int) -> Changes:
        """Brings those into force that are so at a chunk, and gives every key its value of them."""
        if not self.later or self.later[0].first > chunk:
            return {}
        due = {v.spec.name: v for v in self.later if v.first <= chunk}  # of each lookup the last
        self.later = [v for v in self.later if v.first > chunk]
        changes: dict[str, dict[Grain, Ints]] = {}
        for name, version in due.items():
            self._indexes[name] = index = LookupIndex(version, self._dictionaries)
            found = {grain: _joined(table, index) for grain, table in self._tables.items() if name in table.lookups}
            changes[name] = {grain: slots for grain, slots in found.items() if len(slots)}
        return {name: by_grain for name, by_grain in changes.items() if by_grain}

    def settle(self, table: Table, new: Ints, codes: Mapping[str, Ints]) -> None:
        """Gives new slots, of keys with these codes, their values."""
        for name, index in self._indexes.items():
            if name in table.lookups:
                joined = table.lookups[name]
                joined.value[new], joined.known[new] = index.find(codes)


def _joined(table: Table, index: LookupIndex) -> Ints:
    """Gives all slots with rows their values; returns those for which that is another one."""
    joined = table.lookups[index.spec.name]
    joined.value = joined.value.astype(index.dtype, copy=False)
    slots = np.flatnonzero(table.transactions[: table.size] > 0)
    value, known = index.find({key: column[slots] for key, column in table.keys.items()})
    other = (known != joined.known[slots]) | (known & (value != joined.value[slots]))
    joined.value[slots], joined.known[slots] = value, known
    changed: Ints = slots[other]
    return changed
