"""A table of running values: one slot per key of a grain, one integer column per accumulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Rows
from tillwatch.engine.filters import Filters
from tillwatch.engine.slots import KeySlots
from tillwatch.errors import RunError
from tillwatch.patterns.program import Accumulator, Grain, TableSpec

Ints = NDArray[np.int64]

SUM_LIMIT = 2**62
INITIAL = {"min": np.iinfo(np.int64).max, "max": np.iinfo(np.int64).min}


@dataclass(frozen=True, slots=True)
class Touch:
    """What a chunk touches of a table: the slot of every row, the distinct slots, and which are new."""

    slots: Ints
    unique: Ints
    new: Ints

    def also(self, slots: Ints) -> Touch:
        """The same with slots that rows have left."""
        return Touch(self.slots, np.union1d(self.unique, slots), self.new)


@dataclass(slots=True)
class Joined:
    """A lookup's value per slot, and whether it is known."""

    value: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.float64))
    known: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))


class Table:
    """The running values of one grain. `columns` hold one value per slot, in int64."""

    def __init__(self, spec: TableSpec, parents: tuple[Grain, ...], filters: Filters) -> None:
        self.spec = spec
        self.size = 0
        self.columns: dict[str, Ints] = {a.name: np.zeros(0, np.int64) for a in spec.accumulators}
        self.keys: dict[str, Ints] = {k: np.zeros(0, np.int64) for k in spec.grain}
        self.up: dict[Grain, Ints] = {g: np.zeros(0, np.int64) for g in parents}
        self.lookups: dict[str, Joined] = {name: Joined() for name in spec.lookups}
        self._stamp = np.zeros(0, np.int64)
        self._slots = KeySlots(spec.grain)
        self._filters = filters

    @property
    def transactions(self) -> Ints:
        """Rows per slot; 0 for a slot that no row has come for."""
        return self.columns["transactions"]

    def slots_of(self, codes: Mapping[str, Ints], length: int) -> Ints:
        """The slot of each of `length` keys, given the codes of its columns; new keys get new slots."""
        slots = self._slots.add(codes, length)
        self._grow(self._slots.size)
        return slots

    def locate(self, rows: Rows) -> Touch:
        """Slots for the rows of a chunk; keys of new ones are noted."""
        slots = self.slots_of(rows.codes, len(rows))
        order = np.arange(len(slots))
        self._stamp[slots] = order
        last = np.flatnonzero(self._stamp[slots] == order)
        unique = slots[last]
        fresh = self.transactions[unique] == 0
        new = unique[fresh]
        for column in self.spec.grain:
            self.keys[column][new] = rows.codes[column][last[fresh]]
        return Touch(slots, unique, new)

    def add(self, rows: Rows, touch: Touch, clock: int | None = None) -> dict[str, Ints]:
        """Adds the rows; of windows only those that are not behind the clock by more than their size.

        Returns, by count accumulator, the slots that rose above zero.
        """
        risen: dict[str, Ints] = {}
        for acc in self.spec.accumulators:
            if acc.op == "distinct" or acc.last:
                continue
            column = self.columns[acc.name]
            before = column[touch.unique] == 0 if acc.op == "count" else None
            slots, values = self._counting(acc, rows, touch.slots, clock)
            scatter(acc, column, slots, values)
            if before is not None:
                risen[acc.name] = touch.unique[before & (column[touch.unique] > 0)]
            elif acc.op not in ("min", "max") and values is not None:
                self._check_sums(acc, touch.unique, values)
        return risen

    def take_back(self, acc: Accumulator, rows: Rows, slots: Ints) -> Ints:
        """Takes back rows that have left the accumulator's window.

        Returns of a count the slots that fell to zero; of a least or greatest value those that lost it.
        """
        slots, values = self._counting(acc, rows, slots, None)
        column = self.columns[acc.name]
        if acc.op in ("min", "max"):
            lost: Ints = slots[values == column[slots]]
            column[lost] = INITIAL[acc.op]
            return lost
        np.subtract.at(column, slots, 1 if values is None else values)
        return np.unique(slots[column[slots] == 0]) if acc.op == "count" else slots[:0]

    def bring_back(self, acc: Accumulator, rows: Rows, slots: Ints) -> None:
        """Works out least or greatest values again of the rows that are still there."""
        scatter(acc, self.columns[acc.name], *self._counting(acc, rows, slots, None))

    def _counting(self, acc: Accumulator, rows: Rows, slots: Ints, clock: int | None) -> tuple[Ints, Ints | None]:
        """The slots of the rows that count, and what each brings."""
        values = rows.measure(acc.op)
        if acc.window is not None and clock is not None:
            assert rows.time is not None
            mask = rows.time > clock - acc.window.size
            mask &= True if acc.where is None else self._filters.mask(acc.where, rows)
        elif acc.where is not None:
            mask = self._filters.mask(acc.where, rows)
        else:
            return slots, values
        return slots[mask], None if values is None else values[mask]

    def _check_sums(self, acc: Accumulator, slots: Ints, amounts: Ints) -> None:
        """Sums stay exact: before one could leave 64 bits the run stops, and nothing of the chunk is kept."""
        big = float(np.abs(amounts).sum(dtype=np.float64)) >= SUM_LIMIT
        if big or (len(slots) and int(np.abs(self.columns[acc.name][slots]).max()) >= SUM_LIMIT):
            raise RunError(
                f"{acc.name} per {self.spec.name} would pass {SUM_LIMIT} (scaled): the amounts are too large to be "
                "summed exactly. Set fewer amounts.digits, or check the source."
            )

    def make_room(self) -> None:
        """Grows now what would have to before long; cheap when there is room."""
        self._slots.make_room()
        if 4 * self.size > 3 * len(self._stamp):
            self._resize(2 * self.size)

    def _grow(self, size: int) -> None:
        self.size = max(self.size, size)
        room = len(self._stamp)
        if size > room:
            self._resize(max(1024, size, 2 * room))

    def _resize(self, room: int) -> None:
        more = room - len(self._stamp)
        self._stamp = _extend(self._stamp, more, 0)
        for acc in self.spec.accumulators:
            self.columns[acc.name] = _extend(self.columns[acc.name], more, INITIAL.get(acc.op, 0))
        for key in self.keys:
            self.keys[key] = _extend(self.keys[key], more, 0)
        for grain in self.up:
            self.up[grain] = _extend(self.up[grain], more, 0)
        for joined in self.lookups.values():
            joined.value = np.concatenate([joined.value, np.zeros(more, joined.value.dtype)])
            joined.known = np.concatenate([joined.known, np.zeros(more, np.bool_)])


def scatter(acc: Accumulator, column: Ints, slots: Ints, values: Ints | None) -> None:
    """Brings values of rows to their slots."""
    if values is None:
        np.add.at(column, slots, 1)
        return
    match acc.op:
        case "min":
            np.minimum.at(column, slots, values)
        case "max":
            np.maximum.at(column, slots, values)
        case _:
            np.add.at(column, slots, values)


def _extend(array: Ints, more: int, fill: int) -> Ints:
    return np.concatenate([array, np.full(more, fill, np.int64)])
