"""Progress of run, ingest and detect on stderr: live on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from tillwatch.cli.outcome import tell
from tillwatch.cli.words import by_pattern, many, rate
from tillwatch.errors import StateError
from tillwatch.pipeline import Event, Landed, Notice, Pipeline, Processed

TICK_SECONDS = 0.1
LINE_SECONDS = 5.0
PROBE_SECONDS = 1.0
SPEED_SECONDS = 3.0

Notices = deque[str]


class Counts:
    """What a run has done so far. It is the pipeline's observer, called from two threads: it only counts.

    Every number is written by one thread alone. `landed_to` and `processed_to` are the numbers of the next chunk.
    """

    def __init__(self, patterns: Iterable[str], notices: Notices) -> None:
        self.notices = notices
        self.landed_chunks = self.landed_rows = self.landed_to = 0
        self.processed_chunks = self.processed_rows = self.processed_to = self.quarantined = self.filtered = 0
        self.detections = dict.fromkeys(patterns, 0)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Landed):
            self.landed_chunks += 1
            self.landed_rows += event.rows
            self.landed_to = event.chunk + 1
        elif isinstance(event, Processed):
            self.processed_chunks += event.last - event.first + 1
            self.processed_rows += event.counted + event.quarantined + event.filtered
            self.processed_to = event.last + 1
            self.quarantined += event.quarantined
            self.filtered += event.filtered
            for pattern, count in event.detections.items():
                self.detections[pattern] = self.detections.get(pattern, 0) + count
        elif isinstance(event, Notice):
            self.notices.append(event.text)


class Speed:
    """Rows per second over the last few seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def at(self, now: float, rows: int) -> str:
        """Notes how many rows there are now; the speed in words."""
        self._samples.append((now, rows))
        while len(self._samples) > 2 and self._samples[1][0] <= now - SPEED_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        return rate(rows - before, now - since)


class Report:
    """What a display shows of a run: which halves of it, since when, how far behind."""

    def __init__(self, title: str, pipeline: Pipeline, counts: Counts, *, lands: bool, detects: bool) -> None:
        self.title, self.counts = title, counts
        self.lands, self.detects = lands, detects
        self._pipeline = pipeline
        self.began = self.now()
        self._probed, self._probed_at = (0, 0), self.began - PROBE_SECONDS

    def now(self) -> float:
        """Seconds that never go back, by the pipeline's clock."""
        return self._pipeline.clock.monotonic()

    @property
    def rows(self) -> int:
        """The rows by which its speed is told."""
        return self.counts.processed_rows if self.detects else self.counts.landed_rows

    def behind(self) -> int:
        """Chunks landed and not processed; what other processes land is seen once a second."""
        now = self.now()
        if now - self._probed_at >= PROBE_SECONDS:
            self._probed, self._probed_at = _in_state(self._pipeline), now
        landed, processed = self._probed
        return max(0, max(landed, self.counts.landed_to) - max(processed, self.counts.processed_to))

    def text(self, tail: str) -> str:
        """One line of what was done so far."""
        counts, parts = self.counts, []
        if self.lands:
            parts.append(f"landed {many(counts.landed_chunks, 'chunk')}, {many(counts.landed_rows, 'row')}")
        if self.lands and self.detects:
            parts.append(f"processed {counts.processed_chunks:,}")
        elif self.detects:
            parts.append(f"processed {many(counts.processed_chunks, 'chunk')}, {many(counts.processed_rows, 'row')}")
        if self.detects:
            parts += [by_pattern(counts.detections), f"{counts.quarantined:,} quarantined"]
            parts += [f"{counts.filtered:,} filtered"] if counts.filtered else []
        return "; ".join([*parts, tail])


def _in_state(pipeline: Pipeline) -> tuple[int, int]:
    """Chunks landed and processed, as the state has them."""
    try:
        with pipeline.opened(readonly=True) as state:
            return state.landed(), state.cursor().chunk
    except StateError:  # there is none yet, or it is out of order, and then the mechanism itself says so
        return 0, 0


class Display(Protocol):
    """Where a report is shown. All calls come from one thread at a time."""

    def tick(self) -> None:
        """Shows what is new; called ten times a second."""
        ...

    def close(self) -> None:
        """Shows the notices that are left, and lets go of the terminal."""
        ...


class Lines:
    """A plain line every five seconds in which something was done."""

    def __init__(self, report: Report) -> None:
        self._report, self._speed = report, Speed()
        self._next, self._told = report.began + LINE_SECONDS, ""
        self._speed.at(report.began, 0)

    def tick(self) -> None:
        self._tell_notices()
        now = self._report.now()
        if now < self._next:
            return
        self._next = now + LINE_SECONDS
        done = self._report.text("")
        if done != self._told:
            self._told = done
            tell(self._report.text(self._tail(now)))

    def _tail(self, now: float) -> str:
        speed = self._speed.at(now, self._report.rows)
        behind = self._report.behind() if self._report.detects else 0
        return f"{many(behind, 'chunk')} behind; {speed}" if behind else speed

    def close(self) -> None:
        self._tell_notices()

    def _tell_notices(self) -> None:
        while self._report.counts.notices:
            tell(self._report.counts.notices.popleft())


def display_for(report: Report) -> Display:
    """A live display on a terminal that can show one, else plain lines."""
    if not sys.stderr.isatty():
        return Lines(report)
    from rich.console import Console

    from tillwatch.cli.live import LiveDisplay

    console = Console(stderr=True)
    return Lines(report) if console.is_dumb_terminal else LiveDisplay(report, console)


@contextmanager
def shown(display: Display, on_failure: Callable[[], None]) -> Iterator[None]:
    """Keeps a display up to date. When it fails, as when nobody reads stderr any more, `on_failure` is called
    and the error is raised at the end."""
    over, errors = threading.Event(), list[Exception]()

    def ticking() -> None:
        try:
            while not over.wait(TICK_SECONDS):
                display.tick()
            display.close()
        except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
            errors.append(error)
            on_failure()

    thread = threading.Thread(target=ticking, name="tillwatch-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]
