"""Ingest as a whole: what is landed and noted, in which order, whatever happens on the way."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tillwatch.errors import LogError, SourceError, StoreError
from tillwatch.ingest import (
    ChunkLanded,
    Event,
    FileFinished,
    FileIgnored,
    FileStarted,
    IngestResult,
    IngestSettings,
    ingest,
)
from tillwatch.landing import Landing
from tillwatch.retry import Retry
from tillwatch.state import open_state
from tillwatch.state.base import FileRecord
from tillwatch.stores.base import Store
from tillwatch.testing.clocks import BEGIN, ScriptedClock
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

NOTHING = [lambda: None] * 30
"""For so many waits nothing happens."""


class World:
    """A source folder, a landing zone, a ledger; files are a day old unless said otherwise."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "in"
        self.folder.mkdir()
        self.store: Store = MemoryStore()
        self.state = open_state(str(place / "state.db"))
        self.events: list[Event] = []
        self.stop = threading.Event()
        self.clock = ScriptedClock()
        self._place = place

    def forget(self) -> None:
        """The state is lost."""
        self.state.close()
        self.state = open_state(str(self._place / f"state{len(list(self._place.iterdir()))}.db"))

    def write(self, name: str, content: bytes | str, age: float = 86_400) -> Path:
        """A file of the source, modified so many seconds ago."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        modified = BEGIN.timestamp() + self.clock.seconds - age
        os.utime(path, (modified, modified))
        return path

    def run(
        self, *, once: bool = True, hook: Callable[[Event], object] = lambda event: None, **how: Any
    ) -> IngestResult:
        """Ingest; `hook` hears of every event."""
        self.events = []
        self.stop = threading.Event()
        root, patience = how.pop("root", self.folder), how.pop("patience", 0.0)
        settings = {"rows": 2, "every": 0.0, "format": "auto", "delimiter": ",", "required": {}, **how}
        retry = Retry(self.clock, self.stop, lambda text: None, patience)

        def heard(event: Event) -> None:
            self.events.append(event)
            hook(event)

        arguments = (Landing(self.store), self.state, self.clock, self.stop, once, heard, retry)
        return ingest(IngestSettings(root=root, **settings), *arguments)

    def live(self, *happenings: Callable[[], object], **how: Any) -> IngestResult:
        """Ingest that goes on until all of this has happened, one thing at each wait, those for the pace too."""
        self.clock = ScriptedClock(*happenings)
        return self.run(once=False, **how)

    @property
    def objects(self) -> dict[str, bytes]:
        """The landing zone."""
        assert isinstance(self.store, MemoryStore)
        return self.store.objects

    def landed(self) -> list[str]:
        """All landed rows in order, as `file:row:first column`."""
        landing = Landing(self.store)
        frames = [landing.read(number).frame for number in range(landing.next_number())]
        return [
            f"{f}:{r}:{a}" for x in frames for f, r, a in x.select("_source_file", "_source_row", x.columns[0]).rows()
        ]

    def files(self) -> dict[str, FileRecord]:
        """The files of the ledger."""
        return {record.file.name: record for record in self.state.files()}

    def finished(self) -> list[tuple[str, str]]:
        """The files that this run was through with, and how."""
        return [(e.record.file.name, e.record.status) for e in self.events if isinstance(e, FileFinished)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world of its own for each test."""
    made = World(tmp_path)
    yield made
    made.state.close()


def numbered(*numbers: int) -> str:
    """A CSV file with one column."""
    return "".join(f"{line}\n" for line in ("a", *numbers))


def test_one_file(world: World) -> None:
    """A file is landed in chunks of the set size; ledger, events and result say so."""
    path = world.write("a.csv", numbered(1, 2, 3, 4, 5))
    result = world.run(root=path)
    landing = Landing(world.store)
    infos = [landing.info(n) for n in range(3)]
    assert world.landed() == [f"a.csv:{n}:{n}" for n in range(1, 6)]
    assert [(i.number, i.rows, i.first_row, i.position.row) for i in infos] == [
        (0, 2, 1, 2),
        (1, 2, 3, 4),
        (2, 1, 5, 5),
    ]
    assert result == IngestResult(chunks=3, rows=5, problems=())
    assert world.events == [
        FileStarted(infos[0].file, 0),
        *map(ChunkLanded, infos),
        FileFinished(FileRecord(infos[0].file, "done", 5, infos[2].file_digest)),
    ]
    assert world.state.files() == [FileRecord(infos[0].file, "done", 5, infos[2].file_digest)]
    assert world.state.landed() == 3


def test_folder_in_order(world: World) -> None:
    """Files are taken by modification time, then name, also those in subfolders and of other formats."""
    world.write("b.csv", numbered(3), age=100)
    world.write("c.jsonl", '{"a":1}', age=300)
    world.write("2026/a.csv", numbered(2), age=100)
    world.write("a.tsv", "a\tb\n4\t5\n", age=50)
    pl.DataFrame({"a": [5]}).write_parquet(world.write("d.parquet", "", age=0))
    os.utime(world.folder / "d.parquet", (BEGIN.timestamp(), BEGIN.timestamp()))
    world.run()
    assert world.landed() == ["c.jsonl:1:1", "2026/a.csv:1:2", "b.csv:1:3", "a.tsv:1:4", "d.parquet:1:5"]
    assert [record.file.number for record in world.state.files()] == [0, 1, 2, 3, 4]


def test_what_does_not_count(world: World) -> None:
    """Hidden and unfinished files are passed over in silence, files of other kinds are mentioned once."""
    for name in (".a.csv", "_b.csv", "c.csv.tmp", "d.csv.part", "e.csv.crdownload", "_temporary/f.csv", ".git/g.csv"):
        world.write(name, numbered(1))
    world.write("readme.md", "text")
    result = world.live(lambda: None, lambda: None)
    assert [e.name for e in world.events if isinstance(e, FileIgnored)] == ["readme.md"]
    assert (result.problems, world.landed()) == ((), [])


def test_odd_entries_are_problems(world: World) -> None:
    """A pipe, a dangling link and a name that is not text might have been meant: they are problems, not traps."""
    os.mkfifo(world.folder / "pipe.csv")
    (world.folder / "link.csv").symlink_to("nowhere.csv")
    (world.folder / "loop").symlink_to(world.folder)
    Path(os.fsdecode(os.fsencode(world.folder) + b"/caf\xe9.csv")).write_text(numbered(1))
    world.write("a.csv", numbered(1))
    assert sorted(world.run().problems) == [
        "caf\\xe9.csv has a name that is not UTF-8 text: rename it",
        "link.csv cannot be looked at: No such file or directory",
        "pipe.csv is not a regular file",
    ]
    assert world.landed() == ["a.csv:1:1"]


def test_nothing_is_landed_twice(world: World) -> None:
    """A second run finds nothing to do."""
    world.write("a.csv", numbered(1, 2, 3))
    world.run()
    before = dict(world.objects)
    assert world.run() == IngestResult(0, 0, ())
    assert (world.objects, world.events) == (before, [])


def test_new_files_while_running(world: World) -> None:
    """Files that come into the folder while ingest runs are taken; numbers go on."""
    world.write("a.csv", numbered(1, 2, 3))
    world.live(
        lambda: world.write("c.csv", numbered(6), age=30),
        lambda: (world.write("b.csv", numbered(5), age=20), world.write("0.csv", numbered(4), age=40)),
    )
    assert world.landed() == ["a.csv:1:1", "a.csv:2:2", "a.csv:3:3", "c.csv:1:6", "0.csv:1:4", "b.csv:1:5"]
    assert world.state.landed() == 5


def test_a_file_that_grows_is_held_back(world: World) -> None:
    """A file is taken when it has stayed the same for a second, not while it is still being copied."""
    world.live(
        lambda: world.write("a.csv", "a\n1\n", age=0),
        lambda: world.write("a.csv", "a\n1\n2\n", age=0),
        lambda: world.write("a.csv", "a\n1\n2\n3\n", age=0),
        lambda: None,
        lambda: None,
    )
    assert world.finished() == [("a.csv", "done")]
    assert world.landed() == ["a.csv:1:1", "a.csv:2:2", "a.csv:3:3"]


def test_a_date_in_the_future_does_not_hold_back_for_ever(world: World) -> None:
    """A file whose modification time lies ahead is taken after two equal looks."""
    world.write("a.csv", numbered(1), age=-3600)
    world.live(lambda: None)
    assert world.landed() == ["a.csv:1:1"]


def test_changed_after_it_was_taken(world: World) -> None:
    """New content under a taken name is reported once a run, not read, and the landed rows stay."""
    world.write("a.csv", numbered(1, 2))
    result = world.live(lambda: world.write("a.csv", numbered(1, 2, 3)), lambda: None, lambda: None)
    assert world.finished() == [("a.csv", "done"), ("a.csv", "changed")]
    assert world.landed() == ["a.csv:1:1", "a.csv:2:2"]
    assert [problem.partition(":")[0] for problem in result.problems] == ["a.csv has changed after it was taken"]
    assert world.files()["a.csv"].status == "changed"
    assert world.run().problems == result.problems
    world.write("a2.csv", numbered(1, 2, 3))
    world.run()
    assert world.landed()[2:] == ["a2.csv:1:1", "a2.csv:2:2", "a2.csv:3:3"]


def test_same_size_other_content_is_a_change(world: World) -> None:
    """A file of the same size is compared by content."""
    world.write("a.csv", numbered(1))
    world.run()
    world.write("a.csv", numbered(2), age=5)
    assert len(world.run().problems) == 1
    assert world.landed() == ["a.csv:1:1"]


def test_touched_file(world: World) -> None:
    """A file that only got another modification time is the same file."""
    path = world.write("a.csv", numbered(1))
    world.run()
    os.utime(path)
    assert world.run() == IngestResult(0, 0, ())
    assert world.files()["a.csv"].status == "done"


def test_same_content_under_another_name(world: World) -> None:
    """A copy and a renamed file are duplicates: said so, no problem, not landed again."""
    path = world.write("a.csv", numbered(1), age=100)
    world.write("b.csv", numbered(1), age=50)
    assert world.run().problems == ()
    path.rename(world.folder / "c.csv")
    assert world.run().problems == ()
    assert world.finished() == [("c.csv", "duplicate")]
    assert {name: record.status for name, record in world.files().items()} == {
        "a.csv": "done",
        "b.csv": "duplicate",
        "c.csv": "duplicate",
    }
    assert world.files()["b.csv"].problem == "has the same content as a.csv: it is not read again"
    assert world.run() == IngestResult(0, 0, ())
    assert (world.landed(), world.events) == (["a.csv:1:1"], [])


def test_duplicate_that_gets_content_of_its_own(world: World) -> None:
    """A name under which nothing was landed is free for new content."""
    world.write("a.csv", numbered(1), age=100)
    world.write("b.csv", numbered(1), age=50)
    world.run()
    world.write("b.csv", numbered(2), age=20)
    assert world.run().problems == ()
    assert world.landed() == ["a.csv:1:1", "b.csv:1:2"]


@pytest.mark.parametrize("gone", [False, True])
def test_changed_while_it_is_read(world: World, gone: bool) -> None:
    """A file that changes or goes under way is left at that row and reported, and the next file is read."""
    path = world.write("a.csv", numbered(*range(1, 100)), age=100)
    world.write("b.csv", numbered(7), age=50)

    def spoil(event: Event) -> None:
        if isinstance(event, ChunkLanded) and event.info.number == 3:
            path.unlink() if gone else path.write_text(numbered(*range(1, 200)))

    result = world.live(*NOTHING, every=1.0, hook=spoil)
    assert world.files()["a.csv"].status == "changed"
    assert world.files()["a.csv"].rows == 8
    assert [p.partition(":")[0] for p in result.problems] == ["a.csv was changed or removed while it was read"]
    assert world.finished() == [("a.csv", "changed"), ("b.csv", "done")]
    assert world.landed()[7:] == ["a.csv:8:8", "b.csv:1:7"]
    assert len(world.run().problems) == (0 if gone else 1)
    assert len(world.landed()) == 9


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_renamed_while_it_is_read(world: World, suffix: str, chunk: int) -> None:
    """A file that gets another name under way is read on under that name: no row is left out, none comes twice."""
    parquet = io.BytesIO()
    pl.DataFrame({"a": range(1, 8)}).write_parquet(parquet)
    text = numbered(*range(1, 8)).encode()
    content = {"csv": text, "csv.gz": gzip.compress(text), "parquet": parquet.getvalue()}[suffix]
    path = world.write(f"a.{suffix}", content, age=100)

    def rename(event: Event) -> None:
        if isinstance(event, ChunkLanded) and event.info.number == chunk:
            path.rename(world.folder / f"z.{suffix}")

    result = world.live(*NOTHING, every=1.0, hook=rename)
    assert [row.rpartition(":")[2] for row in world.landed()] == [str(n) for n in range(1, 8)]
    assert (result.problems, world.finished()) == ((), [(f"z.{suffix}", "done")])
    world.forget()
    assert world.run() == IngestResult(0, 0, ())


def test_removed_beside_a_file_that_looks_like_it(world: World) -> None:
    """A file that was there already is not taken for the new name of one that is gone, whatever its size and time."""
    path = world.write("a.csv", numbered(*range(1, 8)), age=100)
    world.write("b.csv", numbered(*range(2, 9)), age=100)

    def remove(event: Event) -> None:
        if isinstance(event, ChunkLanded) and event.info.number == 0:
            path.unlink()

    world.live(*NOTHING, every=1.0, hook=remove)
    assert world.landed() == ["a.csv:1:1", "a.csv:2:2", *(f"b.csv:{n}:{n + 1}" for n in range(1, 8))]


def test_replaced_between_runs_by_one_that_looks_like_it(world: World) -> None:
    """A file of the size and time of one that was begun, but with other rows, is not its continuation."""
    path = world.write("a.csv", numbered(*range(1, 8)), age=100)
    world.live(*NOTHING, every=1.0, hook=stop_after(world, 0))
    begun = len(world.landed())
    other = world.write("b.csv", numbered(*range(2, 9)), age=100)
    os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
    path.unlink()
    result = world.run()
    assert [problem.partition(" after")[0] for problem in result.problems] == ["a.csv is gone"]
    assert world.landed()[begun:] == [f"b.csv:{n}:{n + 1}" for n in range(1, 8)]


def test_changed_before_a_row_is_landed(world: World) -> None:
    """A file that changes before its first row is landed is not judged by what was seen, and taken later."""
    path = world.write("a.csv", numbered(1))

    def spoil(event: Event) -> None:
        if isinstance(event, FileStarted) and event.file.size == path.stat().st_size == 4:
            world.write("a.csv", "a,", age=0)

    result = world.live(lambda: world.write("a.csv", numbered(*range(1, 9))), lambda: None, hook=spoil)
    problems = [e.record.problem for e in world.events if isinstance(e, FileFinished)]
    assert [problem and problem.partition(":")[0] for problem in problems] == [
        "was changed or removed before a row of it was landed",
        None,
    ]
    assert (result.problems, len(world.landed())) == ((), 8)


def stop_after(world: World, chunk: int) -> Callable[[Event], None]:
    """A hook that stops a run once a chunk is landed."""

    def hook(event: Event) -> None:
        if isinstance(event, ChunkLanded) and event.info.number == chunk:
            world.stop.set()

    return hook


def test_stopped_and_started_again(world: World) -> None:
    """A stopped run goes on inside the file; the landing zone is that of a run that was never stopped."""
    world.write("a.csv", numbered(*range(1, 12)))
    world.write("b.csv", numbered(*range(20, 25)), age=1000)
    world.run()
    whole, world.store = world.objects, MemoryStore()
    world.forget()
    for _ in range(20):
        world.live(*NOTHING, every=1.0, hook=lambda e: isinstance(e, ChunkLanded) and world.stop.set())
    assert world.objects == whole
    assert {record.status for record in world.state.files()} == {"done"}


def test_stopping_notes_how_far_a_file_has_come(world: World) -> None:
    """After a stop the ledger has all that is landed."""
    world.write("a.csv", numbered(*range(1, 12)))
    result = world.live(*NOTHING, every=1.0, hook=stop_after(world, 2))
    assert result.chunks == world.state.landed() == Landing(world.store).next_number() == 3
    assert (world.files()["a.csv"].status, world.files()["a.csv"].rows) == ("reading", 6)


@pytest.mark.parametrize("noted", range(0, 9, 2))
def test_landing_zone_is_the_truth(world: World, noted: int) -> None:
    """Whatever was landed when a run died, and however far the ledger was behind it, the end is the same."""
    for number, age in enumerate((300, 200, 100)):
        world.write(f"{number}.csv", numbered(*range(10 * number, 10 * number + 5)), age=age)
    world.run()
    whole, files = world.objects, world.state.files()
    infos = [Landing(world.store).info(n) for n in range(9)]
    for landed in range(noted, 10):
        world.store = MemoryStore()
        world.objects.update(list(whole.items())[:landed])
        world.forget()
        world.state.record_landed(infos[:noted])
        for record in files[: -(-noted // 3)]:
            begun = record.file.number * 3 + 2 >= noted
            world.state.record_file(FileRecord(record.file, "reading") if begun else record)
        world.run()
        assert world.objects == whole
        assert world.state.files() == files
        assert world.state.landed() == 9


def test_lost_ledger_of_files_that_ended_early(world: World) -> None:
    """A file that ended early and was followed by others is known as broken from the landing zone alone."""
    world.write("a.csv.gz", gzip.compress(numbered(*range(1, 6)).encode())[:-8], age=200)
    world.write("b.csv", numbered(7), age=100)
    first = world.run()
    whole = dict(world.objects)
    world.forget()
    second = world.run()
    assert world.objects == whole
    assert {name: record.status for name, record in world.files().items()} == {"a.csv.gz": "broken", "b.csv": "done"}
    assert len(first.problems) == len(second.problems) == 1


def test_what_became_of_the_last_file_stays(world: World) -> None:
    """A file that was broken or changed is not begun anew because the landing zone ends with it."""
    world.write("a.csv.gz", gzip.compress(numbered(*range(1, 6)).encode())[:-8])
    world.run()
    world.run()
    assert [type(event) for event in world.events] == [FileFinished]
    assert world.files()["a.csv.gz"].status == "broken"


def test_landing_zone_that_lost_chunks(world: World) -> None:
    """A landing zone that lacks what the ledger has is an error, not a new beginning."""
    world.write("a.csv", numbered(1, 2, 3))
    world.run()
    world.objects.clear()
    with pytest.raises(LogError, match="chunk 1 is not in the landing zone"):
        world.run()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 4, 6])
def test_store_that_fails(world: World, nth: int, when: Any) -> None:
    """A failed put ends the run without a gap, and the next run lands the rest; with patience there is no failure."""
    world.write("a.csv", numbered(*range(1, 12)))
    world.run()
    whole, inner = world.objects, MemoryStore()
    world.forget()
    world.store = FaultyStore(inner, Fault(nth=nth, when=when))
    with pytest.raises(StoreError, match="fault on purpose"):
        world.run()
    assert list(inner.objects) == list(whole)[: nth - 1 if when == "before" else nth]
    world.run()
    assert inner.objects == whole
    world.forget()
    world.store = FaultyStore(MemoryStore(), Fault(nth=nth, when=when))
    world.clock = ScriptedClock(*NOTHING)
    assert world.run(patience=60.0).chunks == 6


def test_paced(world: World) -> None:
    """One chunk per period, on the beat of the first: a late chunk is caught up with, whole periods are left out."""
    world.write("a.csv", numbered(*range(1, 17)))
    times = []
    late = {1: 0.7, 3: 5.2}

    def hook(event: Event) -> None:
        if isinstance(event, ChunkLanded):
            times.append(world.clock.seconds)
            world.clock.seconds += late.get(event.info.number, 0.25)

    world.clock = ScriptedClock(*NOTHING)
    world.run(once=False, every=0.5, hook=lambda e: (hook(e), stop_after(world, 7)(e)))
    assert times == pytest.approx([0.0, 0.5, 1.2, 1.5, 6.7, 7.0, 7.5, 8.0])


def test_flat_out_does_not_wait(world: World) -> None:
    """With `every` 0, and with `once` whatever `every` is, no time passes."""
    world.write("a.csv", numbered(*range(1, 12)))
    world.run(every=60.0)
    assert (world.clock.seconds, len(world.landed())) == (0.0, 11)


BAD_FILES: dict[str, tuple[bytes, str, str]] = {
    "empty.csv": (b"", "refused", "is empty"),
    "columns.csv": (b"x,y\n1,2\n", "refused", "has no column 'a' (columns.amount). Columns found: x, y"),
    "delimiter.csv": (b"a;b\n1;2\n", "refused", "It looks like ';' is the delimiter: set source.delimiter"),
    "twice.csv": (b"a,a\n1,2\n", "refused", "has a header with 'a' twice"),
    "binary.csv": (bytes(range(256)) * 50, "refused", "is not a CSV text file"),
    "latin1.csv": (b"a,\xe9\n1,2\n", "refused", "is not a CSV text file in UTF-8"),
    "cut.parquet": (b"PAR1 and a bit", "refused", "is not a whole Parquet file"),
    "cut.csv.gz": (gzip.compress(b"a,b\n1,2\n")[:-12], "broken", "the file was cut off, after row 1"),
    "plain.csv.gz": (b"a,b\n1,2\n", "refused", "is not a gzip file"),
    "array.json": (b'[{"a":1}]', "refused", "JSON array"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_among_good_ones(world: World, name: str) -> None:
    """A bad file is reported with its name and reason, in this run and the next, and the others are landed."""
    content, status, words = BAD_FILES[name]
    world.write("0.csv", numbered(1), age=300)
    world.write(name, content, age=200)
    world.write("z.csv", numbered(2), age=100)
    first = world.run(required={"amount": "a"})
    second = world.run(required={"amount": "a"})
    for result in (first, second):
        assert len(result.problems) == 1
        assert result.problems[0].startswith(f"{name} ")
        assert words in result.problems[0]
    assert world.files()[name].status == status
    assert [row for row in world.landed() if not row.startswith(name)] == ["0.csv:1:1", "z.csv:1:2"]


def test_bad_rows_are_landed(world: World) -> None:
    """Rows that cannot be cut are landed with their text; nothing is lost, and it is no problem of the file."""
    world.write("a.csv", b'a,b\n1,2\n1,2,3\n\xff,2\n"x,2\n5,6\n')
    assert world.run(rows=10).problems == ()
    frame = Landing(world.store).read(0).frame
    assert frame["_malformed"].to_list() == [None, "1,2,3", "\\xff,2", '"x,2', None]
    assert [problem and problem.partition(":")[0] for problem in frame["_problem"]] == [
        None,
        "malformed",
        "malformed",
        "malformed",
        None,
    ]


def test_header_only(world: World) -> None:
    """A file without rows is done, and said to have none; rows that come later are taken."""
    world.write("a.csv", "a\n")
    world.write("b.jsonl", "")
    assert world.run().problems == ()
    assert {record.problem for record in world.state.files()} == {"has no rows"}
    assert world.run() == IngestResult(0, 0, ())
    world.write("a.csv", numbered(1), age=50)
    world.run()
    assert world.landed() == ["a.csv:1:1"]


def test_refused_file_is_tried_again(world: World) -> None:
    """A file refused under wrong settings is taken by the next run under right ones, with the same number."""
    world.write("a.csv", "a;b\n1;2\n")
    world.write("b.csv", "a;b\n3;4\n")
    assert len(world.run(required={"amount": "b"}).problems) == 2
    assert world.run(required={"amount": "b"}, delimiter=";").problems == ()
    assert [(r.file.number, r.file.name, r.status) for r in world.state.files()] == [
        (0, "a.csv", "done"),
        (1, "b.csv", "done"),
    ]


def test_refused_file_made_good_while_running(world: World) -> None:
    """A refused file that is replaced by a good one is taken, and the problem is gone."""
    world.write("a.csv", "")
    assert world.live(lambda: world.write("a.csv", numbered(1)), lambda: None).problems == ()
    assert world.finished() == [("a.csv", "refused"), ("a.csv", "done")]


def test_begun_file_comes_first(world: World) -> None:
    """A file that was begun is read on before any other, also one with an earlier time."""
    world.write("b.csv", numbered(*range(1, 6)), age=100)
    world.live(*NOTHING, every=1.0, hook=stop_after(world, 0))
    world.write("a.csv", numbered(9), age=500)
    world.run()
    assert world.landed() == [*(f"b.csv:{n}:{n}" for n in range(1, 6)), "a.csv:1:9"]


def test_begun_file_is_not_held_back(world: World) -> None:
    """A begun file is read on at once, also when it was modified a moment before."""
    world.clock = ScriptedClock(*NOTHING)
    world.write("b.csv", numbered(*range(1, 6)), age=0)
    world.run(once=False, every=0.1, hook=stop_after(world, 0))
    assert len(world.landed()) == 2
    world.clock.seconds = 0.0
    world.run(once=False, every=0.1, hook=stop_after(world, 2))
    assert [event for event in world.events if isinstance(event, FileIgnored)] == []
    assert world.finished() == [("b.csv", "done")]
    assert len(world.landed()) == 5


@pytest.mark.parametrize("gone", [False, True])
def test_begun_file_that_is_not_there_any_more(world: World, gone: bool) -> None:
    """A begun file that was removed or changed since is reported, with how far it is landed, and left."""
    path = world.write("b.csv", numbered(*range(1, 6)), age=100)
    world.live(*NOTHING, every=1.0, hook=stop_after(world, 0))
    path.unlink() if gone else world.write("b.csv", numbered(5), age=5)
    world.write("c.csv", numbered(9))
    result = world.run()
    assert len(result.problems) == 1
    assert world.files()["b.csv"].status == ("broken" if gone else "changed")
    assert world.landed() == ["b.csv:1:1", "b.csv:2:2", "c.csv:1:9"]


def test_source_that_is_not_there(world: World) -> None:
    """A missing source, and a single file of unknown kind, end the run with what and where."""
    with pytest.raises(SourceError, match="nowhere cannot be read: No such file or directory"):
        world.run(root=world.folder / "nowhere")
    path = world.write("data.bin", "a\n1\n")
    with pytest.raises(SourceError, match=r"data.bin is of no known format .*set source.format"):
        world.run(root=path)
    world.run(root=path, format="csv")
    assert world.landed() == ["data.bin:1:1"]


def test_source_that_goes_away_for_a_while(world: World) -> None:
    """A folder that cannot be looked at while ingest runs is mentioned, and looked at again."""
    away = world.folder.with_name("away")
    world.write("a.csv", numbered(1))
    result = world.live(
        lambda: world.folder.rename(away),
        lambda: None,
        lambda: away.rename(world.folder),
        lambda: world.write("b.csv", numbered(2)),
    )
    assert [e.reason for e in world.events if isinstance(e, FileIgnored)] == [
        f"cannot be looked at now: the source {world.folder} cannot be read: No such file or directory"
    ]
    assert world.landed() == ["a.csv:1:1", "b.csv:1:2"]
    assert result.problems == ()
