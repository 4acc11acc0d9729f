"""The rows that windows still need, in segments sorted by time.

A segment is what one or more neighbouring chunks brought. Neighbours of like size are merged, so that there are few,
and each row is merged a few times only. Segments that no window reaches are let go as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Rows
from tillwatch.patterns.program import Grain

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows sorted by time, with their chunk and their slot in each table; codes, chunks and slots in 32 bits.

    `made` keeps what was worked out for the segment, which never changes.
    """

    rows: Rows
    time: Ints
    chunk: NDArray[np.int32]
    slots: Mapping[Grain, NDArray[np.int32]]
    made: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    def between(self, after: int, upto: int) -> slice:
        """The rows with after < time <= upto."""
        start, stop = np.searchsorted(self.time, [after, upto], "right").tolist()
        return slice(start, max(start, stop))

    def take(self, at: slice | Ints) -> Segment:
        """Some of the rows, in this order, which must be one by time."""
        rows = self.rows.take(at)
        return Segment(rows, self.time[at], self.chunk[at], {g: s[at] for g, s in self.slots.items()})


class Retained:
    """The rows of the last `keep` of time behind the clock. `columns` are the codes that are needed of a row."""

    def __init__(self, grains: Sequence[Grain], columns: Sequence[str], keep: int) -> None:
        self._grains, self._columns, self._keep = tuple(grains), tuple(columns), keep
        self._floor = -(2**63)
        self.segments: list[Segment] = []

    def add(self, chunk: int, rows: Rows, slots: Mapping[Grain, Ints], clock: int) -> None:
        """Adds the rows of the next chunk, as far as they are needed after it; the clock is that after the chunk."""
        self._floor = clock - self._keep
        self.segments = [s for s in self.segments if s.time[-1] > self._floor]
        assert rows.time is not None
        order = np.argsort(rows.time, kind="stable")
        order = order[np.searchsorted(rows.time[order], self._floor, "right") :]
        if not len(order):
            return
        codes: dict[str, Any] = {c: rows.codes[c][order].astype(np.int32) for c in self._columns}
        self.segments.append(
            Segment(
                Rows(codes, rows.amount[order]),
                rows.time[order],
                np.full(len(order), chunk, np.int32),
                {g: slots[g][order].astype(np.int32) for g in self._grains},
            )
        )
        while len(self.segments) > 1 and len(self.segments[-2]) < 2 * len(self.segments[-1]):
            last = self.segments.pop()
            self.segments[-1] = self._merged(self.segments[-1], last)

    def _merged(self, one: Segment, other: Segment) -> Segment:
        """The two as one; the rows of the first come first where times are equal."""
        both = Segment(
            Rows(
                {c: np.concatenate([one.rows.codes[c], other.rows.codes[c]]) for c in self._columns},
                np.concatenate([one.rows.amount, other.rows.amount]),
            ),
            np.concatenate([one.time, other.time]),
            np.concatenate([one.chunk, other.chunk]),
            {g: np.concatenate([one.slots[g], other.slots[g]]) for g in self._grains},
        )
        order = np.argsort(both.time, kind="stable")
        return both.take(order[np.searchsorted(both.time[order], self._floor, "right") :])

    def later(self, after: int) -> Iterator[tuple[Segment, slice]]:
        """The rows that are later than this time."""
        for segment in self.segments:
            start = int(np.searchsorted(segment.time, after, "right"))
            if start < len(segment):
                yield segment, slice(start, len(segment))

    @property
    def first(self) -> int | None:
        """The first chunk of which a row is needed, None when none is."""
        return min((int(s.chunk[part].min()) for s, part in self.later(self._floor)), default=None)
