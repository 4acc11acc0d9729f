"""Ingest from elsewhere: what is landed and noted, what is fetched for it, and what is said."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tillwatch.errors import SourceError, SourceUnavailable
from tillwatch.ingest import ChunkLanded, Event, FileFinished, FileIgnored, IngestResult, IngestSettings, ingest
from tillwatch.landing import Landing
from tillwatch.retry import Retry
from tillwatch.state import open_state
from tillwatch.state.base import FileRecord
from tillwatch.testing.clocks import ScriptedClock
from tillwatch.testing.servers.drive import EMAIL, SHEET, DriveServer, Fault, drive_server
from tillwatch.testing.stores import MemoryStore

NOTHING = [lambda: None] * 40


class World:
    """A folder on Drive, a landing zone, a ledger."""

    def __init__(self, place: Path, drive: DriveServer) -> None:
        self.drive = drive
        self.root = drive.folder()
        self.store = MemoryStore()
        self.place = place
        self.events: list[Event] = []
        self.said: list[str] = []
        self.stop = threading.Event()

    def run(
        self, *happenings: Callable[[], object], once: bool = True, hook: Callable[[Event], object] = str, **how: Any
    ) -> IngestResult:
        """Ingest in a process of its own, as it were: all that is known is in the ledger and the landing zone."""
        self.events, self.stop = [], threading.Event()
        clock = ScriptedClock(*happenings)
        retry = Retry(clock, self.stop, self.said.append, how.pop("patience", 60.0))
        settings = {"rows": 2, "every": 0.0, "format": "auto", "delimiter": ",", "required": {}, **how}

        def heard(event: Event) -> None:
            self.events.append(event)
            hook(event)

        state = open_state(str(self.place / "state.db"))
        try:
            uri = f"gdrive://{self.root}"
            return ingest(
                IngestSettings(uri, **settings), Landing(self.store), state, clock, self.stop, once, heard, retry
            )
        finally:
            state.close()

    def files(self) -> dict[str, FileRecord]:
        """The files of the ledger."""
        state = open_state(str(self.place / "state.db"))
        try:
            return {record.file.name: record for record in state.files()}
        finally:
            state.close()

    def landed(self) -> list[str]:
        """All landed rows in order, as `file:row:first column`."""
        landing = Landing(self.store)
        frames = [landing.read(number).frame for number in range(landing.next_number())]
        return [
            f"{f}:{r}:{a}" for x in frames for f, r, a in x.select("_source_file", "_source_row", x.columns[0]).rows()
        ]

    def stop_after(self, chunk: int) -> Callable[[Event], None]:
        """A hook that stops the run once a chunk is landed."""

        def hook(event: Event) -> None:
            if isinstance(event, ChunkLanded) and event.info.number == chunk:
                self.stop.set()

        return hook


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of its own for each test."""
    with drive_server() as drive:
        for name, value in drive.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield World(tmp_path, drive)


def numbered(*numbers: int) -> str:
    """A CSV file with one column."""
    return "".join(f"{line}\n" for line in ("a", *numbers))


def long_rows(count: int) -> str:
    """A CSV file of rows of some 1,000 bytes."""
    return "a,b\n" + "".join(f"{n},{'x' * 1000}\n" for n in range(count))


def parquet(count: int) -> bytes:
    """A Parquet file with one column."""
    target = io.BytesIO()
    pl.DataFrame({"a": range(count)}).write_parquet(target)
    return target.getvalue()


def test_folder_in_order(world: World) -> None:
    """Files are taken by modification time, whatever their format; the ledger has ids, revisions and checksums."""
    put, root = world.drive.put, world.root
    csv = put("b.csv", numbered(2), root, age=200)
    put("a.jsonl", '{"a":1}\n', root, age=300)
    put("c.csv.gz", gzip.compress(numbered(3).encode()), root, age=100)
    put("d.parquet", parquet(1), root, age=50)
    put("e", numbered(5), root, age=20, kind=SHEET)
    put("notes.md", "text", root)
    assert world.run().problems == ()
    assert world.landed() == ["a.jsonl:1:1", "b.csv:1:2", "c.csv.gz:1:3", "d.parquet:1:0", "e.csv:1:5"]
    records = world.files()
    assert {record.status for record in records.values()} == {"done"}
    assert (records["b.csv"].file.id, records["b.csv"].file.revision) == (csv, f"{csv}r1")
    assert records["b.csv"].digest == world.drive.files[csv].shown()["sha256Checksum"]
    assert [e.name for e in world.events if isinstance(e, FileIgnored)] == ["notes.md"]
    asked = len(world.drive.served.ranges)
    assert world.run() == IngestResult(0, 0, ())
    assert len(world.drive.served.ranges) == asked


def test_stopped_within_a_file(world: World) -> None:
    """A run goes on inside a large file, having fetched nothing anew but its head; the chunks are the same."""
    text = long_rows(2_000)
    id = world.drive.put("a.csv", text, world.root)
    world.run(rows=100)
    whole, world.store = world.store.objects, MemoryStore()
    (world.place / "state.db").unlink()
    world.drive.served.ranges.clear()
    world.run(*NOTHING, once=False, rows=100, every=1.0, hook=world.stop_after(9))
    assert (world.files()["a.csv"].status, world.files()["a.csv"].rows) == ("reading", 1_000)
    first = world.drive.served.bytes_of(id)
    world.drive.served.ranges.clear()
    world.run(rows=100)
    assert world.store.objects == whole
    assert first < len(text)
    head, *rest = world.drive.served.ranges
    assert head == (id, 0, 64 << 10)
    assert sum(length for _, _, length in rest) == len(text) - rest[0][1] < 0.51 * len(text)


def test_stopped_within_a_file_that_is_fetched_whole(world: World) -> None:
    """A compressed file and a Parquet file are fetched once, also when reading them is stopped and goes on."""
    for name, content in (("a.csv.gz", gzip.compress(numbered(*range(9)).encode())), ("b.parquet", parquet(9))):
        id = world.drive.put(name, content, world.root)
        begun = Landing(world.store).next_number()
        world.run(*NOTHING, once=False, every=1.0, hook=world.stop_after(begun + 1))
        assert world.files()[name].status == "reading"
        world.run()
        assert world.drive.served.bytes_of(id) == len(content)
    assert world.landed() == [f"{name}:{n + 1}:{n}" for name in ("a.csv.gz", "b.parquet") for n in range(9)]
    assert not list((world.place / "cache" / "tillwatch").iterdir())


def test_stopped_while_a_begun_file_cannot_be_looked_at(world: World) -> None:
    """A run that is stopped before it could see the file that it goes on with does not take it for gone."""
    world.drive.put("a.csv", numbered(*range(9)), world.root)
    world.run(*NOTHING, once=False, every=1.0, hook=world.stop_after(1))

    def refuse(event: Event) -> None:
        world.drive.faults.extend([Fault("about", 503)] * 2)

    world.drive.put("notes.md", "text", world.root)  # told of at the end of the look, and nothing is asked before
    world.run(once=False, every=1.0, hook=refuse)
    assert not world.drive.faults
    assert (world.files()["a.csv"].status, world.files()["a.csv"].problem) == ("reading", None)
    world.run()
    assert world.landed() == [f"a.csv:{n + 1}:{n}" for n in range(9)]


def test_stopped_while_a_file_is_fetched_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not wait for the end of a large file; what was fetched of it is not fetched again."""
    monkeypatch.setattr("tillwatch.sources.spool.RANGE", 50)
    content = gzip.compress(numbered(*range(99)).encode())
    id = world.drive.put("a.csv.gz", content, world.root)
    world.drive.faults.append(Fault("media", 503))
    world.run(lambda: world.stop.set(), once=False, every=1.0)
    assert len(world.drive.served.ranges) <= 1 < len(content) / 50
    world.run()
    assert (world.drive.served.bytes_of(id), len(world.landed())) == (len(content), 99)


def test_lost_ledger(world: World) -> None:
    """The landing zone alone tells which files were taken, by their ids."""
    world.drive.put("a.csv", numbered(1, 2, 3), world.root, age=100)
    world.drive.put("b.csv", numbered(*range(10, 19)), world.root, age=50)
    world.run(*NOTHING, once=False, every=1.0, hook=world.stop_after(3))
    before = world.files()
    (world.place / "state.db").unlink()
    world.run()
    assert {name: record.file for name, record in world.files().items()} == {n: r.file for n, r in before.items()}
    assert world.landed() == [*(f"a.csv:{n}:{n}" for n in (1, 2, 3)), *(f"b.csv:{n}:{n + 9}" for n in range(1, 10))]


def test_new_files_while_running(world: World) -> None:
    """Files that come into the folder are found at the next look, every five seconds."""
    world.drive.put("a.csv", numbered(1), world.root)
    world.run(
        lambda: world.drive.put("c.csv", numbered(3), world.root, age=20),
        lambda: world.drive.put("b.csv", numbered(2), world.root, age=30),
        lambda: None,
        once=False,
    )
    assert world.landed() == ["a.csv:1:1", "c.csv:1:3", "b.csv:1:2"]


def test_changed_files(world: World) -> None:
    """A new revision of a file that was taken is found and told, not read; the same content again is nothing new."""
    changed = world.drive.put("a.csv", numbered(1), world.root)
    same = world.drive.put("b.csv", numbered(2), world.root)
    result = world.run(
        lambda: (world.drive.change(changed, numbered(1, 2)), world.drive.change(same, numbered(2))),
        lambda: None,
        once=False,
    )
    assert [problem.partition(":")[0] for problem in result.problems] == ["a.csv has changed after it was taken"]
    assert world.landed() == ["a.csv:1:1", "b.csv:1:2"]
    assert world.run().problems == result.problems


def test_two_files_of_one_name(world: World) -> None:
    """Files of one name are both read, at the same time or one after the other was removed; a copy is not."""
    first = world.drive.put("a.csv", numbered(1), world.root, age=300)
    world.run()
    second = world.drive.put("a.csv", numbered(2), world.root, age=200)
    world.drive.put("a.csv", numbered(1), world.root, age=100)
    world.run()
    del world.drive.files[first]
    world.drive.put("a.csv", numbered(4), world.root, age=50)
    world.run()
    assert [row.rpartition(":")[2] for row in world.landed()] == ["1", "2", "4"]
    assert world.landed()[1].startswith(f"a [{second}].csv")
    assert sorted(record.status for record in world.files().values()) == ["done", "done", "done", "duplicate"]


def test_renamed_while_it_is_read(world: World) -> None:
    """A begun file that gets another name or folder is read on, under the name that it was taken with."""
    id = world.drive.put("a.csv", numbered(*range(1, 9)), world.root)
    world.run(*NOTHING, once=False, every=1.0, hook=world.stop_after(1))
    world.drive.files[id].name = "z.csv"
    world.run()
    assert world.landed() == [f"a.csv:{n}:{n}" for n in range(1, 9)]
    assert world.run() == IngestResult(0, 0, ())


def test_changed_while_it_is_read(world: World) -> None:
    """A file that changes under way is left at that row and reported, and the next file is read."""
    id = world.drive.put("a.csv", long_rows(2_000), world.root, age=100)
    world.drive.put("b.csv", "a,b\n7,7\n", world.root, age=50)

    def spoil(event: Event) -> None:
        if isinstance(event, ChunkLanded) and event.info.number == 0:
            world.drive.change(id, long_rows(1_999))

    result = world.run(*NOTHING, once=False, rows=10, every=1.0, hook=spoil)
    assert world.files()["a.csv"].status == "changed"
    assert result.problems[0].startswith("a.csv was changed or removed while it was read: its first ")
    assert world.landed()[-1] == "b.csv:1:7"


def test_hiccups(world: World) -> None:
    """Quota errors, errors and broken answers while looking and reading are reported; no row is lost or doubled."""
    id = world.drive.put("a.csv", long_rows(300), world.root)
    world.drive.faults += [
        Fault("about", 403, "userRateLimitExceeded", "2"),
        Fault("list", 500, "backendError"),
        Fault("media", 429, "rateLimitExceeded"),
        Fault("media", after_bytes=1_000),
        Fault("media", status=0),
        Fault("about", 503),
    ]
    assert world.run(*NOTHING, rows=100).problems == ()
    assert [row.rpartition(":")[2] for row in world.landed()] == [str(n) for n in range(300)]
    assert len(world.said) == 5
    assert world.drive.served.bytes_of(id) >= len(long_rows(300))


def test_revoked_while_it_is_read(world: World) -> None:
    """A grant that is taken back ends a run that has little patience; the next one, with the grant, goes on."""
    id = world.drive.put("a.csv", long_rows(2_000), world.root)

    def shared(yes: bool) -> None:
        world.drive.files[id].shared = world.drive.files[world.root].shared = yes

    def spoil(event: Event) -> None:
        if isinstance(event, ChunkLanded) and event.info.number == 0:
            shared(False)

    with pytest.raises(SourceUnavailable, match=f"share it with {EMAIL} as a viewer"):
        world.run(*NOTHING, once=False, rows=10, every=1.0, hook=spoil, patience=1.0)
    assert world.files()["a.csv"].status == "reading"
    shared(True)
    world.run(rows=10)
    assert [row.rpartition(":")[2] for row in world.landed()] == [str(n) for n in range(2_000)]


def test_revoked_between_files(world: World) -> None:
    """A run that goes on for ever says that the source cannot be looked at, and finds new files once it can."""
    world.drive.put("a.csv", numbered(1), world.root)
    folder = world.drive.files[world.root]
    world.run(
        lambda: setattr(folder, "shared", False),
        lambda: None,
        lambda: (setattr(folder, "shared", True), world.drive.put("b.csv", numbered(2), world.root)),
        lambda: None,
        once=False,
    )
    told = [event.reason for event in world.events if isinstance(event, FileIgnored)]
    assert len(told) == 1
    assert f"share it with {EMAIL}" in told[0]
    assert world.landed() == ["a.csv:1:1", "b.csv:1:2"]


def test_not_shared_at_all(world: World) -> None:
    """A run cannot begin without the grant, however patient it is."""
    world.drive.files[world.root].shared = False
    with pytest.raises(SourceError, match=f"share it with {EMAIL}"):
        world.run(once=False)


def test_bad_files(world: World) -> None:
    """Files that cannot be read are reported with their reasons, and the others are landed."""
    world.drive.put("bad.csv", "x,y\n1,2\n", world.root, age=300)
    world.drive.put("bad.parquet", b"PAR1 and a bit", world.root, age=250)
    world.drive.put("cut.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-4], world.root, age=200)
    world.drive.put("large", bytes(10_000_001), world.root, age=150, kind=SHEET)
    world.drive.put("a.csv", numbered(1), world.root, age=100)
    result = world.run(required={"amount": "a"})
    words = {
        "bad.csv": "has no column 'a'",
        "bad.parquet": "is not a whole Parquet file",
        "cut.csv.gz": "the file was cut off, after row 1",
        "large.csv": "is a Google Sheet too large to be exported",
    }
    assert {problem.partition(" ")[0] for problem in result.problems} == set(words)
    assert all(any(p.startswith(f"{n} ") and w in p for p in result.problems) for n, w in words.items())
    assert world.landed() == ["cut.csv.gz:1:1", "a.csv:1:1"]
    finished = {e.record.file.name: e.record.status for e in world.events if isinstance(e, FileFinished)}
    assert finished == {name: "broken" if name.startswith("cut") else "refused" for name in words} | {"a.csv": "done"}
