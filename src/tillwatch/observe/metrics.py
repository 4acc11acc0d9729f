"""A run in numbers, for Prometheus: what its events add up to, and where the pipeline stands by its state."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from tillwatch import events
from tillwatch.errors import TillwatchError
from tillwatch.events import Event
from tillwatch.state.base import State

MOST_LABELS = 200
"""Values of a label that are told apart; whatever comes after them is `other`."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STATE_SECONDS = 2.0
"""How old what is read of the state may be when it is asked for again."""

STATUSES = ("done", "refused", "changed", "broken", "duplicate", "ignored")
"""What may become of a source file."""

_HELP = {
    "build_info": "The version that is at work.",
    "up": "1 while the mechanism is at work in this process, else 0.",
    "run_started_timestamp_seconds": "When the run of the mechanism began.",
    "chunks_landed_total": "Chunks landed by this run.",
    "rows_landed_total": "Rows landed by this run.",
    "bytes_landed_total": "Bytes of the chunks landed by this run, where they are known.",
    "land_seconds": "Time to land a chunk.",
    "source_files_total": "Source files by what became of them.",
    "chunks_processed_total": "Chunks processed by this run.",
    "rows_processed_total": "Rows processed by this run, by what became of them: counted, quarantined, filtered.",
    "rows_quarantined_total": "Rows quarantined by this run, by reason.",
    "detections_total": "Detections of this run, by pattern; without those in the shadow.",
    "fold_seconds": "Time to decode and fold the chunks of a commit.",
    "commit_seconds": "Time of a commit.",
    "files_published_total": "Files published by this run, by stream.",
    "rows_published_total": "Rows of the files published by this run, by stream.",
    "publish_seconds": "Time to publish a file, by stream.",
    "rows_delivered_total": "Detections delivered by this run, by output.",
    "retries_total": "What failed and is tried again, by place.",
    "retrying": "1 while a place is tried again, 0 once it has worked.",
    "edits_total": "Edits of patterns, taken or refused.",
    "last_landed_timestamp_seconds": "When this run last landed a chunk.",
    "last_processed_timestamp_seconds": "When this run last processed a chunk.",
}

_STATE_HELP = {
    "state_readable": "1 when the state could be read just now, else 0.",
    "landed_chunks": "Chunks of the pipeline that are landed, by its state.",
    "processed_chunks": "Chunks of the pipeline that are processed, by its state.",
    "lag_chunks": "Chunks that are landed and not processed.",
    "lag_seconds": "How long the first chunk that waits has been landed; 0 when none waits.",
    "state_bytes": "Size of the state.",
}


NAMES = frozenset((*_HELP, *_STATE_HELP))
"""All metrics, without `tillwatch_` before them."""


class Metrics:
    """An observer that counts, in a registry of its own. `patterns` are there from the beginning, as 0.

    A counter that is not there before it is 1 has never increased, for Prometheus: so labels that are known begin at 0.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[State]], patterns: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._known: dict[str, set[str]] = {}
        self._lock = Lock()
        self._build = self._gauge("build_info", "version", "python")
        self._build.labels(version("tillwatch"), platform.python_version()).set(1)
        self._up = self._gauge("up", "mechanism")
        self._began = self._gauge("run_started_timestamp_seconds", "mechanism")
        self._make_of_ingest()
        self._make_of_detect()
        self._retries, self._retrying = self._counter("retries_total", "place"), self._gauge("retrying", "place")
        self.registry.register(_StateCollector(opened))
        self._begin_at_zero(patterns)

    def _make_of_ingest(self) -> None:
        self._landed = self._counter("chunks_landed_total")
        self._landed_rows = self._counter("rows_landed_total")
        self._landed_bytes = self._counter("bytes_landed_total")
        self._landed_at = self._gauge("last_landed_timestamp_seconds")
        self._landing = self._histogram("land_seconds")
        self._files = self._counter("source_files_total", "status")

    def _make_of_detect(self) -> None:
        self._processed = self._counter("chunks_processed_total")
        self._processed_rows = self._counter("rows_processed_total", "outcome")
        self._processed_at = self._gauge("last_processed_timestamp_seconds")
        self._quarantined = self._counter("rows_quarantined_total", "reason")
        self._detections = self._counter("detections_total", "pattern")
        self._folding, self._committing = self._histogram("fold_seconds"), self._histogram("commit_seconds")
        self._published = self._counter("files_published_total", "stream")
        self._published_rows = self._counter("rows_published_total", "stream")
        self._publishing = self._histogram("publish_seconds", "stream")
        self._delivered = self._counter("rows_delivered_total", "output")
        self._edits = self._counter("edits_total", "outcome")

    def _begin_at_zero(self, patterns: Iterable[str]) -> None:
        for status in STATUSES:
            self._files.labels(status)
        for outcome in ("counted", "quarantined", "filtered"):
            self._processed_rows.labels(outcome)
        for outcome in ("taken", "refused"):
            self._edits.labels(outcome)
        for pattern in patterns:
            self._detections.labels(self._label("pattern", pattern))

    def __call__(self, event: Event) -> None:
        match event:
            case events.Landed():
                self._count_landed(event)
            case events.Processed():
                self._count_processed(event)
            case events.Published():
                self._published.labels(event.stream).inc()
                self._published_rows.labels(event.stream).inc(event.rows)
                self._publishing.labels(event.stream).observe(event.seconds)
            case events.Delivered():
                self._delivered.labels(self._label("output", event.output)).inc(event.last - event.first + 1)
            case events.RunBegan(mechanism=mechanism):
                self._up.labels(mechanism).set(1)
                self._began.labels(mechanism).set(time.time())
            case events.RunEnded(mechanism=mechanism):
                self._up.labels(mechanism).set(0)
            case _:
                self._count_notice(event)

    def _count_notice(self, event: Event) -> None:
        match event:
            case events.Retried(place=place):
                self._retries.labels(self._label("place", place)).inc()
                self._retrying.labels(self._label("place", place)).set(1)
            case events.Recovered(place=place):
                self._retrying.labels(self._label("place", place)).set(0)
            case events.FileFinished():
                self._files.labels("done").inc()
            case events.FileProblem(status=status):
                self._files.labels(status).inc()
            case events.EditTaken():
                self._edits.labels("taken").inc()
            case events.EditRefused():
                self._edits.labels("refused").inc()

    def _count_landed(self, event: events.Landed) -> None:
        self._landed.inc()
        self._landed_rows.inc(event.rows)
        self._landed_bytes.inc(event.bytes or 0)
        self._landing.observe(event.seconds)
        self._landed_at.set(time.time())

    def _count_processed(self, event: events.Processed) -> None:
        self._processed.inc(event.last - event.first + 1)
        for outcome in ("counted", "quarantined", "filtered"):
            self._processed_rows.labels(outcome).inc(getattr(event, outcome))
        for reason, rows in event.reasons.items():
            self._quarantined.labels(self._label("reason", reason)).inc(rows)
        for pattern, count in event.detections.items():
            self._detections.labels(self._label("pattern", pattern)).inc(count)
        self._folding.observe(event.fold)
        self._committing.observe(event.commit)
        self._processed_at.set(time.time())

    def _label(self, name: str, value: str) -> str:
        with self._lock:
            known = self._known.setdefault(name, set())
            if value not in known and len(known) >= MOST_LABELS:
                return "other"
            known.add(value)
            return value

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(f"tillwatch_{name}", _HELP[name], labels, registry=self.registry)

    def _gauge(self, name: str, *labels: str) -> Gauge:
        return Gauge(f"tillwatch_{name}", _HELP[name], labels, registry=self.registry)

    def _histogram(self, name: str, *labels: str) -> Histogram:
        return Histogram(f"tillwatch_{name}", _HELP[name], labels, registry=self.registry, buckets=SECONDS)


class _StateCollector:
    """Where the pipeline stands, read when it is asked for."""

    def __init__(self, opened: Callable[[], AbstractContextManager[State]]) -> None:
        self._opened, self._lock = opened, Lock()
        self._read: dict[str, float] = {}
        self._read_at = float("-inf")

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The names, without asking the state."""
        for name, text in _STATE_HELP.items():
            yield GaugeMetricFamily(f"tillwatch_{name}", text)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is known; when the state cannot be read, only that."""
        with self._lock:
            if time.monotonic() - self._read_at >= STATE_SECONDS:
                self._read, self._read_at = self._values(), time.monotonic()
            values = dict(self._read)
        for name, text in _STATE_HELP.items():
            if name in values:
                yield GaugeMetricFamily(f"tillwatch_{name}", text, value=values[name])

    def _values(self) -> dict[str, float]:
        try:
            with self._opened() as state:
                landed, processed, since = state.landed(), state.cursor().chunk, state.waiting_since()
                size = state.size()
        except TillwatchError:
            return {"state_readable": 0}
        return {
            "state_readable": 1,
            "landed_chunks": landed,
            "processed_chunks": processed,
            "lag_chunks": max(0, landed - processed),
            "lag_seconds": _age(since),
            "state_bytes": size,
        }


def _age(since: str | None) -> float:
    if since is None:
        return 0.0
    return max(0.0, time.time() - datetime.datetime.fromisoformat(since).timestamp())
