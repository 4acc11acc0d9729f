"""What a condition reads of groups of a coarser grain, and which groups changed in that respect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.values import Vector

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Item = Callable[[Ints], NDArray[Any]]
"""One value per group."""


@dataclass(slots=True)
class Scope:
    """A group's signature: whether its gates are open, and the value of each item while they are.

    A gate is a clause on the group alone that must be true; behind a closed gate nothing holds, so the items,
    which may cost more, are not worked out.
    """

    gates: list[Item] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    always: bool = False
    _last: list[NDArray[Any]] = field(default_factory=list)
    _open: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    _known: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))

    def changed(self, groups: Ints) -> tuple[Ints, Ints]:
        """Of the touched groups: those open with a new signature, and those that closed.

        A group not seen before counts as changed either way.
        """
        self._room(int(groups.max()) + 1 if len(groups) else 0)
        opened = np.ones(len(groups), np.bool_)
        for gate in self.gates:
            opened &= gate(groups) == 1
        fresh, was_open = ~self._known[groups], self._open[groups]
        self._known[groups], self._open[groups] = True, opened
        moved = fresh | ~was_open | self.always
        inside = groups[opened]
        for number, item in enumerate(self.items):
            moved[opened] |= self._replace(number, inside, item(inside))
        return groups[opened & moved], groups[~opened & (fresh | was_open)]

    def _replace(self, number: int, groups: Ints, value: NDArray[Any]) -> Bools:
        if len(self._last) == number:
            self._last.append(np.zeros(len(self._known), value.dtype))
        last = self._last[number]
        different: Bools = last[groups] != value
        last[groups] = value
        return different

    def _room(self, size: int) -> None:
        if size <= len(self._known):
            return
        more = max(64, 2 * size) - len(self._known)
        self._open = np.concatenate([self._open, np.zeros(more, np.bool_)])
        self._known = np.concatenate([self._known, np.zeros(more, np.bool_)])
        self._last = [np.concatenate([a, np.zeros(more, a.dtype)]) for a in self._last]


def summary(vector: Vector) -> NDArray[Any]:
    """A vector as one array that is equal exactly when values and nulls are; a condition is 1 where true."""
    if vector.kind == "bool":
        data = vector.data.astype(np.int8)
        return data if vector.null is None else np.where(vector.null, np.int8(2), data)
    least = -np.inf if vector.kind == "float" else np.iinfo(np.int64).min
    return vector.data if vector.null is None else np.where(vector.null, least, vector.data)
