"""Windows of the last transactions: for each key of a grain its last rows by event time, ties in stream order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Rows
from tillwatch.engine.spans import Reducer, Span
from tillwatch.engine.table import Table
from tillwatch.patterns.program import Accumulator

Ints = NDArray[np.int64]

_CHUNK = np.int64(0)


@dataclass(frozen=True, slots=True)
class Merged:
    """The rows held for some keys and those of a chunk, by slot, then time, then stream order.

    `unique` are the slots, whose rows are start:stop; `number` is a row's place in the chunk, -1 for one held.
    """

    rows: Rows
    unique: Ints
    start: Ints
    stop: Ints
    number: Ints

    def last(self, size: int) -> Span:
        """The last rows of each slot."""
        start = np.maximum(self.start, self.stop - size)
        return Span(self.rows, np.arange(len(self.rows)), np.arange(len(self.unique)), start, self.stop, {})

    def before(self, size: int) -> Iterator[Span]:
        """The last rows before each row of the chunk, of those that are not later."""
        run = np.repeat(np.arange(len(self.unique)), self.stop - self.start)
        latest = np.maximum.accumulate(run * (len(run) + 1) + self.number + 1)
        ahead = latest > run * (len(run) + 1) + self.number + 1  # a row behind it in the stream is before it in time
        at = np.flatnonzero((self.number >= 0) & ~ahead)
        start = np.maximum(self.start[run[at]], at - size)
        yield Span(self.rows, np.arange(len(run)), self.number[at], start, at, {})
        found = [
            self._before(row, int(self.start[run[row]]), size)
            for row in np.flatnonzero(ahead & (self.number >= 0)).tolist()
        ]
        if found:
            stop = np.cumsum([len(each) for each in found])
            asking = self.number[ahead & (self.number >= 0)]
            yield Span(self.rows, np.concatenate(found), asking, np.append(_CHUNK, stop[:-1]), stop, {})

    def _before(self, row: int, start: int, size: int) -> Ints:
        """The same for one row, where rows do not come in the order of time."""
        earlier = np.arange(start, row)
        found: Ints = earlier[self.number[start:row] < self.number[row]][-size:]
        return found


class Ring:
    """The last `size` rows of each slot of a table, in the order of time; `columns` are the codes needed of a row."""

    def __init__(self, size: int, columns: Sequence[str]) -> None:
        self._size, self._columns = size, tuple(columns)
        self._filled = np.zeros(0, np.int64)
        self._held: dict[str, NDArray[Any]] = {}

    def merged(self, rows: Rows, slots: Ints, length: int) -> Merged:
        """The rows of a chunk among those held for their slots; `length` is how many slots there are."""
        unique = np.unique(slots)
        filled, held = self.held(unique, length)
        assert rows.time is not None
        slot = np.concatenate([np.repeat(unique, filled), slots])
        came: dict[str, Ints] = {"time": rows.time, "amount": rows.amount, **{c: rows.codes[c] for c in self._columns}}
        values = {name: np.concatenate([held[name], x]) for name, x in came.items()}
        order = np.lexsort((values["time"], slot))
        number = np.concatenate([np.full(len(slot) - len(slots), -1), np.arange(len(slots))])[order]
        stop = np.searchsorted(slot[order], unique, "right")
        codes = {c: values[c][order] for c in self._columns}
        sorted_rows = Rows(codes, values["amount"][order], time=values["time"][order])
        return Merged(sorted_rows, unique, np.append(_CHUNK, stop[:-1]), stop, number)

    def keep(self, merged: Merged) -> None:
        """Keeps the last rows of each slot."""
        length = np.minimum(merged.stop - merged.start, self._size)
        at = np.repeat(merged.stop - length, length) + _counted(length)
        rows = merged.rows
        assert rows.time is not None
        values = {"time": rows.time, "amount": rows.amount, **rows.codes}
        self.put(merged.unique, length, {name: x[at] for name, x in values.items()})

    def held(self, slots: Ints, length: int) -> tuple[Ints, dict[str, NDArray[Any]]]:
        """How many rows each of these slots has, and their times, amounts and codes, slot by slot in order of time."""
        self._room(length)
        filled = self._filled[slots]
        inside = np.arange(self._size) < filled[:, None]
        return filled, {name: x[slots][inside] for name, x in self._held.items()}

    def put(self, slots: Ints, filled: Ints, values: Mapping[str, NDArray[Any]], length: int = 0) -> None:
        """Lets these slots have rows that `held` has given, and no others."""
        self._room(length)
        run, place = np.repeat(slots, filled), _counted(filled)
        for name, x in values.items():
            self._held[name][run, place] = x
        self._filled[slots] = filled

    def _room(self, length: int) -> None:
        if length <= len(self._filled):
            return
        more = max(1024, 2 * length) - len(self._filled)
        self._filled = np.concatenate([self._filled, np.zeros(more, np.int64)])
        for name in ("time", "amount", *self._columns):
            new = np.zeros((more, self._size), np.int64 if name in ("time", "amount") else np.int32)
            self._held[name] = np.concatenate([self._held[name], new]) if name in self._held else new


def _counted(lengths: Ints) -> Ints:
    """0, 1, 2 … for each of some runs of these lengths."""
    counted: Ints = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return counted


def settle(table: Table, accumulators: Sequence[Accumulator], merged: Merged, reducer: Reducer) -> None:
    """Works out the accumulators over the last rows of the keys that a chunk touched."""
    for acc in accumulators:
        assert acc.window is not None
        table.columns[acc.name][merged.unique] = reducer.reduced(acc, [merged.last(acc.window.size)])
