"""The state as all viewers see it: read by one thread, once, however many there are."""

from __future__ import annotations

import datetime
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from tillwatch.clock import iso
from tillwatch.config import masked
from tillwatch.errors import StateMissing, TillwatchError
from tillwatch.pipeline import Pipeline
from tillwatch.state import open_state
from tillwatch.state.activity import Activity
from tillwatch.state.base import Mechanism, State, Totals
from tillwatch.state.look import ChunkTimes, Flow, Pulse, Stage

HOUR = 3600
SPEED_SECONDS = 10.0
"""Rows a second are over this time."""

SHARE = 20
"""So many times what a reading took passes before the next one: at most this part of a machine's time goes into it."""

STILL_SECONDS = 10.0
"""What nothing tells of is looked at this often: files set aside, who is at work."""

MECHANISMS: tuple[Mechanism, ...] = ("ingest", "detect")
_NOTHING, _NO_ROWS = Pulse(0, 0, 0, 0, 0, 0, ""), Totals(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class AtWork:
    """Whether a mechanism is at work, seen at this moment, and what is known of its last run."""

    name: str
    alive: bool
    activity: Activity | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A pipeline as it was read. `version` is another one after every change; `problem` says why nothing can be read;
    `missing` that there is no state yet.

    `landed` and `processed` are the last hour, `speeds` rows a second in and out, None until two readings are known;
    `kinds` are (pattern, action, detections). `next_chunk` is the oldest that waits.
    """

    version: int = 0
    at: float = 0.0
    problem: str = ""
    missing: bool = False
    pulse: Pulse = _NOTHING
    totals: Totals = _NO_ROWS
    quarantined: Mapping[str, int] = field(default_factory=dict)
    kinds: tuple[tuple[str, str, int], ...] = ()
    at_work: tuple[AtWork, ...] = (AtWork("ingest", False), AtWork("detect", False))
    started_at: str | None = None
    last_landed: ChunkTimes | None = None
    last_processed: ChunkTimes | None = None
    next_chunk: ChunkTimes | None = None
    landed: tuple[Flow, ...] = ()
    processed: tuple[Flow, ...] = ()
    speeds: tuple[float, float] | None = None
    files_waiting: int = 0
    troubles: tuple[str, ...] = ()

    @property
    def lag(self) -> int:
        """Chunks that are landed and not processed."""
        return max(0, self.pulse.landed - self.pulse.cursor)

    @property
    def parts(self) -> dict[str, int]:
        """What pages show, by name, each with a number that is another one when it has changed."""
        return {"now": self.version, "detections": self.pulse.seq, "processed": self.pulse.cursor}

    @property
    def detections(self) -> int:
        """How many there are."""
        return sum(count for _, _, count in self.kinds)


class Watch:
    """Reads the state again and again in a thread of its own while it is open; `seen` is what it saw last."""

    def __init__(self, pipeline: Pipeline, every: float = 1.0, share: float = SHARE) -> None:
        self._pipeline, self._every, self._share = pipeline, every, share
        self._zone = ZoneInfo(pipeline.settings.detections.timezone)
        self._stop, self._ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tillwatch-dashboard", daemon=True)
        self._hearers: set[Callable[[], None]] = set()
        self._samples: deque[tuple[float, int, int]] = deque()
        self._first: dict[Stage, int] = {"landed": 0, "processed": 0}
        self._read_at = 0.0
        self.seen = Seen()

    def start(self) -> None:
        """Begins to read, and returns after the first reading."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Reads no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def hear(self, hearer: Callable[[], None]) -> Callable[[], None]:
        """Calls `hearer`, from the reading thread, after every change; what it returns ends that."""
        self._hearers.add(hearer)
        return lambda: self._hearers.discard(hearer)

    def _run(self) -> None:
        state: State | None = None
        while True:
            began = time.monotonic()
            state = self._look(state)
            self._ready.set()
            if self._stop.wait(max(self._every, self._share * (time.monotonic() - began))):
                break
        if state is not None:
            state.close()

    def _look(self, state: State | None) -> State | None:
        """Reads once; returns the connection to go on with, None to make a new one."""
        try:
            state = state or open_state(self._pipeline.settings.state, readonly=True)
            self._take(self._read(state))
        except Exception as error:  # noqa: BLE001 - told on the pages; without this thread they would stand still
            known = isinstance(error, TillwatchError)
            problem = masked(str(error) if known else f"a defect of tillwatch: {error!r}")
            missing = isinstance(error, StateMissing)
            self._take(replace(self.seen, at=time.time(), problem=problem, missing=missing, speeds=None))
            if state is not None:
                with suppress(TillwatchError):
                    state.close()
            return None
        return state

    def _take(self, seen: Seen) -> None:
        """Tells of it when it says something else than what is known."""
        before = self.seen
        is_news = replace(seen, version=before.version, at=before.at) != before
        self.seen = replace(seen, version=before.version + is_news)  # never what is new under the number of before
        if is_news:
            self.tell()

    def tell(self) -> None:
        """Tells all who hear that there is something new; for what others have worked out too."""
        for hearer in list(self._hearers):
            hearer()

    def _read(self, state: State) -> Seen:
        known, now = self.seen, time.monotonic()
        pulse = state.pulse()
        at_work = _at_work(state)
        still = pulse == known.pulse and not known.problem and at_work == known.at_work
        if still and now - self._read_at < STILL_SECONDS:
            return replace(known, at=time.time(), speeds=self._speeds(known.totals))
        self._read_at = now
        with state.snapshot():
            return self._whole(state, state.pulse(), at_work)

    def _whole(self, state: State, pulse: Pulse, at_work: tuple[AtWork, ...]) -> Seen:
        totals, known = state.totals(), self.seen
        if pulse.cursor < known.pulse.cursor or pulse.landed < known.pulse.landed:  # another state is there now
            self._first = {"landed": 0, "processed": 0}
            self._samples.clear()
        kinds = known.kinds if pulse.seq == known.pulse.seq and known.version else tuple(state.actions())
        chunks = {c.number: c for n in {pulse.cursor - 1, pulse.landed - 1} for c in state.chunk_times(n, n + 1)}
        return Seen(
            known.version,
            time.time(),
            "",
            False,
            pulse,
            totals,
            state.quarantined(),
            kinds,
            at_work,
            state.started_at(),
            chunks.get(pulse.landed - 1),
            chunks.get(pulse.cursor - 1),
            chunks.get(pulse.cursor),
            self._flow(state, "landed"),
            self._flow(state, "processed"),
            self._speeds(totals),
            len(state.unpublished()),
            tuple(masked(f"{f.file.name}: {f.problem}") for f in state.files() if f.problem)[-20:],
        )

    def _flow(self, state: State, stage: Stage) -> tuple[Flow, ...]:
        """The last hour. Chunks before it are not looked at again."""
        since = iso(datetime.datetime.fromtimestamp(time.time() - HOUR, self._zone))
        found = state.flow(stage, self._first[stage], since)
        if found:
            self._first[stage] = min(flow.first for flow in found)
        return tuple(found)

    def _speeds(self, totals: Totals) -> tuple[float, float] | None:
        """Rows a second in and out over the last seconds."""
        done = totals.counted + totals.quarantined + totals.filtered
        now = time.monotonic()
        self._samples.append((now, totals.rows, done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= SPEED_SECONDS:
            self._samples.popleft()
        then, landed, processed = self._samples[0]
        if now - then <= self._every / 2:
            return None
        return (totals.rows - landed) / (now - then), (done - processed) / (now - then)


def _at_work(state: State) -> tuple[AtWork, ...]:
    """Both mechanisms. When one that is at work was last heard of is no news."""
    known = {activity.mechanism: activity for activity in state.activities()}
    found = []
    for name in MECHANISMS:
        alive, activity = state.at_work(name), known.get(name)
        found.append(AtWork(name, alive, replace(activity, beat_at="") if alive and activity else activity))
    return tuple(found)
