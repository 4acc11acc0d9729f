"""Metrics: what Prometheus reads of a run is what the run did, and where its pipeline stands."""

from __future__ import annotations

import builtins
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tillwatch import events
from tillwatch.errors import ConfigError, StateError
from tillwatch.events import Event, Retried
from tillwatch.generate import generate
from tillwatch.observe import metrics
from tillwatch.observe.serve import metrics_at
from tillwatch.pipeline import Pipeline
from tillwatch.state import State
from tillwatch.testing.small import CONFIG

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small pipeline, some of whose rows are not valid."""
    generate(tmp_path, rows=1_000, faults=0.01)
    path = tmp_path / "tillwatch.yaml"
    path.write_text(CONFIG.format(source="./transactions.csv", importance="./CustomerImportance.csv"), "utf-8")
    return path


def read(url: str) -> Samples:
    """What Prometheus reads there."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=")
        text = answer.read().decode()
    return read_text(text)


def value(samples: Samples, name: str, **labels: str) -> float:
    """One sample."""
    return samples[f"tillwatch_{name}", frozenset(labels.items())]


def by(samples: Samples, name: str, label: str) -> dict[str, float]:
    """All samples of a name, by a label."""
    return {dict(labels)[label]: v for (found, labels), v in samples.items() if found == f"tillwatch_{name}"}


@contextmanager
def no_state() -> Iterator[State]:
    """There is none."""
    raise StateError("no state")
    yield


def test_a_run_is_counted_as_it_was(config: Path) -> None:
    """Rows, chunks, bytes, quarantine, detections, files and times are those of the run, while it is at work."""
    heard: list[Event] = []
    seen: list[Samples] = []

    def look(event: Event) -> None:
        heard.append(event)
        if isinstance(event, events.RunEnded) and sum(isinstance(e, events.RunEnded) for e in heard) == 2:
            (serving,) = (e for e in heard if isinstance(e, events.Serving))
            seen.append(read(serving.url))

    Pipeline.open(config, ["metrics.listen='127.0.0.1:0'"]).run(once=True, observer=look)
    (samples,) = seen
    landed = [e for e in heard if isinstance(e, events.Landed)]
    processed = [e for e in heard if isinstance(e, events.Processed)]
    published = [e for e in heard if isinstance(e, events.Published)]
    assert value(samples, "chunks_landed_total") == len(landed) == 4
    assert value(samples, "rows_landed_total") == 1_000
    assert value(samples, "bytes_landed_total") == sum(e.bytes or 0 for e in landed)
    assert value(samples, "land_seconds_count") == 4
    assert value(samples, "land_seconds_sum") == pytest.approx(sum(e.seconds for e in landed))
    assert value(samples, "chunks_processed_total") == 4
    outcomes = {name: sum(getattr(e, name) for e in processed) for name in ("counted", "quarantined", "filtered")}
    assert by(samples, "rows_processed_total", "outcome") == outcomes and outcomes["quarantined"] > 0
    reasons, patterns = Counter[str](), Counter[str]()
    for event in processed:
        reasons.update(event.reasons)
        patterns.update(event.detections)
    assert by(samples, "rows_quarantined_total", "reason") == reasons
    found = by(samples, "detections_total", "pattern")
    assert found == {"PatId1": 0, "PatId2": 0, "PatId3": 0} | patterns and patterns
    assert value(samples, "commit_seconds_count") == value(samples, "fold_seconds_count") == len(processed)
    assert value(samples, "commit_seconds_sum") == pytest.approx(sum(e.commit for e in processed))
    assert by(samples, "files_published_total", "stream") == {"detections": len(published)}
    assert by(samples, "rows_published_total", "stream") == {"detections": patterns.total()}
    assert value(samples, "publish_seconds_count", stream="detections") == len(published)
    assert by(samples, "source_files_total", "status") == dict.fromkeys(metrics.STATUSES, 0) | {"done": 1}
    assert (value(samples, "landed_chunks"), value(samples, "processed_chunks")) == (4, 4)
    assert (value(samples, "lag_chunks"), value(samples, "lag_seconds"), value(samples, "state_readable")) == (0, 0, 1)
    assert value(samples, "state_bytes") >= (config.parent / "tillwatch-data" / "state.db").stat().st_size
    assert sorted(by(samples, "up", "mechanism").values()) == [0, 1]  # one has ended, the other tells it just now


def test_every_metric_has_a_help_text() -> None:
    """Its name is declared; a state that cannot be read is said to be so, and nothing is made up of it."""
    with metrics_at("127.0.0.1:0", no_state) as (_, url), urllib.request.urlopen(url, timeout=20) as answer:
        text = answer.read().decode()
    families = {f.name: f for f in text_string_to_metric_families(text) if not f.name.endswith("_created")}
    known = {f"tillwatch_{name}".removesuffix("_total") for name in metrics.NAMES}
    assert families.keys() <= known and all(family.documentation for family in families.values())
    samples = read_text(text)
    assert value(samples, "state_readable") == 0
    assert not {name for name, _ in samples} & {"tillwatch_lag_chunks", "tillwatch_state_bytes"}


def read_text(text: str) -> Samples:
    """The samples of a text."""
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_trouble_is_counted_by_place() -> None:
    """What is tried again, whether it is so now, edits, files set aside; and who is at work."""
    with metrics_at("127.0.0.1:0", no_state) as (observer, url):
        for event in (
            events.RunBegan("a" * 32, "detect"),
            Retried("x", "landing"),
            Retried("x", "landing"),
            Retried("x", "state"),
            events.Recovered("landing", 2, 1.0),
            events.FileProblem("x", "a", "refused"),
            events.EditTaken("x", 3),
            events.EditRefused("x"),
            events.Delivered("bank", "f", 1, 50),
        ):
            observer(event)
        samples = read(url)
        assert by(samples, "retries_total", "place") == {"landing": 2, "state": 1}
        assert by(samples, "retrying", "place") == {"landing": 0, "state": 1}
        assert by(samples, "source_files_total", "status") == dict.fromkeys(metrics.STATUSES, 0) | {"refused": 1}
        assert by(samples, "edits_total", "outcome") == {"taken": 1, "refused": 1}
        assert by(samples, "rows_delivered_total", "output") == {"bank": 50}
        assert by(samples, "up", "mechanism") == {"detect": 1}
        observer(events.RunEnded("a" * 32, "detect", "ended"))
        assert by(read(url), "up", "mechanism") == {"detect": 0}


def test_labels_are_bounded() -> None:
    """However many patterns there are, so many are told apart, and none is lost."""
    with metrics_at("127.0.0.1:0", no_state) as (observer, url):
        for number in range(1_000):
            observer(events.Processed(number, number, 1, 0, {f"P{number}": 2}))
        found = by(read(url), "detections_total", "pattern")
    assert len(found) == metrics.MOST_LABELS + 1
    assert (found["P0"], found["other"], sum(found.values())) == (2, 2 * (1_000 - metrics.MOST_LABELS), 2_000)


def test_lag_is_seen_by_who_only_lands(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the state: chunks that wait, and for how long the first of them has."""
    monkeypatch.setattr(metrics, "STATE_SECONDS", 0.0)
    pipeline = Pipeline.open(config)
    pipeline.ingest(once=True)
    with metrics_at("127.0.0.1:0", lambda: pipeline.opened(readonly=True)) as (_, url):
        samples = read(url)
        assert (value(samples, "lag_chunks"), value(samples, "landed_chunks")) == (4, 4)
        assert 0 < value(samples, "lag_seconds") < 600
        pipeline.detect(once=True)
        samples = read(url)
        assert (value(samples, "lag_chunks"), value(samples, "lag_seconds")) == (0, 0)


def test_many_may_look_while_it_counts() -> None:
    """What is counted from several threads while it is read is neither lost nor twice there."""
    with metrics_at("127.0.0.1:0", no_state) as (observer, url):

        def count() -> None:
            for number in range(500):
                observer(events.Landed(number, 10, 100, 0.001))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        seen = [value(read(url), "chunks_landed_total") for _ in range(10)]
        for thread in threads:
            thread.join()
        assert seen == sorted(seen)
        assert value(read(url), "rows_landed_total") == 20_000


def test_it_is_served_only_while_the_run_is_at_work(config: Path) -> None:
    """Afterwards nobody answers, and the port is free for the next run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    for _ in range(2):
        Pipeline.open(config, [f"metrics.listen='{listen}'"]).run(once=True)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{listen}/metrics", timeout=5)


def test_a_port_that_is_taken_is_told_before_anything_runs(config: Path) -> None:
    """With the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"metrics.listen: cannot listen at 127.0.0.1:{port}: "):
            Pipeline.open(config, [f"metrics.listen='127.0.0.1:{port}'"]).run(once=True)
    assert not (config.parent / "tillwatch-data").exists()


def test_without_its_package_it_says_what_to_install(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'tillwatch\[metrics\]'"):
        Pipeline.open(config, ["metrics.listen='127.0.0.1:0'"]).run(once=True)
