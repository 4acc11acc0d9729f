"""Late rows: those whose time is behind the clock of the stream by more than is allowed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Decoded, Reject
from tillwatch.patterns.windows import MICRO, Window


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


def set_aside(decoded: Decoded, clock: int | None, lateness: Lateness, column: str) -> Decoded:
    """The chunk without its late rows, which are rejected."""
    rows = decoded.rows
    if clock is None or rows.time is None or not lateness.quarantine:
        return decoded
    late = rows.time < clock - lateness.size
    if not late.any():
        return decoded
    total = len(rows) + len(decoded.rejects)
    places = np.delete(np.arange(total), [r.row for r in decoded.rejects])
    reason = f"time ({column}) is {{}} behind the latest of the chunks before, more than the {lateness.text} allowed"
    unit = MICRO
    found = [
        Reject(row, "late", reason.format(f"{(clock - time) / unit:,.12g}"))
        for row, time in zip(places[late].tolist(), rows.time[late].tolist(), strict=True)
    ]
    rejects = sorted((*decoded.rejects, *found), key=lambda r: r.row)
    return Decoded(replace(rows.take(~late), source=rows.source), tuple(rejects))
