"""Spans: for each row that asks, a stretch of rows of its key, sorted by time; and what there is in the stretches.

A window before a row is made of a stretch in each segment of earlier chunks, and of those in its own chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Rows
from tillwatch.engine.filters import Filters
from tillwatch.engine.retained import Segment
from tillwatch.engine.table import INITIAL
from tillwatch.patterns.program import Accumulator, Grain

Ints = NDArray[np.int64]

PAIRS = 2_000_000
"""So many (row, row in its window) are looked at in one go where distinct values are counted."""


@dataclass(frozen=True, slots=True)
class Span:
    """For the rows `asking`, the rows order[start:stop] of `rows`. `made` keeps what does not depend on who asks."""

    rows: Rows
    order: Ints
    asking: Ints
    start: Ints
    stop: Ints
    made: dict[Any, Any]
    name: Any = None


def before_chunk(segment: Segment, grain: Grain, slots: Ints, time: Ints, size: int) -> Span | None:
    """The stretches in a segment of earlier chunks."""
    if not len(time) or segment.time[-1] <= time.min() - size or segment.time[0] > time.max():
        return None
    key, order = _by_slot(segment, grain)
    low, high = (np.searchsorted(segment.time, t, "right") for t in (time - size, time))
    slot = slots << 32
    start, stop = np.searchsorted(key, slot | low), np.searchsorted(key, slot | high)
    some = np.flatnonzero(stop > start)
    return Span(segment.rows, order, some, start[some], stop[some], segment.made, grain) if len(some) else None


def _by_slot(segment: Segment, grain: Grain) -> tuple[Ints, Ints]:
    """The rows by slot, then time: keys to search, and their places."""
    if ("by slot", grain) not in segment.made:
        order = np.argsort(segment.slots[grain], kind="stable")
        key = segment.slots[grain][order].astype(np.int64) << 32 | order
        segment.made["by slot", grain] = (key, order)
    found: tuple[Ints, Ints] = segment.made["by slot", grain]
    return found


def within_chunk(rows: Rows, slots: Ints, time: Ints, size: int | None) -> Iterator[Span]:
    """The stretches of the rows before each in its own chunk; all of them without a size."""
    order = np.argsort(slots, kind="stable")
    by_slot, place = slots[order], np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    everyone = np.arange(len(order))
    if size is None:
        yield Span(rows, order, everyone, np.searchsorted(by_slot, slots), place, {})
        return
    times = np.unique(time)
    rank, low = np.searchsorted(times, time), np.searchsorted(times, time - size, "right")
    key = by_slot << 32 | rank[order]
    if (key[1:] >= key[:-1]).all():  # no row is earlier than one of its key before it
        yield Span(rows, order, everyone, np.searchsorted(key, slots << 32 | low), place, {})
        return
    dense = np.unique(by_slot, return_inverse=True)[1]
    yield from _blocks(rows, dense[place], rank, low)


def _blocks(rows: Rows, slots: Ints, rank: Ints, low: Ints) -> Iterator[Span]:
    """For rows in any order of time: those before a row are the blocks, of sizes 1, 2, 4 …, that its number is made of.

    In each block rows are sorted by slot and time, so that a stretch is found by searching.
    """
    number = np.arange(len(slots))
    spread, depth = int(slots.max()) + 1, int(rank.max()) + 2
    for level in range(max(len(slots) - 1, 0).bit_length()):
        block = number >> level
        keys = (block * spread + slots) * depth + rank
        order = np.argsort(keys, kind="stable")
        key = keys[order]
        asking = np.flatnonzero(block & 1)
        left = ((block[asking] - 1) * spread + slots[asking]) * depth
        start, stop = np.searchsorted(key, left + low[asking]), np.searchsorted(key, left + rank[asking] + 1)
        yield Span(rows, order, asking, start, stop, {})


class Reducer:
    """Works out accumulators over spans."""

    def __init__(self, filters: Filters, length: int) -> None:
        self._filters, self._length = filters, length

    def reduced(self, acc: Accumulator, spans: Sequence[Span]) -> Ints:
        """The accumulator of the rows in the spans of each row."""
        if acc.op == "distinct":
            return self._distinct(acc, spans)
        if acc.op in ("min", "max"):
            return self._extreme(acc, spans)
        total = np.zeros(self._length, np.int64)
        for span in spans:
            if acc.op == "count" and acc.where is None:
                total[span.asking] += span.stop - span.start
            else:
                sums = self._sums(acc, span)
                total[span.asking] += sums[span.stop] - sums[span.start]  # exact also where the sums wrap around
        return total

    def _sums(self, acc: Accumulator, span: Span) -> Ints:
        key = ("sums", span.name, acc.op, acc.column, acc.where)
        if key not in span.made:
            values = self.brought(acc, span.rows)[span.order]
            span.made[key] = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
        found: Ints = span.made[key]
        return found

    def brought(self, acc: Accumulator, rows: Rows) -> Ints:
        """What each row brings to a count, a sum, a least or greatest value."""
        values = rows.measure(acc.op)
        values = np.ones(len(rows), np.int64) if values is None else values
        if acc.where is None:
            return values
        return np.where(self._filters.mask(acc.where, rows), values, INITIAL.get(acc.op, 0))

    def _extreme(self, acc: Accumulator, spans: Sequence[Span]) -> Ints:
        best = np.full(self._length, INITIAL[acc.op])
        choose = np.minimum if acc.op == "min" else np.maximum
        for span in spans:
            values = self.brought(acc, span.rows)[span.order]
            found = _extremes(choose, values, span.start, span.stop, INITIAL[acc.op])
            best[span.asking] = choose(best[span.asking], found)
        return best

    def _distinct(self, acc: Accumulator, spans: Sequence[Span]) -> Ints:
        """Row by row, as many at a time as have a bounded number of rows in their windows."""
        load = np.zeros(self._length, np.int64)
        for span in spans:
            load[span.asking] += span.stop - span.start
        batch = np.cumsum(load) // PAIRS
        total = np.zeros(self._length, np.int64)
        for number in np.unique(batch).tolist():
            found = [self._pairs(acc, span, batch[span.asking] == number) for span in spans]
            if found:
                total += np.bincount(np.unique(np.concatenate(found)) >> 32, minlength=self._length)
        return total

    def _pairs(self, acc: Accumulator, span: Span, mine: NDArray[np.bool_]) -> Ints:
        """The distinct (row that asks, value in its stretch) as one number each."""
        start, length = span.start[mine], (span.stop - span.start)[mine]
        ends = np.cumsum(length)
        at = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - length - start, length)
        rows, asking = span.order[at], np.repeat(span.asking[mine], length)
        if acc.where is not None:
            keep = self._filters.mask(acc.where, span.rows)[rows]
            rows, asking = rows[keep], asking[keep]
        assert acc.column is not None
        return np.unique(asking << 32 | span.rows.codes[acc.column][rows])


def _extremes(choose: Any, values: Ints, start: Ints, stop: Ints, empty: int) -> Ints:
    """The least or greatest of values[start:stop], for many stretches: those of the powers of two cover any."""
    best = np.full(len(start), empty)
    length = stop - start
    table, width = values, 1
    while len(length) and width <= length.max():
        now = (length >= width) & (length < 2 * width)
        best[now] = choose(table[start[now]], table[stop[now] - width])
        table, width = choose(table[:-width], table[width:]), 2 * width
    return best
