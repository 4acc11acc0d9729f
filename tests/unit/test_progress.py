"""How much of the work is done, and how long the rest takes: on the way from the readers to what is shown."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import polars as pl
import pytest

from tillwatch.cli.bar import Bar
from tillwatch.cli.progress import Counts, Lines, Report
from tillwatch.cli.words import Ahead
from tillwatch.config import load
from tillwatch.events import Processed, ReadAgain
from tillwatch.pipeline import Event, Landed, Pipeline
from tillwatch.testing.clocks import ScriptedClock

HEADER = "step,customer,merchant,gender,category,amount"


def landed_parts(folder: Path) -> list[float | None]:
    """What is told to be landed of a source, chunk by chunk."""
    config = folder / "tillwatch.yaml"
    config.write_text("source: {uri: ./in, rows: 2}\npatterns: [PatId2]\n", "utf-8")
    heard: list[Event] = []
    Pipeline.open(config).ingest(once=True, observer=heard.append)
    return [event.part for event in heard if isinstance(event, Landed)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def rows(count: int) -> str:
    return "\n".join([HEADER, *(f"{n},C,M,F,x,{n}.00" for n in range(count))]) + "\n"


def test_what_is_landed_is_told_by_bytes_of_all_files(source: Path, tmp_path: Path) -> None:
    """It grows to all of it, over files of any size, in the order in which they are read."""
    for name, count in (("a", 7), ("b", 1), ("c", 40)):
        (source / f"{name}.csv").write_text(rows(count), "utf-8")
    parts = [part for part in landed_parts(tmp_path) if part is not None]
    assert len(parts) == 4 + 1 + 20
    assert parts == sorted(parts) and 0 < parts[0] < 0.1 and parts[-1] == 1.0


def test_a_file_that_is_read_as_a_whole_counts_at_its_end(source: Path, tmp_path: Path) -> None:
    """The place in a Parquet file says nothing of its bytes; one that is all there is has no part."""
    frame = pl.read_csv(rows(6).encode())
    frame.write_parquet(source / "a.parquet")
    assert landed_parts(tmp_path) == [None, None, None]
    (source / "b.csv").write_text(rows(2), "utf-8")
    assert landed_parts(tmp_path) == [1.0]


def test_a_parquet_file_among_others_is_a_step(source: Path, tmp_path: Path) -> None:
    """While it is read, what was read before it counts."""
    (source / "a.csv").write_text(rows(2), "utf-8")
    pl.read_csv(rows(6).encode()).write_parquet(source / "b.parquet")
    first, *middle, last = [part or 0.0 for part in landed_parts(tmp_path)]
    assert 0 < first < 1 and middle == [first, first] and last == 1.0


# What is shown


def report(tmp_path: Path, *events: Event, lands: bool = True, detects: bool = True, ends: bool = True) -> Report:
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./x.csv\npatterns: [PatId2]\n", "utf-8")
    counts = Counts(["PatId2"], deque())
    for event in events:
        counts(event)
    return Report("x.csv", Pipeline(load(config), ScriptedClock()), counts, lands=lands, detects=detects, ends=ends)


def processed(first: int, last: int) -> Processed:
    return Processed(first, last, 10, 0, {})


def test_how_far_a_run_is_goes_by_the_chunks_that_are_to_be_expected(tmp_path: Path) -> None:
    """Half of the source gave ten chunks, so there will be twenty; five of them are processed."""
    events = [*(Landed(n, 10, part=(n + 1) / 20) for n in range(10)), processed(0, 4)]
    assert report(tmp_path, *events).part() == 5 / 20
    assert report(tmp_path, *events, detects=False).part() == 0.5
    assert report(tmp_path, *events, ends=False).part() is None


def test_how_far_detect_is_goes_by_what_was_landed(tmp_path: Path) -> None:
    """Chunks of earlier runs do not count, neither as done nor as to be done."""
    assert report(tmp_path, Landed(29, 10), processed(10, 14), lands=False).part() == 5 / 20
    assert report(tmp_path, Landed(29, 10), processed(10, 29), lands=False).part() == 1.0
    assert report(tmp_path, lands=False).part() is None


def test_plain_lines_say_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In per cent, with the time left once it can be told; while chunks are read again, how many."""
    shown = report(tmp_path, ReadAgain(12, 60))
    clock = shown._pipeline.clock
    assert isinstance(clock, ScriptedClock)
    lines = Lines(shown)

    def told(*events: Event) -> str:
        clock.seconds += 6
        for event in events:
            shown.counts(event)
        lines.tick()
        return capsys.readouterr().err

    assert told().endswith("; 12 of 60 chunks read again\n")
    first = told(ReadAgain(60, 60), Landed(0, 10, part=0.1), processed(0, 0))
    assert first.endswith("rows/s; 10 %\n")
    assert told(Landed(1, 10, part=0.2), processed(1, 1)).endswith("rows/s; 20 %, 48 s left\n")


def test_a_bar_without_a_terminal_is_a_line_every_five_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short work says nothing."""
    now = [0.0]
    monkeypatch.setattr("tillwatch.cli.bar.time.monotonic", lambda: now[0])
    with Bar("reading", "chunk") as bar:
        for second in range(11):
            now[0] = float(second)
            bar(100 * second, 2000)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "tillwatch: reading: 500 of 2,000 chunks, 100 chunks/s, 15 s left",
        "tillwatch: reading: 1,000 of 2,000 chunks, 100 chunks/s, 10 s left",
    ]


def test_the_time_left_goes_by_the_last_seconds() -> None:
    """What went fast long ago says nothing of what is to come; nothing is told of work that is done or stands still."""
    ahead = Ahead()
    for second in range(100):
        ahead.note(second, 1000 if second < 50 else 1000 + second - 50)
    assert ahead.left(1149) == "1 min 40 s left"
    assert ahead.left(1049) == ""
    still = Ahead()
    still.note(0, 5)
    still.note(9, 5)
    assert still.text(10, "row") == "0 rows/s"
