"""Folders as sources, and places that do not take what is put there: what is read, what is said, and nothing is lost.

The one pattern of the small pipelines detects every pair that was counted.
"""

from __future__ import annotations

import gzip
import io
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

import polars as pl
import pytest

from tillwatch import ConfigError, Landed, Notice, Pipeline, Processed, RunError
from tillwatch.audit import audit
from tillwatch.check import check
from tillwatch.clock import SystemClock
from tillwatch.errors import LeaseHeld, StateError, StoreError
from tillwatch.pipeline import Event
from tillwatch.state.base import Mechanism
from tillwatch.status import status
from tillwatch.testing.crash import Site

SEEN = """\
id: Seen
action: SEEN
title: Every pair that is counted
why: What was counted is then seen.
per: [customer, merchant]
when: transactions > 0
"""
Called = subprocess.CompletedProcess[str]

PATIENCE = 60.0
"""Seconds after which a test gives up waiting for an event."""


def prepare(folder: Path, source: str = "./in", more: str = "") -> Path:
    """A pipeline on a folder `in`; its configuration."""
    (folder / "in").mkdir(parents=True)
    (folder / "seen.yaml").write_text(SEEN, "utf-8")
    path = folder / "tillwatch.yaml"
    path.write_text(
        f"source: {{uri: {source}, rows: 1, every: 0.01{more}}}\n"
        "patterns: [./seen.yaml]\ndetections: {uri: ./detections, linger: 0.01}\n",
        "utf-8",
    )
    # The state is made before: two mechanisms that make it at the same time can fail, see test_bad_input.
    with Pipeline.open(path).opened():
        return path


def csv(*customers: str, amount: str = "1") -> str:
    """A file with one transaction of each of these."""
    return "customer,merchant,amount\n" + "".join(f"{c},M,{amount}\n" for c in customers)


def write(path: Path, content: str | bytes, age: float = 0) -> Path:
    """The file, last modified so many seconds before a certain moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, ns=(0, 1_700_000_000_000_000_000 - int(age * 1e9)))
    return path


@dataclass(frozen=True)
class Done:
    """What a run ended with and said."""

    error: str
    notices: list[str]


def work(config: Path) -> Done:
    """Works off what is there."""
    notices: list[str] = []
    error = ""
    try:
        Pipeline.open(config).run(
            once=True, observer=lambda e: notices.append(e.text) if isinstance(e, Notice) else None
        )
    except RunError as failure:
        error = str(failure)
    return Done(error, notices)


def landed(config: Path) -> list[str]:
    """Every landed row as file:row:customer, in order; what is landed is proved to be counted, once each."""
    pipeline = Pipeline.open(config)
    assert [problem for found in audit(pipeline) for problem in found.problems] == []
    frames = [pipeline.landing.read(number).frame for number in pipeline.landing.numbers()]
    rows = [f"{r['_source_file']}:{r['_source_row']}:{r['customer']}" for f in frames for r in f.rows(named=True)]
    now = status(pipeline)
    assert (now.landed_rows, now.processed_chunks, now.counted) == (len(rows), now.landed_chunks, len(rows))
    assert set(pipeline.detections()["customerName"]) == {row.rpartition(":")[2] for row in rows}
    return rows


class Running:
    """A run that goes on until the block ends. `hook` hears every event in the thread that it comes from."""

    def __init__(self, pipeline: Pipeline, hook: Callable[[Running, Event], None] = lambda *_: None) -> None:
        self.stop = threading.Event()
        self._pipeline, self._hook = pipeline, hook
        self._events = queue.SimpleQueue[Event | BaseException]()
        self._thread = threading.Thread(target=self._work)
        self._failure: BaseException | None = None
        self._processed = -1

    def _work(self) -> None:
        try:
            self._pipeline.run(stop=self.stop, observer=self._observe)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's thread
            self._failure = error
            self._events.put(error)

    def _observe(self, event: Event) -> None:
        self._hook(self, event)
        self._events.put(event)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._failure and not kind:
            raise self._failure

    def until(self, wanted: Callable[[Event], bool]) -> Event:
        """The next event of that kind. Raises what the run raised, when it ends before."""
        while True:
            event = self._events.get(timeout=PATIENCE)
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Processed):
                self._processed = event.last
            if wanted(event):
                return event

    def until_said(self, words: str) -> str:
        """The next notice with these words."""
        event = self.until(lambda e: isinstance(e, Notice) and words in e.text)
        assert isinstance(event, Notice)
        return event.text

    def until_processed(self, chunk: int) -> None:
        """Returns when the chunk is processed."""
        if self._processed < chunk:
            self.until(lambda e: isinstance(e, Processed) and e.last >= chunk)


# ------------------------------------------------------------------------------------------------ what is taken


def test_files_come_by_time_then_by_name(tmp_path: Path) -> None:
    """The oldest first; of the same time by name, folders included; within a file row by row."""
    config = prepare(tmp_path)
    for name, age in (("c.csv", 30), ("b/z.csv", 20), ("b.csv", 20), ("ä.csv", 20), ("a.csv", 10)):
        write(tmp_path / "in" / name, csv(f"{name}1", f"{name}2"), age)
    assert work(config) == Done("", [])
    names = ["c.csv", "b.csv", "b/z.csv", "ä.csv", "a.csv"]
    assert landed(config) == [f"{name}:{n}:{name}{n}" for name in names for n in (1, 2)]


def test_what_is_no_source_file(tmp_path: Path) -> None:
    """Hidden and unfinished files are passed over in silence, unknown suffixes with a notice; neither is a failure."""
    config = prepare(tmp_path)
    for name in (".a.csv", "_a.csv", ".git/a.csv", "_tmp/a.csv", "a.csv.tmp", "a.csv.part", "a.csv.crdownload"):
        write(tmp_path / "in" / name, csv("no"))
    for name in ("a.md", "a", "a.csv.bz2", "a.csv.gz.zip", "csv"):
        write(tmp_path / "in" / name, csv("no"))
    write(tmp_path / "in" / "good.csv", csv("C"))
    done = work(config)
    assert done.error == ""
    assert sorted(text.partition(" ")[0] for text in done.notices) == ["a", "a.csv.bz2", "a.csv.gz.zip", "a.md", "csv"]
    assert all("is of no known format (.csv" in text and "set source.format" in text for text in done.notices)
    assert landed(config) == ["good.csv:1:C"]


def test_a_format_for_all_files(tmp_path: Path) -> None:
    """With source.format every file that is not hidden or unfinished is taken as that, packed or not."""
    config = prepare(tmp_path, more=", format: csv")
    write(tmp_path / "in" / "a", csv("A"), 4)
    write(tmp_path / "in" / "b.log", csv("B"), 3)
    write(tmp_path / "in" / "c.log.gz", gzip.compress(csv("C").encode()), 2)
    write(tmp_path / "in" / "d.tmp", csv("D"), 1)
    assert work(config) == Done("", [])
    assert landed(config) == ["a:1:A", "b.log:1:B", "c.log.gz:1:C"]


def test_odd_things_in_a_folder_are_told(tmp_path: Path) -> None:
    """A link to nowhere, a pipe or a name that is no text may have been meant: exit code 1 at the end."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / "good.csv", csv("C"), 1)
    os.mkfifo(tmp_path / "in" / "pipe.csv")
    (tmp_path / "in" / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    write(Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/caf\xe9.csv")), csv("D"))
    error = work(config).error.splitlines()
    assert sorted(error) == [
        "caf\\xe9.csv has a name that is not UTF-8 text: rename it",
        "gone.csv cannot be looked at: No such file or directory",
        "pipe.csv is not a regular file",
    ]
    assert landed(config) == ["good.csv:1:C"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    """Links to files and folders are taken; a link that leads back up is no endless way; the same file is not twice."""
    config = prepare(tmp_path)
    write(tmp_path / "far" / "b.csv", csv("B"), 2)
    write(tmp_path / "far" / "c.csv", csv("CC"), 1)
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "in" / "once-more.csv").symlink_to(tmp_path / "far" / "c.csv")
    (tmp_path / "far" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in")
    done = work(config)
    assert done.error == "" and landed(config) == ["linked/b.csv:1:B", "linked/c.csv:1:CC"]
    assert "once-more.csv has the same content as linked/c.csv: it is not read again" in done.notices


def test_check_tells_what_the_run_will_fail_with(tmp_path: Path) -> None:
    """What makes a run end with exit code 1 before a row is read is told by check."""
    config = prepare(tmp_path)
    (tmp_path / "in" / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    assert work(config).error == "gone.csv cannot be looked at: No such file or directory"
    assert check(Pipeline.open(config)).problems


def test_a_file_as_source(tmp_path: Path) -> None:
    """One file is taken as it is named; of an unknown kind it is refused, as is what is no file."""
    config = prepare(tmp_path, "./a.csv")
    write(tmp_path / "a.csv", csv("C"))
    write(tmp_path / "b.csv", csv("D"))
    assert work(config) == Done("", []) and landed(config) == ["a.csv:1:C"]
    write(tmp_path / "c.md", csv("E"))
    os.mkfifo(tmp_path / "d.csv")
    for name, words in (("c.md", "is of no known format"), ("d.csv", "is not a regular file")):
        pipeline = Pipeline.open(config, [f"source.uri={tmp_path}/{name}"])
        with pytest.raises(RunError, match=f"the source {tmp_path}/{name} {words}"):
            pipeline.run(once=True)


def test_an_empty_folder(tmp_path: Path) -> None:
    """Nothing to do is no failure."""
    config = prepare(tmp_path)
    assert work(config) == Done("", []) and landed(config) == []


@pytest.mark.parametrize("arguments", [["run", "--once"], ["run"], ["ingest", "--once"], ["check"]])
def test_a_source_that_is_not_there(arguments: list[str], tmp_path: Path) -> None:
    """The program says so and ends, also when it would have gone on for ever; once it is there, all is read."""
    config = prepare(tmp_path, "./later")
    done = call(*arguments, "-c", config)
    assert (done.returncode, done.stdout if arguments != ["check"] else "") == (2 if arguments == ["check"] else 1, "")
    words = f"the source {tmp_path}/later cannot be read: No such file or directory"
    assert done.stderr.splitlines()[-1].endswith(words) and "Traceback" not in done.stderr
    write(tmp_path / "later" / "a.csv", csv("C"))
    assert work(config) == Done("", []) and landed(config) == ["a.csv:1:C"]


# ------------------------------------------------------------------------------------------- what is taken again


def test_a_copied_renamed_or_touched_file_is_not_read_again(tmp_path: Path) -> None:
    """The content is what counts: under another name it is told, under its own it is not even that."""
    config = prepare(tmp_path)
    a = write(tmp_path / "in" / "a.csv", csv("A", "B"), 9)
    write(tmp_path / "in" / "b.csv", csv("C", "D"), 8)
    assert work(config) == Done("", [])
    rows = landed(config)
    shutil.copy(a, tmp_path / "in" / "copy.csv")
    (tmp_path / "in" / "b.csv").rename(tmp_path / "in" / "renamed.csv")
    os.utime(a)
    done = work(config)
    assert done.error == "" and sorted(done.notices) == [
        "copy.csv has the same content as a.csv: it is not read again",
        "renamed.csv has the same content as b.csv: it is not read again",
    ]
    assert work(config) == Done("", [])
    assert landed(config) == rows
    assert status(Pipeline.open(config)).files == {"done": 2, "duplicate": 2}


CHANGES: dict[str, str | bytes] = {
    "longer": csv("A", "B", "C"),
    "shorter": csv("A"),
    "as long": csv("A", "X"),
    "broken": b"\0\xff",
    "empty": "",
}


@pytest.mark.parametrize("content", CHANGES.values(), ids=CHANGES)
def test_a_file_that_was_changed_is_told_and_left(content: str | bytes, tmp_path: Path) -> None:
    """What is landed stays, the change is told by every run and by status, and other files are taken as ever."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / "a.csv", csv("A", "B"), 9)
    assert work(config) == Done("", [])
    write(tmp_path / "in" / "a.csv", content, 8)
    write(tmp_path / "in" / "b.csv", csv("D"), 7)
    told = "has changed after it was taken: its first 2 rows are landed and stay, the new content is not read. "
    for _ in range(2):
        done = work(config)
        assert done.error == f"a.csv {told}Give new content a new name" and done.notices == [done.error]
    assert landed(config) == ["a.csv:1:A", "a.csv:2:B", "b.csv:1:D"]
    now = status(Pipeline.open(config))
    assert (now.files, now.problems) == ({"changed": 1, "done": 1}, (f"a.csv: {told}Give new content a new name",))


# ------------------------------------------------------------------------------------------------ while it runs


def test_new_files_while_it_runs(tmp_path: Path) -> None:
    """A file that appears or gets its real name is taken; so is a refused one once it is made good."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / "a.csv", csv("A"), 9)
    write(tmp_path / "in" / "bad.csv", "customer\nB\n", 8)
    part = write(tmp_path / "in" / "c.csv.part", csv("C"), 7)
    with Running(Pipeline.open(config)) as running:
        running.until_said("bad.csv has no column 'merchant'")
        running.until_processed(0)
        part.rename(tmp_path / "in" / "c.csv")
        running.until_processed(1)
        write(tmp_path / "in" / "sub" / "d.csv", csv("D", "E"), 20)
        running.until_processed(3)
        write(tmp_path / "in" / "bad.csv", csv("B"), 6)
        running.until_processed(4)
    assert landed(config) == ["a.csv:1:A", "c.csv:1:C", "sub/d.csv:1:D", "sub/d.csv:2:E", "bad.csv:1:B"]
    assert status(Pipeline.open(config)).problems == ()


def test_a_folder_that_goes_away_for_a_while(tmp_path: Path) -> None:
    """It is told, the run goes on, and what is new when the folder is back is taken."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / "a.csv", csv("A"), 9)
    with Running(Pipeline.open(config)) as running:
        running.until_processed(0)
        (tmp_path / "in").rename(tmp_path / "away")
        running.until_said("in cannot be read: No such file or directory")
        write(tmp_path / "away" / "b.csv", csv("B"), 8)
        (tmp_path / "away").rename(tmp_path / "in")
        running.until_processed(1)
    assert landed(config) == ["a.csv:1:A", "b.csv:1:B"]


@pytest.mark.parametrize("how", ["replaced", "appended to", "removed"])
def test_a_file_that_changes_while_it_is_read(how: str, tmp_path: Path) -> None:
    """No row of two versions is mixed: what came before stays, how far it came is said, others are read on."""
    config = prepare(tmp_path)
    a = write(tmp_path / "in" / "a.csv", csv("A", "B", "C", "D"), 9)
    write(tmp_path / "in" / "b.csv", csv("E"), 8)

    def change(running: Running, event: Event) -> None:
        if isinstance(event, Landed) and event.chunk == 1:
            if how == "replaced":
                write(tmp_path / "new", csv("W", "X", "Y", "Z")).replace(a)
            elif how == "removed":
                a.unlink()
            else:
                a.write_text(a.read_text("utf-8") + "E,M,1\n", "utf-8")

    words = "a.csv was changed or removed while it was read: its first 2 rows are landed, the rows behind them are not"
    with Running(Pipeline.open(config), change) as running:
        running.until_said(words)
        running.until_processed(2)
        write(tmp_path / "in" / "rest.csv", csv("C", "D"), 7)
        running.until_processed(4)
    assert landed(config) == ["a.csv:1:A", "a.csv:2:B", "b.csv:1:E", "rest.csv:1:C", "rest.csv:2:D"]
    done = work(config)
    assert done.error == "" if how == "removed" else done.error.startswith(words)


# -------------------------------------------------------------------------------------------- stopped half-way

SIX = tuple("ABCDEF")


def parquet(*customers: str) -> bytes:
    """The same as a Parquet file."""
    target = io.BytesIO()
    pl.DataFrame({"customer": customers, "merchant": "M", "amount": 1.0}).write_parquet(target)
    return target.getvalue()


JSON = "".join(f'{{"customer": "{c}", "merchant": "M", "amount": 1}}\n' for c in SIX)
FORMATS: dict[str, str | bytes] = {
    "a.csv": csv(*SIX),
    "a.csv.gz": gzip.compress(csv(*SIX).encode()),
    "a.jsonl": JSON,
    "a.jsonl.gz": gzip.compress(JSON.encode()),
    "a.parquet": parquet(*SIX),
}


def stop_within(config: Path, rows: int) -> None:
    """Runs until so many rows are landed, and stops within the file."""

    def is_last(event: Event) -> bool:
        return isinstance(event, Landed) and event.chunk == rows - 1

    def stop(running: Running, event: Event) -> None:
        if is_last(event):
            running.stop.set()

    with Running(Pipeline.open(config), stop) as running:
        running.until(is_last)
    assert status(Pipeline.open(config)).files == {"reading": 1}


@pytest.mark.parametrize("name", FORMATS)
def test_a_stopped_run_goes_on_within_the_file(name: str, tmp_path: Path) -> None:
    """Every row is landed once, in order, before files that are older, and a copy of the file is known for one."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / name, FORMATS[name], 8)
    for rows in (2, 5):
        stop_within(config, rows)
    write(tmp_path / "in" / f"copy-of-{name}", FORMATS[name], 9)
    assert work(config) == Done("", [f"copy-of-{name} has the same content as {name}: it is not read again"])
    assert landed(config) == [f"{name}:{n}:{c}" for n, c in enumerate(SIX, 1)]


def test_a_half_read_file_that_is_touched_or_removed(tmp_path: Path) -> None:
    """What is behind the landed rows cannot be trusted to be the same: it is told where to go on, and not read."""
    for how, words in (
        ("touched", "has changed after it was taken: its first 3 rows are landed and stay"),
        ("removed", "is gone after row 3: the rows behind it are not landed"),
    ):
        config = prepare(tmp_path / how)
        path = write(tmp_path / how / "in" / "a.csv", csv(*SIX), 9)
        stop_within(config, 3)
        if how == "touched":
            os.utime(path)
        else:
            path.unlink()
        assert work(config).error.startswith(f"a.csv {words}")
        assert landed(config) == ["a.csv:1:A", "a.csv:2:B", "a.csv:3:C"]


def test_a_half_read_file_that_is_renamed(tmp_path: Path) -> None:
    """No row is counted twice, whether the file is read on under its new name or left."""
    config = prepare(tmp_path)
    path = write(tmp_path / "in" / "a.csv", csv(*SIX), 9)
    stop_within(config, 3)
    path.rename(tmp_path / "in" / "b.csv")
    work(config)
    customers = [row.rpartition(":")[2] for row in landed(config)]
    assert customers in (list("ABC"), list(SIX))


# --------------------------------------------------------------------------------------------- landing formats


def alike(one: Site, other: Site) -> bool:
    """Whether two pipelines have detected and quarantined the same, and nothing is wrong with either."""
    a, b = one.outcome(), other.outcome()
    assert one.problems() == other.problems() == []
    assert a.detections and a.turns and a.quarantined
    return (a.detections, a.turns, a.quarantined) == (b.detections, b.turns, b.quarantined)


def test_csv_chunks_give_what_parquet_chunks_give(new_site: Callable[[Path], Site], done: Site, tmp_path: Path) -> None:
    """The format of the landing zone, also when it is changed half-way, changes no detection and no quarantine."""
    site, mixed = new_site(tmp_path / "csv"), new_site(tmp_path / "mixed")
    config = site.config.read_text("utf-8")
    site.config.write_text(f"{config}landing: {{uri: ./tillwatch-data/landing, format: csv}}\n", "utf-8")
    site.pipeline.ingest(once=True)
    site.pipeline.detect(once=True)
    assert formats(site) == {".csv", ".json"}
    assert alike(site, done)
    stop = threading.Event()
    overrides = ["landing.format=csv", "source.every=0.001"]

    def stop_at_once(event: Event) -> None:
        if isinstance(event, Landed):
            stop.set()

    Pipeline.open(mixed.config, overrides).ingest(stop=stop, observer=stop_at_once)
    mixed.pipeline.ingest(once=True)
    mixed.pipeline.detect(once=True)
    assert formats(mixed) == {".csv", ".json", ".parquet"}
    assert alike(mixed, done)


def formats(site: Site) -> set[str]:
    """The formats of what is landed, without the versions of lookups."""
    return {Path(name).suffix for name in site.objects()["landing"] if not name.startswith("_lookups/")}


# ------------------------------------------------------------------------------------------------ two instances


def call(*arguments: str | Path, prefix: Sequence[str] = ()) -> Called:
    """The real program."""
    command = [*prefix, sys.executable, "-m", "tillwatch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_of_two_instances_one_works(tmp_path: Path) -> None:
    """Beside a run every other run, ingest and detect ends with exit code 1 and names it; it goes on undisturbed."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / "a.csv", csv("A"), 9)
    with Running(Pipeline.open(config)) as running:
        running.until_processed(0)
        now = status(Pipeline.open(config))
        assert (now.ingest_at_work, now.detect_at_work) == (True, True)
        for arguments in (["run"], ["run", "--once"], ["ingest"], ["detect", "--once"]):
            second = call(*arguments, "-c", config)
            assert (second.returncode, second.stdout) == (1, "")
            assert f"is at work on this pipeline already: process {os.getpid()} on " in second.stderr
            assert len(second.stderr.splitlines()) == 1 and second.stderr.rstrip().endswith("or let it work.")
        write(tmp_path / "in" / "b.csv", csv("B"), 8)
        running.until_processed(1)
    assert work(config) == Done("", [])
    assert landed(config) == ["a.csv:1:A", "b.csv:1:B"]


@pytest.mark.parametrize("held", ["ingest", "detect"])
def test_half_of_a_run_held_by_another(held: Mechanism, tmp_path: Path) -> None:
    """When only one of its halves is taken a run leaves too, and what it did till then is whole."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / "a.csv", csv("A", "B"), 9)
    with (
        Pipeline.open(config).opened() as state,
        state.lease(held),
        pytest.raises(LeaseHeld, match=f"{held} is at work on this pipeline already"),
    ):
        Pipeline.open(config).run(once=True)
    assert work(config) == Done("", [])
    assert landed(config) == ["a.csv:1:A", "a.csv:2:B"]


# ----------------------------------------------------------------------------------------------------- full disk


class HurriedClock(SystemClock):
    """Waits take milliseconds, and the time that they stand for is over all the same."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    def wait(self, event: threading.Event, seconds: float) -> bool:
        over = super().wait(event, min(seconds, 0.005))
        self._skipped += 0 if over else seconds
        return over


def hurried(site: Site, *overrides: str) -> Pipeline:
    """The site's pipeline with a clock that does not keep a test waiting."""
    return Pipeline(Pipeline.open(site.config, overrides).settings, HurriedClock())


@dataclass(frozen=True)
class Disk:
    """A small disk of its own, mounted on a folder."""

    folder: Path

    def fill(self, leave: int) -> None:
        """Leaves so many bytes of it free."""
        about = os.statvfs(self.folder)
        with (self.folder / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, about.f_bavail * about.f_frsize - leave)

    def free(self) -> None:
        """Makes room again."""
        (self.folder / "ballast").unlink()


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A disk of 16 MiB; without the right to mount one the test is skipped."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tillwatch-test", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a disk: {made.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


PLACES = {
    "landing": ("tillwatch-data/landing", 30_000, StoreError, "make room there and start again"),
    "quarantine": ("tillwatch-data/quarantine", 20_000, StoreError, "make room there and start again"),
    "detections": ("tillwatch-data/detections", 20_000, StoreError, "make room there and start again"),
    "state": ("state", 200_000, StateError, "free some space; the work goes on from the last commit"),
}


def site_with_disk(
    place: str, new_site: Callable[[Path], Site], folder: Path
) -> tuple[Site, AbstractContextManager[Disk]]:
    """A pipeline whose landing zone, quarantine, detections or state is on a disk of its own."""
    site = new_site(folder / "site")
    if place == "state":
        site.config.write_text(f"{site.config.read_text('utf-8')}state: ./state/state.db\n", "utf-8")
    return site, mounted(site.folder / PLACES[place][0])


@pytest.mark.parametrize("place", PLACES)
def test_a_disk_that_is_full_ends_a_run_with_once(
    place: str, new_site: Callable[[Path], Site], done: Site, tmp_path: Path
) -> None:
    """After some patience, with a message that names the place; with room again another run ends the work."""
    site, disk_of_its_own = site_with_disk(place, new_site, tmp_path)
    with disk_of_its_own as disk:
        with site.pipeline.opened():
            disk.fill(PLACES[place][1])
        notices: list[Event] = []
        _, _, error, words = PLACES[place]
        with pytest.raises(error, match=words) as failed:
            hurried(site).run(once=True, observer=notices.append)
        assert failed.value.exit_code == 1 and str(disk.folder) in str(failed.value)
        assert any("(trying again in " in n.text and words in n.text for n in notices if isinstance(n, Notice))
        disk.free()
        hurried(site).run(once=True)
        assert alike(site, done) and site.outcome().landed == done.outcome().landed


@pytest.mark.parametrize("place", PLACES)
def test_a_disk_that_is_full_for_a_while(
    place: str, new_site: Callable[[Path], Site], done: Site, tmp_path: Path
) -> None:
    """A run that goes on for ever tells it, tries again, and goes on when there is room: as if nothing had been."""
    site, disk_of_its_own = site_with_disk(place, new_site, tmp_path)
    with disk_of_its_own as disk:
        with site.pipeline.opened():
            disk.fill(PLACES[place][1])
        with Running(hurried(site, "source.every=0")) as running:
            said = running.until_said("(trying again in ")
            assert PLACES[place][3] in said and str(disk.folder) in said
            running.until_said("(trying again in ")
            disk.free()
            running.until_processed(done.pipeline.landing.next_number() - 1)
        assert alike(site, done) and site.outcome().landed == done.outcome().landed


def test_a_disk_that_is_full_from_the_start(new_site: Callable[[Path], Site], done: Site, tmp_path: Path) -> None:
    """When not even the state can be made, that is what is said; with room all is done."""
    site, disk_of_its_own = site_with_disk("state", new_site, tmp_path)
    with disk_of_its_own as disk:
        disk.fill(0)
        for mechanism in (site.pipeline.ingest, site.pipeline.detect):
            with pytest.raises(StateError, match="free some space"):
                mechanism(once=True)
        disk.free()
        hurried(site).ingest(once=True)
        hurried(site).detect(once=True)
        assert alike(site, done)


# ----------------------------------------------------------------------------------------------- missing rights

Program = Callable[..., Called]


@pytest.fixture
def program() -> Program:
    """The real program as somebody for whom the rights of files and folders count, which for root they do not."""
    if os.geteuid():
        return call
    prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
    if not shutil.which(prefix[0]) or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot give up the rights of root")
    return partial(call, prefix=prefix)


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    """The rights of a file or folder for a while."""
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


def test_files_that_cannot_be_read(program: Program, tmp_path: Path) -> None:
    """An unreadable file and folder are named, the others are worked off, exit code 1; then they are read too."""
    config = prepare(tmp_path)
    secret = write(tmp_path / "in" / "secret.csv", csv("S"), 9)
    write(tmp_path / "in" / "closed" / "c.csv", csv("CC"), 8)
    write(tmp_path / "in" / "good.csv", csv("GGG"), 7)
    with mode(secret, 0), mode(tmp_path / "in" / "closed", 0):
        run = program("run", "--once", "-c", config)
    assert (run.returncode, run.stdout) == (1, "") and "Traceback" not in run.stderr
    problems = {"secret.csv cannot be opened: Permission denied", "closed cannot be looked at: Permission denied"}
    assert {line.removeprefix("tillwatch: ") for line in run.stderr.splitlines()[-2:]} == problems
    assert landed(config) == ["good.csv:1:GGG"]
    assert work(config) == Done("", [])
    assert landed(config) == ["good.csv:1:GGG", "secret.csv:1:S", "closed/c.csv:1:CC"]


def test_a_folder_that_cannot_be_listed(program: Program, tmp_path: Path) -> None:
    """The source is named with what is wrong, by check and by a run; exit codes 2 and 1."""
    config = prepare(tmp_path)
    write(tmp_path / "in" / "a.csv", csv("A"))
    with mode(tmp_path / "in", 0):
        for code, arguments in ((2, ["check"]), (1, ["run", "--once"])):
            done = program(*arguments, "-c", config)
            assert done.returncode == code and "Traceback" not in done.stderr
            assert done.stderr.endswith(f"the source {tmp_path}/in cannot be read: Permission denied\n")


@pytest.mark.slow
def test_places_that_cannot_be_written_to(
    program: Program,
    new_site: Callable[[Path], Site],
    done: Site,
    tmp_path: Path,
) -> None:
    """check and a run name the place, exit codes 2 and 1; when the rights are given another run ends the work."""

    def attempt(place: str, site: Site) -> None:
        folder = site.folder / PLACES[place][0]
        folder.mkdir(parents=True)
        if place != "state":
            with site.pipeline.opened():  # made before, see prepare
                pass
        with mode(folder, 0o555):
            checked, run = program("check", "-c", site.config), program("run", "--once", "-c", site.config)
        ends[place] = checked, run

    sites = {place: site_with_disk(place, new_site, tmp_path / place)[0] for place in PLACES}
    ends: dict[str, tuple[Called, Called]] = {}
    threads = [threading.Thread(target=attempt, args=each) for each in sites.items()]
    with ExitStack() as joined:
        for thread in threads:
            thread.start()
            joined.callback(thread.join)
    for place, site in sites.items():
        checked, run = ends[place]
        folder = site.folder / PLACES[place][0]
        assert (checked.returncode, run.returncode, run.stdout) == (2, 1, "")
        assert checked.stderr == f"tillwatch: {place}: the folder {folder} cannot be written to\n"
        last = run.stderr.splitlines()[-1]
        assert str(folder) in last and "Traceback" not in run.stderr
        advice = "check that the folder exists and can be written to" if place == "state" else "give the user that runs"
        assert advice in last
        site.pipeline.ingest(once=True)
        site.pipeline.detect(once=True)
        assert alike(site, done)


def test_a_place_that_is_a_file(tmp_path: Path) -> None:
    """It is told with its line in the configuration before anything runs."""
    config = prepare(tmp_path)
    write(tmp_path / "file", "")
    with pytest.raises(ConfigError, match=r"cannot open .*/file: Not a directory"):
        Pipeline.open(config, [f"landing.uri={tmp_path}/file"])
