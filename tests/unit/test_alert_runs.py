"""Alerts of whole runs, to a mail server and a webhook on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tillwatch import pipeline as pipelines
from tillwatch.errors import FilesSetAside
from tillwatch.events import Event, Notice, Processed, RunEnded
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline
from tillwatch.state import open_state
from tillwatch.stores import Store, open_store
from tillwatch.testing.servers.inbox import Inbox, mail_server, webhook
from tillwatch.testing.small import CONFIG
from tillwatch.testing.stores import Fault, FaultyStore

PLACES = ("landing", "quarantine", "detections", "state")
CHANNELS = """\
alerts:
  channels: {hook: "${HOOK}", mail: "${MAIL}"}
  settle: 0s
  digest: 0s
  per_hour: 100
"""


@dataclass
class Site:
    """A small pipeline with its two channels, and the notices of its runs."""

    config: Path
    hook: Inbox
    mail: Inbox
    notices: list[str] = field(default_factory=list)
    ended: list[RunEnded] = field(default_factory=list)

    def rules(self, *lines: str) -> None:
        """Sets the rules."""
        rules = "".join(f"  {line}\n" for line in lines)
        text = self.config.read_text("utf-8").partition("alerts:")[0]
        self.config.write_text(f"{text}{CHANNELS}{rules}", "utf-8")

    def pipeline(self, *overrides: str) -> Pipeline:
        """It, opened."""
        return Pipeline.open(self.config, overrides)

    def hear(self, event: Event) -> None:
        """Keeps what a person would see."""
        if isinstance(event, Notice):
            self.notices.append(event.text)
        elif isinstance(event, RunEnded):
            self.ended.append(event)

    def once(self, *overrides: str) -> None:
        """Works off what is there."""
        with suppress(FilesSetAside):
            self.pipeline(*overrides).run(once=True, observer=self.hear)

    @contextmanager
    def at_work(self, what: str = "run") -> Iterator[None]:
        """A mechanism that goes on until the block ends."""
        stop = threading.Event()
        mechanism = getattr(self.pipeline("source.every=0"), what)
        thread = threading.Thread(target=mechanism, kwargs={"stop": stop, "observer": self.hear})
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def noted(self, rule: str) -> object:
        """What the state knows of a rule."""
        with closing(open_state(str(self.config.parent / "tillwatch-data" / "state.db"), readonly=True)) as state:
            text = state.get_meta(f"alerts.{rule}")
            return None if text is None else json.loads(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """2,000 transactions in a folder, some of them not valid."""
    made = generate(tmp_path / "made", rows=2000, faults=0.02)
    source = tmp_path / "source"
    source.mkdir()
    made.transactions.rename(source / "a.csv")
    config = tmp_path / "tillwatch.yaml"
    config.write_text(CONFIG.format(source=source, importance=made.importance), "utf-8")
    with webhook() as hook, mail_server() as mail:
        monkeypatch.setenv("HOOK", hook.address)
        monkeypatch.setenv("MAIL", mail.address)
        yield Site(config, hook, mail)


def break_a_file(site: Site) -> None:
    """A file of another shape joins the source."""
    (site.config.parent / "source" / "b.csv").write_text("no,header,of,ours\n1,2,3,4\n", "utf-8")


def test_a_run_tells_what_it_found(site: Site, engine: str) -> None:
    """Detections to whom they are for, a share that is too high, a file that failed; a second run tells none again."""
    break_a_file(site)
    site.rules(
        "file_failed: true",
        "quarantine_share: {over: 1%, chunks: 1000, channels: [mail]}",
        "detections: {PatId2: [hook], PatId1: [mail]}",
    )
    site.once(engine)
    found = site.pipeline().detections().group_by("patternId").len().rows()
    expected = {pattern: f"{count:,} detection{'s' if count > 1 else ''} of {pattern}" for pattern, count in found}
    assert told(site.hook) == {"1 source file failed", expected["PatId2"]}
    assert told(site.mail) == {"1 source file failed", "% of the rows are quarantined, over 1%", expected["PatId1"]}
    (text,) = [text for title, text in site.hook.messages if "failed" in title]
    assert "  b.csv has no column 'customer'" in text
    text = next(text for title, text in site.hook.messages if "PatId2" in title)
    assert ": customer C" in text and "What to do: " in text
    before = len(site.hook.messages) + len(site.mail.messages)
    site.once(engine)
    assert len(site.hook.messages) + len(site.mail.messages) == before
    assert isinstance(site.noted("file_failed"), dict)
    assert site.noted("detections") == sum(count for _, count in found) + 1


def told(inbox: Inbox) -> set[str]:
    """The titles without the pipeline's name; of digests that came in parts, the sum; without the figure of a share."""
    sums: dict[str, int] = {}
    for title in (title.partition(": ")[2] for title in inbox.titles):
        count, _, rest = title.partition(" ")
        if " of PatId" in title:
            rest = f"detection of {title.rpartition(' ')[2]}"
            sums[rest] = sums.get(rest, 0) + int(count)
        else:
            sums[title if "quarantined" not in title else f"% {rest}"] = 0
    return {
        f"{n:,} {rest.replace('detection', 'detections' if n > 1 else 'detection')}" if n else rest
        for rest, n in sums.items()
    }


def test_a_file_that_is_mended_is_told(site: Site) -> None:
    """By a later run: what was told then is known from the state."""
    break_a_file(site)
    site.rules("file_failed: true")
    site.once()
    assert site.hook.titles == ["source: 1 source file failed"]
    (site.config.parent / "source" / "b.csv").write_text(
        (site.config.parent / "source" / "a.csv").read_text("utf-8")[:-1] + "0\n", "utf-8"
    )
    site.once()
    assert site.hook.titles[1:] == ["source: 1 source file that had failed was read after all"]
    assert site.noted("file_failed") == {}


def test_what_is_found_before_there_are_alerts_is_not_told(site: Site) -> None:
    """A rule that comes later begins with what is found then."""
    site.once()
    site.rules("detections: [PatId1, PatId2, PatId3]")
    site.once()
    assert site.hook.titles == []


@pytest.mark.slow
def test_lag_and_silence_begin_and_end(site: Site) -> None:
    """Each once, to both channels, while a run goes on."""
    site.pipeline().ingest(once=True)
    site.rules("lag: 5", "no_new_chunk: 1s")
    with site.at_work():
        site.hook.wait_for(lambda i: len(i.titles) == 3)
        text = (site.config.parent / "source" / "a.csv").read_text("utf-8")
        new = site.config.parent / "source" / ".c.csv"
        new.write_text(text[: len(text) // 2].rpartition("\n")[0] + "\n", "utf-8")
        new.rename(new.with_name("c.csv"))
        site.hook.wait_for(lambda i: "source: chunks are landed again" in i.titles)
    titles = [title.removeprefix("source: ") for title in site.hook.titles]
    lag = [title for title in titles if "behind" in title][:2]
    assert lag == ["detection is 8 chunks behind, over 5", lag[1]] and lag[1].endswith("behind: no longer too far")
    silence = [title for title in titles if "behind" not in title]
    assert silence[:2] == ["no new chunk for 1 s", "chunks are landed again"]
    assert site.mail.titles == site.hook.titles


@pytest.mark.slow
def test_a_place_that_cannot_be_reached_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, by its name in the configuration with the last error; and when it can be reached again."""
    faults = [Fault("put", "*.parquet", n) for n in range(2, 6)]
    stores: dict[str, Store] = {}

    def faulty(uri: str) -> Store:
        store = FaultyStore(open_store(uri), *(faults if Path(uri).name == "landing" else []))
        return stores.setdefault(uri, store)

    monkeypatch.setattr(pipelines, "open_store", faulty)
    site.rules("unreachable: {after: 300ms, channels: [hook]}")
    site.once()
    assert site.hook.titles == ["source: landing cannot be reached", "source: landing can be reached again"]
    assert "fault on purpose" in site.hook.messages[0][1]
    assert site.noted("unreachable.run") == {}


@pytest.mark.slow
def test_of_two_processes_one_tells(site: Site) -> None:
    """Ingest tells the lag while nobody detects, and its end when somebody has; detect tells nothing of it."""
    site.rules("lag: 5")
    with site.at_work("ingest"):
        site.hook.wait_for(lambda i: len(i.titles) == 1)
        with site.at_work("detect"):
            site.hook.wait_for(lambda i: len(i.titles) == 2)
    assert [title.split(": ")[1][:12] for title in site.hook.titles] == ["detection is"] * 2
    assert site.hook.titles[1].endswith("no longer too far")


@pytest.mark.slow
def test_a_killed_run_tells_nothing_twice(site: Site) -> None:
    """After kill -9 an alert that was told is known, and its end is told by the next run."""
    site.rules("no_new_chunk: 500ms")
    command = [sys.executable, "-m", "tillwatch", "run", "-c", str(site.config), "--set", "source.every=0"]
    first = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        site.hook.wait_for(lambda i: len(i.titles) == 1)
        until(lambda: bool(site.noted("no_new_chunk")))
    finally:
        first.kill()
        first.wait()
    with site.at_work():
        text = (site.config.parent / "source" / "a.csv").read_text("utf-8")
        (site.config.parent / "source" / "c.csv").write_text(text.replace("\n1,", "\n2,"), "utf-8")
        site.hook.wait_for(lambda i: len(i.titles) >= 2)
    assert site.hook.titles[:2] == ["source: no new chunk for 0.5 s", "source: chunks are landed again"]


def until(true: Callable[[], bool]) -> None:
    """Waits for it, by looking."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["hangs", "is down", "refuses"])
def test_a_channel_in_trouble_does_not_slow_a_run(site: Site, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work takes as long as without alerts; the end waits for a few seconds at most, and says what was not sent."""
    rules = ("detections: [PatId1, PatId2, PatId3]", "quarantine_share: 0.1%")
    plain, _ = seconds(site, *(f"{key}={site.config.parent}/plain/{key}" for key in PLACES))
    site.rules(*rules)
    if trouble == "hangs":
        site.hook.gate.clear()
    elif trouble == "refuses":
        site.hook.status = 500
    else:
        monkeypatch.setenv("HOOK", "json://127.0.0.1:9/nobody")
    site.notices.clear()
    work, end = seconds(site)
    assert work < plain + 3
    assert end < 9
    assert any("hook" in notice and "could not be sent before the end" in notice for notice in site.notices)
    assert len(site.mail.titles) >= 2


def seconds(site: Site, *overrides: str) -> tuple[float, float]:
    """How long a run works, and how long its end takes after the last commit."""
    commits: list[float] = []

    def hear(event: Event) -> None:
        site.hear(event)
        if isinstance(event, Processed):
            commits.append(time.monotonic())

    began = time.monotonic()
    site.pipeline(*overrides).run(once=True, observer=hear)
    return commits[-1] - began, time.monotonic() - commits[-1]


def test_no_secret_is_kept_or_said(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """Not in the state, the landing zone, notices, events, or output; with channels that work and that do not."""
    break_a_file(site)
    site.rules("file_failed: true", "detections: [PatId1]", "quarantine_share: 0.1%")
    site.once()
    site.hook.status = 403
    (site.config.parent / "source" / "d.csv").write_text("other\n1\n", "utf-8")
    site.once()
    assert any("refused with status 403" in notice for notice in site.notices)
    files = [path for path in site.config.parent.rglob("*") if path.is_file()]
    assert len(files) > 10
    everything = b"".join(path.read_bytes() for path in files)
    said = capfd.readouterr()
    assert b"planted" not in everything
    assert (
        "planted" not in f"{site.notices} {site.ended} {site.hook.messages} {site.mail.messages} {said.out} {said.err}"
    )
