"""Who works on a pipeline, as the state keeps it: noted by the runs themselves, and in nobody's way."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from tillwatch.cli.app import app
from tillwatch.clock import SystemClock
from tillwatch.errors import RunError, StateError
from tillwatch.events import EditRefused, Event, FileProblem, Notice, Retried, RunBegan
from tillwatch.generate import generate
from tillwatch.observe import activity
from tillwatch.observe.activity import Keeper
from tillwatch.pipeline import Pipeline
from tillwatch.state import State, open_state
from tillwatch.state.activity import Activity
from tillwatch.status import status
from tillwatch.testing.small import CONFIG

Opened = Callable[[], AbstractContextManager[State]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small pipeline."""
    generate(tmp_path, rows=1_000)
    path = tmp_path / "tillwatch.yaml"
    path.write_text(CONFIG.format(source="./transactions.csv", importance="./CustomerImportance.csv"), "utf-8")
    return path


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for seconds here."""
    monkeypatch.setattr(activity, "BEAT_SECONDS", 0.01)


def noted(config: Path) -> dict[str, Activity]:
    """What the state says, by mechanism."""
    with Pipeline.open(config).opened(readonly=True) as state:
        return {a.mechanism: a for a in state.activities()}


def said(config: Path, layout: str = "text") -> str:
    """What `tillwatch status` prints."""
    called = CliRunner().invoke(app, ["status", "-c", str(config), "--format", layout])
    assert called.exit_code == 0, called.output
    return called.stdout


def test_a_run_notes_both_mechanisms(config: Path) -> None:
    """With one id, which its events have too; when they began, when and how they ended, and that nothing went wrong."""
    heard: list[Event] = []
    Pipeline.open(config).run(once=True, observer=heard.append)
    ingest, detect = (noted(config)[name] for name in ("ingest", "detect"))
    (run,) = {event.run for event in heard if isinstance(event, RunBegan)}
    for last in (ingest, detect):
        assert (last.run, last.host, last.pid) == (run, socket.gethostname(), os.getpid())
        assert (last.how, last.retries, last.errors, last.last_trouble) == ("ended", {}, 0, None)
        assert last.began_at <= last.beat_at == last.ended_at
    text = said(config)
    assert f"ended at {detect.ended_at}, process {os.getpid()} on " in text and "last trouble" not in text
    assert json.loads(said(config, "json"))["activities"][1]["run"] == run
    Pipeline.open(config).detect(once=True)
    assert noted(config)["ingest"] == ingest and noted(config)["detect"].run != run


def test_while_it_works_it_says_that_it_is_alive(config: Path) -> None:
    """Since when, and again and again; `status` shows it."""
    stop, began = threading.Event(), threading.Event()
    running = threading.Thread(
        target=lambda: Pipeline.open(config).ingest(stop=stop, observer=lambda e: e and began.set())
    )
    running.start()
    try:
        assert began.wait(20)
        first = until(lambda: noted(config).get("ingest"))
        later = until(lambda: (now := noted(config)["ingest"]).beat_at > first.beat_at and now)
        assert (later.began_at, later.ended_at, later.how) == (first.began_at, None, None)
        assert f"alive since {first.began_at}, process {os.getpid()} on " in said(config)
    finally:
        stop.set()
        running.join()
    assert noted(config)["ingest"].how == "stopped"
    assert "stopped at " in said(config)


def until(asked: Callable[[], object]) -> Activity:
    """What is told once it is true. A state that is not there yet is asked again."""
    over = threading.Event()
    for _ in range(2000):
        with suppress(StateError):
            if found := asked():
                assert isinstance(found, Activity)
                return found
        over.wait(0.01)
    raise AssertionError("it did not come true")


def test_a_run_that_was_killed_is_gone_without_a_word(config: Path) -> None:
    """It is not at work, nor has it ended; the next one takes its place."""
    process = subprocess.Popen([sys.executable, "-m", "tillwatch", "ingest", "-c", config])
    try:
        assert until(lambda: noted(config).get("ingest")).pid == process.pid
    finally:
        process.kill()
        process.wait()
    last, now = noted(config)["ingest"], status(Pipeline.open(config))
    assert (last.how, last.ended_at, now.ingest_at_work) == (None, None, False)
    assert f"gone without a word at {last.beat_at}" in said(config)
    Pipeline.open(config).run(once=True)
    assert noted(config)["ingest"].how == "ended"


def test_what_went_wrong_is_counted_and_the_last_of_it_said(config: Path) -> None:
    """What is tried again by place, files set aside, refused edits, and what ended the run; without secrets."""
    keeper = Keeper("a" * 32, "detect", SystemClock())
    for event in (
        Retried("no answer from https://till:hunter2@host", place="landing"),
        Retried("no answer", place="landing"),
        Retried("no answer", place="state"),
        FileProblem("a.csv is of the wrong shape", "a.csv", "refused"),
        FileProblem("b.csv was read already", "b.csv", "duplicate"),
        Notice("nothing of importance"),
        EditRefused("no such feature, see s3://key:hunter2@bucket"),
    ):
        keeper(event)
    now = keeper.now()
    assert (now.retries, now.errors) == ({"landing": 2, "state": 1}, 5)
    assert now.last_trouble == "no such feature, see s3://key:***@bucket" and now.last_trouble_at
    with pytest.raises(RunError), keeper.beating(Pipeline.open(config).opened, [].append, threading.Event()):
        raise RunError("the end: postgresql://till:hunter2@db/x" + "!" * 10_000)
    (last,) = noted(config).values()
    assert (last.how, last.errors, last.retries) == ("failed", 6, {"landing": 2, "state": 1})
    assert last.last_trouble is not None and len(last.last_trouble) == activity.LONGEST_TROUBLE
    assert last.last_trouble.startswith("the end: postgresql://till:***@db/x!")
    text = said(config)
    assert "6 errors, tried again: landing 2, state 1" in text and f"last trouble at {last.last_trouble_at}" in text


def test_a_state_that_takes_no_notes_stops_nothing(config: Path) -> None:
    """It is told once, tried again, and in the end the run is over as soon as it would be without."""
    asked, heard = [], list[Notice]()

    @contextmanager
    def opened() -> Iterator[State]:
        asked.append(None)
        if len(asked) < 5:
            raise StateError("no connection")
        with Pipeline.open(config).opened() as state:
            yield state

    keeper, worked = Keeper("a" * 32, "ingest", SystemClock()), []
    with keeper.beating(opened, heard.append, threading.Event()):
        until(lambda: len(asked) >= 5 and noted(config).get("ingest"))
        worked.append(True)
    assert noted(config)["ingest"].how == "ended" and worked
    assert len(heard) == 1 and "no connection" in heard[0].text


def test_a_state_that_hangs_holds_up_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run waits for the last note for a moment only."""
    monkeypatch.setattr(activity, "LAST_SECONDS", 0.05)
    free, began = threading.Event(), threading.Event()

    @contextmanager
    def opened() -> Iterator[State]:
        began.set()
        free.wait()
        raise StateError("gone")
        yield

    heard: list[Event] = []
    with Keeper("a" * 32, "ingest", SystemClock()).beating(opened, heard.append, threading.Event()):
        assert began.wait(20)
    assert not heard
    free.set()
    for thread in [t for t in threading.enumerate() if t.name == "tillwatch-beat"]:
        thread.join(20)


def test_a_state_of_before_says_what_brings_it_up_to_date(config: Path) -> None:
    """Who only looks is told; the next run does it, and what was there stays."""
    Pipeline.open(config).run(once=True)
    path = config.parent / "tillwatch-data" / "state.db"
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE activity")
        for table in ("lookup_versions", "marked"):
            db.execute(f"DROP TABLE {table}")
        db.execute("UPDATE meta SET value = '4' WHERE key = 'schema'")
    db.close()
    with pytest.raises(StateError, match="has schema 4, of an earlier version of tillwatch"):
        open_state(str(path), readonly=True)
    before = Pipeline.open(config).landing.next_number()
    Pipeline.open(config).run(once=True)
    assert noted(config).keys() == {"ingest", "detect"}
    assert status(Pipeline.open(config)).processed_chunks == before
