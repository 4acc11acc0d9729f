"""What a run tells who watches it: every step, with its chunks, in frozen events."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from tillwatch import events, pipeline
from tillwatch.errors import LogError, StateError, StoreError, TillwatchError
from tillwatch.events import Event, Notice
from tillwatch.generate import generate
from tillwatch.observe.together import Together
from tillwatch.pipeline import Pipeline
from tillwatch.retry import FIRST_DELAY, Retry
from tillwatch.stores import Store, open_store
from tillwatch.testing.clocks import ScriptedClock
from tillwatch.testing.small import CONFIG
from tillwatch.testing.stores import Fault, FaultyStore

T = TypeVar("T")
ROWS = 2_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small pipeline, some of whose rows are not valid."""
    generate(tmp_path, rows=ROWS, faults=0.01)
    path = tmp_path / "tillwatch.yaml"
    path.write_text(CONFIG.format(source="./transactions.csv", importance="./CustomerImportance.csv"), "utf-8")
    return path


def told(config: Path, *overrides: str, once: bool = True) -> list[Event]:
    """All that a whole run tells."""
    heard: list[Event] = []
    Pipeline.open(config, overrides).run(once=once, observer=heard.append)
    return heard


def of(kind: type[T], heard: list[Event]) -> list[T]:
    """The events of a kind, in order."""
    return [event for event in heard if isinstance(event, kind)]


def test_a_run_tells_its_beginning_and_its_end(config: Path) -> None:
    """Both mechanisms, each first and last, with one id that no other run has."""
    heard = told(config)
    began, ended = of(events.RunBegan, heard), of(events.RunEnded, heard)
    assert {e.mechanism for e in began} == {e.mechanism for e in ended} == {"ingest", "detect"}
    assert {e.how for e in ended} == {"ended"} and all(e.once for e in began)
    (run,) = {e.run for e in (*began, *ended)}
    assert len(run) == 32 and int(run, 16)
    assert isinstance(heard[0], events.RunBegan) and isinstance(heard[-1], events.RunEnded)
    assert {e.run for e in of(events.RunBegan, told(config))} != {run}


def test_every_chunk_is_told_from_landing_to_publishing(engine: str, config: Path) -> None:
    """Each once: landed with rows, bytes, file; processed with what became of the rows; published with its chunks."""
    heard = told(config, engine)
    landed, processed = of(events.Landed, heard), of(events.Processed, heard)
    published = of(events.Published, heard)
    assert [e.chunk for e in landed] == list(range(8))
    assert {e.rows for e in landed} == {250} and {e.file for e in landed} == {"transactions.csv"}
    folder = config.parent / "tillwatch-data"
    assert [e.bytes for e in landed] == [p.stat().st_size for p in sorted((folder / "landing").glob("*.parquet"))]
    assert [n for e in processed for n in range(e.first, e.last + 1)] == list(range(8))
    quarantined = Counter[str]()
    for path in (folder / "quarantine").iterdir():
        quarantined.update(json.loads(line)["code"] for line in path.read_text("utf-8").splitlines())
    reasons = Counter[str]()
    for event in processed:
        reasons.update(event.reasons)
        assert event.quarantined == sum(event.reasons.values())
        assert event.detections == Counter(d.pattern for d in event.found)
        assert {d.chunk for d in event.found} <= set(range(event.first, event.last + 1))
    assert reasons == quarantined and reasons.total() > 0
    assert sum(e.counted + e.quarantined + e.filtered for e in processed) == ROWS
    found = [d for e in processed for d in e.found]
    assert sum(e.rows for e in published) == len(found) > 0
    assert [e.file for e in published] == sorted(p.name for p in (folder / "detections").iterdir())
    for event in published:
        assert list(event.chunks) == sorted({d.chunk for d in found[event.first - 1 : event.last]})
    assert all(e.seconds > 0 for e in (*landed, *published)) and all(e.fold > 0 and e.commit > 0 for e in processed)


def test_source_files_are_told(config: Path, tmp_path: Path) -> None:
    """Their beginning, their end with the rows that are landed, and what is wrong with one."""
    source = tmp_path / "source"
    source.mkdir()
    (config.parent / "transactions.csv").rename(source / "a.csv")
    (source / "b.csv").write_text("no,header,of,ours\n1,2,3,4\n")
    (source / "c.zip").write_text("")
    heard: list[Event] = []
    with pytest.raises(TillwatchError):
        Pipeline.open(config, [f"source.uri={source}"]).ingest(once=True, observer=heard.append)
    assert of(events.FileStarted, heard) == [events.FileStarted("a.csv"), events.FileStarted("b.csv")]
    assert of(events.FileFinished, heard) == [events.FileFinished("a.csv", ROWS)]
    problems = {e.name: (e.status, e.mechanism) for e in of(events.FileProblem, heard)}
    assert problems == {"b.csv": ("refused", "ingest"), "c.zip": ("ignored", "ingest")}
    assert all(e.text.startswith(e.name) for e in of(events.FileProblem, heard))


FAULTS = {
    "landing": Fault("put", "*.parquet", 2),
    "quarantine": Fault("put", "*.jsonl", 1),
    "detections": Fault("put", "*.csv", 1),
}


@pytest.mark.parametrize("place", FAULTS)
def test_what_is_tried_again_says_its_place(place: str, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name in the configuration, with the class of the error; and that it has worked in the end."""
    stores: dict[str, Store] = {}

    def faulty(uri: str) -> Store:
        faults = [FAULTS[place]] if Path(uri).name == place else []
        return stores.setdefault(uri, FaultyStore(open_store(uri), *faults))

    monkeypatch.setattr(pipeline, "open_store", faulty)
    heard = told(config)
    (retried,), (recovered,) = of(events.Retried, heard), of(events.Recovered, heard)
    mechanism = "ingest" if place == "landing" else "detect"
    assert (retried.place, retried.error, retried.attempt, retried.mechanism) == (place, "StoreError", 1, mechanism)
    assert retried.wait == FIRST_DELAY and "fault on purpose" in retried.text and "trying again in" in retried.text
    assert (recovered.place, recovered.attempts, recovered.mechanism) == (place, 1, mechanism)
    assert recovered.seconds > 0


def test_how_a_run_ended_is_told(config: Path) -> None:
    """Stopped when it was asked to, failed with the error when one ended it."""
    stop = threading.Event()
    heard: list[Event] = []

    def stopping(event: Event) -> None:
        heard.append(event)
        if isinstance(event, events.Landed):
            stop.set()

    Pipeline.open(config).ingest(stop=stop, observer=stopping)
    assert [e.how for e in of(events.RunEnded, heard)] == ["stopped"]
    told(config)
    next((config.parent / "tillwatch-data" / "landing").glob("*7.parquet")).unlink()
    heard.clear()
    with pytest.raises(LogError) as failed:
        Pipeline.open(config).ingest(once=True, observer=heard.append)
    (ended,) = of(events.RunEnded, heard)
    assert (ended.how, ended.error, ended.text) == ("failed", "LogError", str(failed.value))


def test_an_observer_that_fails_does_not_stop_a_run(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others hear everything, and once that one has failed; a run with only that one says so to the log."""

    def broken(event: Event) -> None:
        raise TypeError("no such postgresql://till:hunter2@db/x")

    heard: list[Event] = []
    with caplog.at_level(logging.ERROR, "tillwatch"):
        Pipeline.open(config).run(once=True, observer=Together(broken, heard.append))
    ((_, _, said),) = caplog.record_tuples
    assert [e.text for e in of(Notice, heard)] == [said]
    assert "TypeError: no such postgresql://till:***@db/x" in said
    assert sum(e.rows for e in of(events.Landed, heard)) == ROWS
    with pytest.raises(KeyboardInterrupt):
        Together(interrupted)(events.RunBegan("0", "ingest"))


def interrupted(event: Event) -> None:
    raise KeyboardInterrupt


def test_an_edit_is_told_with_the_chunk_from_which_on_it_counts(config: Path, tmp_path: Path) -> None:
    """The first chunk that the other patterns judge, and what is other."""
    header, *rows = (config.parent / "transactions.csv").read_text("utf-8").splitlines(keepends=True)
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.csv").write_text("".join([header, *rows[:1000]]), "utf-8")
    assert of(events.EditTaken, told(config, f"source.uri={source}")) == []
    config.write_text(config.read_text("utf-8").replace("transactions: 8", "transactions: 7"), "utf-8")
    (source / "b.csv").write_text("".join([header, *rows[1000:]]), "utf-8")
    (taken,) = of(events.EditTaken, told(config, f"source.uri={source}"))
    assert (taken.chunk, taken.mechanism) == (4, "detect")
    assert "from chunk 4 on" in taken.text and "now  pattern PatId2" in taken.text


def test_places_of_errors_are_told_apart() -> None:
    """A state is known by its error, a store by its name, the rest by what was asked; each with its own count."""
    clock, heard = ScriptedClock(*[lambda: None] * 9), list[Event]()
    named = StoreError("no answer")
    named.place = "landing"
    errors: list[TillwatchError] = [StateError("x"), named, StateError("y"), StoreError("z")]

    def action() -> int:
        if errors:
            raise errors.pop(0)
        return 5

    retry = Retry(clock, threading.Event(), lambda text: None, hear=heard.append)
    assert replace(retry, place="outputs.bank")(action) == 5
    assert [(e.place, e.attempt) for e in of(events.Retried, heard)] == [
        ("state", 1),
        ("landing", 1),
        ("state", 2),
        ("outputs.bank", 1),
    ]
    assert [(e.place, e.attempts) for e in of(events.Recovered, heard)] == [
        ("state", 2),
        ("landing", 1),
        ("outputs.bank", 1),
    ]
