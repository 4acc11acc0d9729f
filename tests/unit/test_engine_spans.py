"""Windows before a row, by brute force: which rows are in the stretches that are found, in any order of time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.engine.decode import Rows
from tillwatch.engine.retained import Retained
from tillwatch.engine.rings import Ring
from tillwatch.engine.spans import Span, before_chunk, within_chunk

GRAIN = ("customer",)
Came = list[tuple[int, int]]
"""Slots and times."""

streams = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=20), min_size=1, max_size=6
)


def rows_of(chunk: Came, first: int) -> tuple[Rows, np.ndarray]:
    """Rows whose amounts number them over the whole stream, and their slots."""
    slots, times = (np.array(values, np.int64) for values in zip(*chunk, strict=True))
    return Rows({}, np.arange(first, first + len(chunk)), time=times), slots


def found(spans: Iterable[Span], length: int) -> list[list[int]]:
    """The numbers of the rows in the stretches of each row, in order."""
    each: list[list[int]] = [[] for _ in range(length)]
    for span in spans:
        for asking, start, stop in zip(span.asking, span.start, span.stop, strict=True):
            each[asking] += span.rows.amount[span.order[start:stop]].tolist()
    return [sorted(numbers) for numbers in each]


@settings(max_examples=300, deadline=None)
@given(streams, st.integers(1, 14), st.integers(0, 3))
def test_windows_of_time_have_the_rows_before(chunks: list[Came], size: int, lateness: int) -> None:
    """Those of the key, earlier in the stream, not later in time, and not behind the row by the size of the window."""
    retained = Retained([GRAIN], [], size + lateness)
    came: list[tuple[int, int]] = []
    clock = -1
    for number, chunk in enumerate(chunks):
        rows, slots = rows_of(chunk, len(came))
        assert rows.time is not None
        spans = [*within_chunk(rows, slots, rows.time, size)]
        spans += [s for seg in retained.segments if (s := before_chunk(seg, GRAIN, slots, rows.time, size))]
        got = found(spans, len(chunk))
        for place, (slot, time) in enumerate(chunk):
            earlier = [*came, *chunk[:place]]
            inside = [n for n, (k, t) in enumerate(earlier) if k == slot and time - size < t <= time]
            assert time < clock - lateness or got[place] == inside
        came += chunk
        clock = max(clock, *(t for _, t in chunk))
        retained.add(number, rows, {GRAIN: slots}, clock)
    needed = [n for n, chunk in enumerate(chunks) if any(t > clock - size - lateness for _, t in chunk)]
    assert retained.first == min(needed, default=None)


@settings(max_examples=300, deadline=None)
@given(streams, st.integers(1, 6), st.integers(0, 4))
def test_windows_of_transactions_have_the_last_rows_before(chunks: list[Came], size: int, more: int) -> None:
    """By time, then in the order of the stream; of rows that are not behind the clock. A longer ring serves as well."""
    ring = Ring(size + more, [])
    came: list[tuple[int, int]] = []
    clock = -1
    for chunk in chunks:
        rows, slots = rows_of(chunk, len(came))
        merged = ring.merged(rows, slots, 3)
        got = found(merged.before(size), len(chunk))
        for place, (slot, time) in enumerate(chunk):
            earlier = [(t, n) for n, (k, t) in enumerate([*came, *chunk[:place]]) if k == slot and t <= time]
            assert time < clock or got[place] == sorted(n for _, n in sorted(earlier)[-size:])
        came += chunk
        clock = max(clock, *(t for _, t in chunk))
        ring.keep(merged)
        last = {}
        for slot in {k for k, _ in chunk}:
            last[slot] = sorted(n for _, n in sorted((t, n) for n, (k, t) in enumerate(came) if k == slot)[-size:])
        got = found([merged.last(size)], len(merged.unique))
        assert {int(slot): got[at] for at, slot in enumerate(merged.unique)} == last
