"""Logs: every step as a line of text or of JSON, in files of a bounded size, without secrets."""

from __future__ import annotations

import builtins
import datetime
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tillwatch import events
from tillwatch.config import Logs, load
from tillwatch.errors import ConfigError, FilesSetAside, StoreError
from tillwatch.events import Event, Notice, Retried
from tillwatch.generate import generate
from tillwatch.model import Detection
from tillwatch.observe.logs import logging_to
from tillwatch.observe.redact import redactor, redactor_for
from tillwatch.pipeline import Pipeline
from tillwatch.testing.small import CONFIG

ZONE = "Asia/Kolkata"
RUN = "0123456789abcdef" * 2
ECS = {
    "@timestamp": "date",
    "message": "text",
    "ecs.version": "keyword",
    "log.level": "keyword",
    "log.logger": "keyword",
    "process.pid": "long",
    "process.thread.name": "keyword",
    "error.type": "keyword",
    "error.message": "text",
    "error.stack_trace": "keyword",
    "trace.id": "keyword",
    "event.action": "keyword",
    "event.outcome": "outcome",
    "event.duration": "long",
    "service.name": "keyword",
    "service.version": "keyword",
    "host.name": "keyword",
    "file.name": "keyword",
    "url.full": "keyword",
}
"""The fields of the Elastic Common Schema 9.5 that there may be, with their types."""

EVENTS: tuple[Event, ...] = (
    events.RunBegan(RUN, "ingest", once=True),
    events.RunBegan(RUN, "detect", once=True),
    events.FileStarted("in/a%s.csv", 5),
    events.Landed(7, 1000, 12_345, 0.25, "in/a%s.csv"),
    events.Landed(8, 10),
    events.Processed(
        7,
        9,
        1900,
        7,
        {"PatId2": 3},
        93,
        {"amount_empty": 3, "late": 4},
        0.5,
        0.125,
        (Detection(7, "PatId2", "CHILD", {"customer": "C"}, {}),),
    ),
    events.Published("detections-1-3.csv", "detections", 1, 3, (7, 9), 0.01),
    events.Delivered("bank", "detections-1-3.csv", 1, 3, 0.02),
    Retried("no answer (trying again in 0.2 s)", "landing", "StoreError", 0.2, 1, mechanism="ingest"),
    events.Recovered("landing", 3, 1.5, "ingest"),
    events.FileFinished("in/a%s.csv", 1010),
    events.FileProblem("b.csv is empty", "b.csv", "done", 0, mechanism="ingest"),
    events.FileProblem("c.csv cannot be read", "c.csv", "refused", 0, mechanism="ingest"),
    events.EditTaken("the patterns have changed, from chunk 9 on:\n  now  pattern P", 9, mechanism="detect"),
    events.EditRefused("an edit was refused", mechanism="detect"),
    events.Serving("metrics at http://127.0.0.1:1/metrics", "http://127.0.0.1:1/metrics"),
    Notice("something {else} %d happened"),
    events.RunEnded(RUN, "ingest", "stopped"),
    events.RunEnded(RUN, "detect", "failed", "StateError", "the disk is full"),
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small pipeline, some of whose rows are not valid."""
    generate(tmp_path, rows=1_000, faults=0.01)
    path = tmp_path / "tillwatch.yaml"
    path.write_text(CONFIG.format(source="./transactions.csv", importance="./CustomerImportance.csv"), "utf-8")
    return path


def written(tmp_path: Path, *told: Event, secrets: tuple[str, ...] = (), **how: Any) -> list[str]:
    """The lines of a log of these events."""
    logs = Logs(file=str(tmp_path / "logs" / "a.log"), **how)
    with logging_to(logs, redactor(secrets), ZONE) as log:
        for event in told:
            log(event)
    return (tmp_path / "logs" / "a.log").read_text("utf-8").split("\n")[:-1]


def flat(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a record with their whole names."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def checked(line: str) -> dict[str, Any]:
    """The fields of a line of JSON, once they are all of the schema, or below `tillwatch.`."""
    record = json.loads(line)
    assert list(record)[:3] == ["@timestamp", "log.level", "message"]
    fields = dict(flat(record))
    for name, value in fields.items():
        if name.startswith("tillwatch."):
            continue
        match ECS[name]:
            case "long":
                assert type(value) is int, name
            case "date":
                assert datetime.datetime.fromisoformat(value).tzinfo is not None
            case "outcome":
                assert value in ("failure", "success", "unknown")
            case _:
                assert isinstance(value, str), name
    assert fields["service.name"] == "tillwatch" and fields["event.action"]
    return fields


def test_every_event_is_a_record_of_the_schema(tmp_path: Path) -> None:
    """One line each, whatever is in it; with the id of the run, the mechanism, the chunks, and how long it took."""
    lines = written(tmp_path, *EVENTS, format="json", level="debug")
    records = [checked(line) for line in lines]
    assert len(records) == len(EVENTS)
    assert {r["trace.id"] for r in records} == {RUN}
    by_action = {r["event.action"]: r for r in records}
    landed = next(r for r in records if r["event.action"] == "chunk-landed")
    assert (landed["tillwatch.chunk"], landed["tillwatch.rows"], landed["file.name"]) == ([7], 1000, "in/a%s.csv")
    assert (landed["event.duration"], landed["log.logger"]) == (250_000_000, "tillwatch.ingest")
    processed = by_action["chunks-processed"]
    assert (processed["tillwatch.chunk"], processed["tillwatch.counted"]) == ([7, 8, 9], 1900)
    assert processed["tillwatch.reasons"] == [{"code": "amount_empty", "rows": 3}, {"code": "late", "rows": 4}]
    assert processed["tillwatch.patterns"] == [{"id": "PatId2", "detections": 3}]
    assert (processed["event.duration"], processed["log.logger"]) == (625_000_000, "tillwatch.detect")
    assert by_action["file-published"]["tillwatch.chunk"] == [7, 9]
    assert by_action["file-delivered"]["tillwatch.place"] == "outputs.bank"
    retried = by_action["retried"]
    assert (retried["tillwatch.place"], retried["error.type"], retried["log.level"]) == (
        "landing",
        "StoreError",
        "warning",
    )
    assert (retried["tillwatch.attempt"], retried["tillwatch.wait_seconds"]) == (1, 0.2)
    failed = records[-1]
    assert (failed["log.level"], failed["error.type"], failed["event.outcome"]) == ("error", "StateError", "failure")
    assert by_action["notice"]["message"] == "something {else} %d happened"


def test_text_is_a_line_an_event(tmp_path: Path) -> None:
    """Time with offset, level, mechanism, what happened, the run; what has more lines is set in."""
    lines = written(tmp_path, *EVENTS, level="debug")
    assert len(lines) == len(EVENTS) + 1
    at, level, who = lines[3].split()[:3]
    assert datetime.datetime.fromisoformat(at).utcoffset() == datetime.timedelta(hours=5, minutes=30)
    assert (level, who) == ("INFO", "ingest")
    assert lines[3].endswith("chunk 7 landed: 1,000 rows, 12,345 bytes, in 0.250 s [01234567]")
    text = "chunks 7 to 9 processed: 1,900 rows counted, 7 quarantined (amount_empty 3, late 4), 93 filtered, PatId2 3"
    assert text in lines[5]
    assert [line for line in lines if line.startswith("  ")] == ["    now  pattern P [01234567]"]


def test_a_text_cannot_pass_for_a_record(tmp_path: Path) -> None:
    """A file whose name has line breaks and quotes adds no line, and no field."""
    name = 'a\n2026-11-20T00:00:00.000+00:00 ERROR   run    all is lost\r\n{"message":"x"}\u2028y'
    event = events.FileProblem(f"{name} is no source file", name, "ignored")
    lines = written(tmp_path, event)
    assert [line.startswith("  ") for line in lines] == [False, *[True] * (len(lines) - 1)]
    (line,) = written(tmp_path / "json", event, format="json")
    assert checked(line)["file.name"] == name


@pytest.mark.parametrize(("level", "least"), [("debug", 10), ("info", 20), ("warning", 30), ("error", 40)])
def test_what_is_less_than_the_level_is_left_out(level: str, least: int, tmp_path: Path) -> None:
    """Each level has itself and what is more."""
    order = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    found = [order[checked(line)["log.level"]] for line in written(tmp_path, *EVENTS, format="json", level=level)]
    assert min(found) >= least
    everything = [order[checked(line)["log.level"]] for line in written(tmp_path / "all", *EVENTS, format="json")]
    assert found == [n for n in everything if n >= least] and {20, 30, 40} <= set(everything)


def test_files_turn_over_by_size(tmp_path: Path) -> None:
    """None is larger than the size, no more are kept than asked for, and the newest lines are whole and in order."""
    told = [Notice(f"{n:06} {'x' * 100}") for n in range(1000)]
    written(tmp_path, *told, size=20_000, count=3)
    files = {path.name: path for path in (tmp_path / "logs").iterdir()}
    assert files.keys() == {"a.log", "a.log.1", "a.log.2", "a.log.3"}
    assert all(0 < path.stat().st_size <= 20_000 for path in files.values())
    lines = [line for n in ("a.log.3", "a.log.2", "a.log.1", "a.log") for line in files[n].read_text().splitlines()]
    numbers = [int(line.split()[3]) for line in lines]
    assert numbers[-1] == 999 and all(b == a + 1 for a, b in pairwise(numbers))


def test_a_run_writes_what_is_configured(config: Path) -> None:
    """A chunk is found again, by its number, from landing over processing to publishing, under one run."""
    config.write_text(config.read_text("utf-8") + "logs: {file: logs/run.log, format: json}\n", "utf-8")
    Pipeline.open(config).run(once=True)
    records = [checked(line) for line in (config.parent / "logs" / "run.log").read_text("utf-8").splitlines()]
    assert len({r["trace.id"] for r in records}) == 1
    found = Pipeline.open(config).detections()["chunk"].to_list()
    of_chunk = [r["event.action"] for r in records if found[0] in r.get("tillwatch.chunk", [])]
    assert sorted(of_chunk) == ["chunk-landed", "chunks-processed", "file-published"]
    assert {r["log.logger"] for r in records} == {"tillwatch.ingest", "tillwatch.detect"}
    assert records[-1]["event.action"] == "run-ended"


def test_what_ends_a_run_is_written_once(config: Path) -> None:
    """By the mechanism that failed, or, when files were set aside, by the run."""
    (config.parent / "transactions.csv").write_text("a,b\n1,2\n")
    log = ["logs.format=json", f"logs.file={config.parent / 'a.log'}"]
    with pytest.raises(FilesSetAside) as failed:
        Pipeline.open(config, log).run(once=True)
    records = [checked(line) for line in (config.parent / "a.log").read_text("utf-8").splitlines()]
    assert [r["message"] for r in records if r["event.action"] == "failed"] == [str(failed.value)]


PLANTED = {
    "PGPASSWORD": "planted-database-word",
    "HOOK": "planted-hook-word",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+word",
    "SOURCE_KEY": "planted-source-word",
}


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_secret_is_written(format: str, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the configuration, the environment, URIs and exceptions, wherever in an event it is, and in tracebacks."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    config.write_text(
        config.read_text("utf-8")
        + "outputs:\n  hook: {format: webhook, uri: 'https://127.0.0.1:9/x?token=${SOURCE_KEY}', secret_env: HOOK}\n",
        "utf-8",
    )
    settings = load(config)
    secrets = [*PLANTED.values(), "planted-in-uri", "planted-in-query", "AKIAABCDEFGHIJKLMNOP"]
    words = " ".join([*PLANTED.values(), "s3://k:planted-in-uri@b", "https://h/?sig=planted-in-query", secrets[-1]])
    told = (
        Notice(words),
        Retried(words, words, words),
        events.FileProblem(words, words, "refused"),
        events.FileStarted(words),
        events.Landed(1, 1, file=words),
        events.Processed(1, 1, 1, 1, {words: 1}, reasons={words: 1}),
        events.Published(words, "detections", 1, 1, (1,)),
        events.Delivered(words, words, 1, 1),
        events.Recovered(words, 1, 1.0),
        events.EditRefused(words),
        events.Serving(words, words),
        events.RunEnded(RUN, "detect", "failed", words, words),
    )
    logs = Logs(format=format, file=str(config.parent / "a.log"))
    with pytest.raises(StoreError), logging_to(logs, redactor_for(settings), ZONE) as log:
        for event in told:
            log(event)
        raise StoreError(words + "!")
    text = (config.parent / "a.log").read_text("utf-8")
    assert text.count("***") >= len(told) and [s for s in secrets if s in text] == []


def test_an_output_that_is_refused_writes_no_secret(config: Path) -> None:
    """A whole run in a process of its own, with planted secrets that are used and refused."""
    output = "{format: webhook, uri: 'https://till:${SOURCE_KEY}@127.0.0.1:9/x?token=${SOURCE_KEY}', secret_env: HOOK}"
    config.write_text(f"{config.read_text('utf-8')}outputs:\n  hook: {output}\n", "utf-8")
    said = called(config, "--log-format", "json", "--log-level", "debug", **PLANTED)
    assert said.returncode == 1 and said.stdout == ""
    records = [checked(line) for line in said.stderr.splitlines()]
    retried = [r for r in records if r["event.action"] == "retried"]
    assert {r["tillwatch.place"] for r in retried} == {"outputs.hook"}
    assert [s for s in PLANTED.values() if s in said.stderr] == []


def called(config: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program, run once."""
    command = [sys.executable, "-m", "tillwatch", "run", "--once", "-c", str(config), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


def test_stderr_is_the_log_when_it_is_asked_to_be(config: Path) -> None:
    """Every line is a record, the error at the end too; with a file stderr stays as it is, for people."""
    done = called(config, "--log-format", "json", "--set", "source.rows=200")
    assert (done.returncode, done.stdout) == (0, "")
    assert [checked(line)["event.action"] for line in done.stderr.splitlines()].count("chunk-landed") == 5
    failed = called(config, "--log-format", "json", "--set", "source=./no-such.csv")
    assert failed.returncode == 1
    errors = [r for r in map(checked, failed.stderr.splitlines()) if r["log.level"] == "error"]
    assert errors and all("no-such.csv" in r["message"] for r in errors)
    path = config.parent / "x # 'y.log"
    again = called(config, "--log-format", "text", "--log-file", str(path))
    assert again.returncode == 0 and again.stderr.startswith("tillwatch: landed 0 chunks")
    assert path.read_text("utf-8").count(" ends\n") == 0 and " ingest begins [" in path.read_text("utf-8")


def test_a_log_that_cannot_be_written_is_told_before_anything_runs(config: Path) -> None:
    """A file that cannot be made is a mistake of the configuration."""
    with pytest.raises(ConfigError, match=r"logs\.file: .* cannot be written to"):
        Pipeline.open(config, [f"logs.file={config}/a.log"]).run(once=True)
    assert not (config.parent / "tillwatch-data").exists()


def test_json_without_its_package_says_what_to_install(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("ecs_logging") or name == "tillwatch.observe.ecs":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'tillwatch\[logs\]'"):
        Pipeline.open(config, ["logs.format=json"]).run(once=True)


def test_a_disk_that_is_full_does_not_stop_a_run(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once that the log could not be written, and the run goes on to its end."""
    heard: list[Event] = []
    Pipeline.open(config, ["logs.file=/dev/full"]).run(once=True, observer=heard.append)
    told = [e.text for e in heard if isinstance(e, Notice)]
    assert len(told) == 1 and "No space left on device" in told[0] and told == caplog.messages
    assert [e.how for e in heard if isinstance(e, events.RunEnded)] == ["ended", "ended"]


def test_two_runs_at_once_have_logs_of_their_own(config: Path, tmp_path: Path) -> None:
    """What one writes is not in the other's."""

    def land(name: str) -> None:
        logs = Logs(file=str(tmp_path / name))
        with logging_to(logs, redactor([]), ZONE) as log:
            for _ in range(200):
                log(Notice(name))

    threads = [threading.Thread(target=land, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("a", "b"):
        lines = (tmp_path / name).read_text("utf-8").splitlines()
        assert len(lines) == 200 and all(line.endswith(f" {name}") for line in lines)
