"""How a key came to its detection: its transactions by chunk, counted again in the landing zone."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tillwatch.dashboard.site import Site
from tillwatch.engine.decode import Decoded
from tillwatch.errors import RunError
from tillwatch.history.reading import check_whole
from tillwatch.history.refold import Refold, alone
from tillwatch.retry import Retry
from tillwatch.state.base import StoredDetection

SECONDS = 30.0
"""For which the landing zone is read; what is later than that is left out, and the page says so."""

PATIENCE = 5.0
_ONE_AT_A_TIME = threading.Lock()


@dataclass(slots=True)
class PerChunk(Refold):
    """Counts the valid rows of the key by chunk. No detections are looked for."""

    counts: dict[int, int] = field(init=False, default_factory=dict)

    def _note(self, number: int, decoded: Decoded) -> None:
        count = int(self._mine(decoded).sum())
        if count:
            self.counts[number] = count


@dataclass(frozen=True, slots=True)
class Course:
    """Transactions of the key by chunk, of the chunks before `until`; `chunks` are processed in all."""

    counts: Mapping[int, int]
    until: int
    chunks: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    def chart(self, detected: int) -> dict[str, Any]:
        """How they add up, and where it was detected."""
        x, y, sum_ = [0], [0], 0
        for number, count in sorted(self.counts.items()):
            sum_ += count
            x.append(number)
            y.append(sum_)
        if x[-1] < self.until - 1:
            x.append(self.until - 1)
            y.append(sum_)
        return {
            "kind": "number",
            "x": x,
            "series": [{"name": "transactions so far", "color": "one", "look": "steps", "values": y}],
            "marks": [{"x": detected, "name": f"detected after chunk {detected:,}", "color": "bad"}],
        }


class _Enough(Exception):
    """The time for reading is over."""


def course(site: Site, stored: StoredDetection) -> Course:
    """Reads the landing zone for the detection's key. Raises TillwatchError when that cannot be done now."""
    if not _ONE_AT_A_TIME.acquire(timeout=PATIENCE):
        raise RunError("another history is being worked out just now; try again in a moment")
    try:
        return _read(site, stored)
    finally:
        _ONE_AT_A_TIME.release()


def _read(site: Site, stored: StoredDetection) -> Course:
    pipeline, detection = site.pipeline, stored.detection
    retry = Retry(pipeline.clock, threading.Event(), lambda _: None, PATIENCE)
    pipeline.read_setup(retry)
    with pipeline.opened(readonly=True) as state, state.snapshot():
        setup, chunks = pipeline.history(state).at(detection.chunk), state.cursor().chunk
    check_whole(pipeline.landing)
    again = PerChunk(alone(setup, detection.pattern), detection.key)
    began, until = time.monotonic(), 0

    def on_progress(done: int, total: int) -> None:
        nonlocal until
        until = done
        if time.monotonic() - began > SECONDS and done < total:
            raise _Enough

    with suppress(_Enough):
        again.read(pipeline.landing, chunks - 1, retry, on_progress)
    return Course(again.counts, until, chunks)
