"""Late rows: those whose time is behind the clock of the stream by more than is allowed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Decoded, Reject
from tillwatch.patterns.windows import MICRO, Window

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lateness:
    """How far, in millionths, a row may be behind the clock before its chunk; `text` is how that was written.

    What is later is quarantined, or counts all the same in everything that it belongs to.
    """

    size: int = 0
    text: str = "0"
    quarantine: bool = False


@dataclass(frozen=True, slots=True)
class Late:
    """The rows of a chunk for which windows before them are unknown: those of time, and those of transactions.

    Rows are kept for as long as `lateness` says; of the last transactions no more are kept than the window has, so that
    behind the clock they are not known.
    """

    time: NDArray[np.bool_]
    transactions: NDArray[np.bool_]

    def of(self, window: Window) -> NDArray[np.bool_]:
        """Those of a window."""
        return self.transactions if window.kind == "transactions" else self.time


def late_rows(times: Ints | None, clock: int | None, lateness: Lateness) -> Bools | None:
    """Which rows of a chunk are to be quarantined as late, by the clock before it; None when none is."""
    if clock is None or times is None or not lateness.quarantine:
        return None
    late = times < clock - lateness.size
    return late if late.any() else None


def set_aside(decoded: Decoded, clock: int | None, lateness: Lateness, column: str) -> Decoded:
    """The chunk without its late rows, which are rejected, also those that would not count."""
    rows, passed, times = decoded.rows, decoded.passed, decoded.times
    late = late_rows(times, clock, lateness)
    if late is None or times is None or clock is None:
        return decoded
    places = np.delete(np.arange(len(times) + len(decoded.rejects)), [r.row for r in decoded.rejects])
    reason = f"time ({column}) is {{}} behind the latest of the chunks before, more than the {lateness.text} allowed"
    unit = MICRO
    found = [
        Reject(row, "late", reason.format(f"{(clock - time) / unit:,.12g}"))
        for row, time in zip(places[late].tolist(), times[late].tolist(), strict=True)
    ]
    rejects = sorted((*decoded.rejects, *found), key=lambda r: r.row)
    kept = replace(rows.take(~late if passed is None else ~late[passed]), source=rows.source)
    if passed is None:
        return Decoded(kept, tuple(rejects))
    return Decoded(kept, tuple(rejects), passed[~late], times[~late])
