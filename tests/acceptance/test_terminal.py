"""The real program on a terminal: bars, what is drawn in place, and what an interrupt leaves behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tillwatch.events import Processed, ReadAgain
from tillwatch.generate import generate
from tillwatch.pipeline import Event, Pipeline
from tillwatch.state import open_state
from tillwatch.testing.small import CONFIG
from tillwatch.testing.terminals import BACK, HIDDEN, PATIENCE, on_terminal


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a pipeline of 24 chunks that has not run."""
    folder = tmp_path_factory.mktemp("fresh")
    made = generate(folder / "data", rows=6000, customers=150, merchants=30, seed=3, faults=0.02)
    config = folder / "tillwatch.yaml"
    config.write_text(CONFIG.format(source=made.transactions, importance=made.importance), "utf-8")
    return config


@pytest.fixture(scope="module")
def ran(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, worked off. Tests leave it as it is."""
    config = copied(fresh, tmp_path_factory.mktemp("ran") / "pipeline")
    Pipeline.open(config).run(once=True)
    return config


def copied(config: Path, folder: Path) -> Path:
    return Path(shutil.copytree(config.parent, folder)) / config.name


def clean(seen: str) -> bool:
    """Whether the cursor is back as often as it was hidden, and last of all."""
    return seen.count(HIDDEN) == seen.count(BACK) > 0 and seen.rindex(BACK) > seen.rindex(HIDDEN)


def sqlite(config: Path) -> Path:
    return config.parent / "tillwatch-data" / "state.db"


# Bars


@pytest.mark.parametrize("command", ["run", "ingest"])
def test_what_ends_has_a_bar_to_its_end(command: str, fresh: Path, tmp_path: Path) -> None:
    """With --once the part of the source that is landed, or landed and processed, is drawn up to all of it."""
    config = copied(fresh, tmp_path / "pipeline")
    with on_terminal(command, "--once", "-c", config) as terminal:
        assert terminal.rest() == 0
    assert "━" in terminal.seen and clean(terminal.seen)
    assert terminal.seen.rpartition("\x1b[2K")[2].startswith("tillwatch: landed 24 chunks, 6,000 rows")


def test_detect_has_a_bar_of_landed_against_processed(fresh: Path, tmp_path: Path) -> None:
    """The end is known from what is landed, by whatever process."""
    config = copied(fresh, tmp_path / "pipeline")
    Pipeline.open(config).ingest(once=True)
    with on_terminal("detect", "--once", "-c", config) as terminal:
        assert terminal.rest() == 0
    assert "━" in terminal.seen and "100 %" in terminal.text and clean(terminal.seen)


def test_work_without_an_end_has_no_bar(fresh: Path, tmp_path: Path) -> None:
    """Rates and how far it is behind, as ever; Ctrl-C leaves the terminal clean."""
    with on_terminal("run", "-c", copied(fresh, tmp_path / "pipeline"), "--set", "source.every=0.01") as terminal:
        terminal.until("processed 6,000 rows 24 chunks")
        terminal.send(signal.SIGINT)
        assert terminal.rest() == 0
    assert "━" not in terminal.seen and clean(terminal.seen)


@pytest.mark.parametrize("arguments", [["audit"], ["backtest"], ["backtest", "--sweep", "PatId2.transactions=4:12:4"]])
def test_reading_the_log_has_a_bar_and_leaves_only_its_answer(arguments: list[str], ran: Path) -> None:
    """Chunks of all chunks, taken away at the end; nothing of it is in stdout."""
    with on_terminal(*arguments, "-c", ran) as terminal:
        assert terminal.rest() == 0
    assert "24/24" in terminal.text and "100 %" in terminal.text and clean(terminal.seen)
    done = subprocess.run(
        [sys.executable, "-m", "tillwatch", *arguments, "-c", str(ran)], capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stdout + done.stderr


def test_copying_a_state_has_a_bar_of_rows(ran: Path, tmp_path: Path) -> None:
    """Rows copied and compared, of both together."""
    with on_terminal("state", "copy", sqlite(ran), tmp_path / "copy.db") as terminal:
        assert terminal.rest() == 0
    assert "copying" in terminal.text and clean(terminal.seen)


READS = """
import click, sys, time
from tillwatch.cli.bar import Bar
from tillwatch.cli.outcome import exit_code

@click.command()
def program():
    with Bar("reading", "chunk") as bar:
        bar(9, 24)
        time.sleep(60)

sys.exit(exit_code(lambda: program.main([], standalone_mode=False)))
"""
"""A program that is in the midst of reading for as long as a test may take."""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_takes_the_bar_away(number: signal.Signals, code: int) -> None:
    """In the midst of reading: the cursor is back, and the exit code says why."""
    with on_terminal("-c", READS, program=()) as terminal:
        terminal.until("9/24")
        terminal.send(number)
        assert terminal.rest() == code
    assert clean(terminal.seen)


WORKS = """
import sys
from tillwatch.cli.signals import stop_on_signal

with stop_on_signal(lambda text: None) as stop:
    import polars as pl
    frame = pl.DataFrame({"a": range(100_000)})
    print("at work", file=sys.stderr)
    while not stop.is_set():
        frame.select(pl.col("a").hash().sort().sum()).item()
"""
"""A program that is inside Polars nearly all of the time, until it is asked to stop."""


def test_an_interrupt_within_polars_only_asks_to_stop() -> None:
    """What is at work is brought to its end by its owner: no KeyboardInterrupt comes from within."""
    with on_terminal("-c", WORKS, program=()) as terminal:
        terminal.until("at work")
        terminal.send(signal.SIGINT)
        assert terminal.rest() == 0, terminal.text


class Killed(BaseException):
    """Ends a run as a kill does: nothing is saved any more."""


def killed(event: object) -> None:
    if isinstance(event, Processed):
        raise Killed


def test_a_restart_tells_how_many_chunks_are_read_again(fresh: Path, tmp_path: Path) -> None:
    """After a kill the tables of the state are behind; what is read again is told before new chunks are."""
    config = copied(fresh, tmp_path / "pipeline")
    Pipeline.open(config).ingest(once=True)
    with pytest.raises(Killed):
        Pipeline.open(config).detect(once=True, observer=killed)
    with closing(open_state(str(sqlite(config)))) as state:
        behind = state.cursor().chunk
    heard: list[Event] = []
    Pipeline.open(config).detect(once=True, observer=heard.append)
    told = [event for event in heard if isinstance(event, ReadAgain | Processed)]
    assert told[0] == ReadAgain(behind, behind)


# status --watch


def test_status_is_drawn_in_place_until_ctrl_c(fresh: Path, tmp_path: Path) -> None:
    """It begins before there is a state, shows what a run does, goes on without the state, ends with exit code 0."""
    config = copied(fresh, tmp_path / "pipeline")
    with on_terminal("status", "--watch", "--every", "0.1", "-c", config, stdout=True) as terminal:
        terminal.until("nothing has been run with this configuration")
        Pipeline.open(config).run(once=True)
        with closing(open_state(str(sqlite(config)))) as state:
            published = f"published {len(state.files_planned())} files, 0 waiting"
        terminal.until("landed 24 chunks, 6,000 rows; 0 rows/s")
        terminal.until(published)
        sqlite(config).rename(tmp_path / "away.db")
        terminal.until(f"{published} now there is no state at")
        (tmp_path / "away.db").rename(sqlite(config))
        terminal.forget()
        terminal.until(f"{published} source")
        terminal.send(signal.SIGINT)
        assert terminal.rest() == 0
    assert clean(terminal.seen)


def test_status_without_a_terminal_is_block_after_block(ran: Path) -> None:
    """Plain text with an empty line between two blocks; JSON is an object a line."""
    for layout, wanted in (("text", "\n\nsource"), ("json", "\n{")):
        command = [sys.executable, "-m", "tillwatch", "status", "--watch", "--every", "0.1", "--format", layout]
        with subprocess.Popen([*command, "-c", str(ran)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            seen = ""
            while wanted not in seen:
                seen += process.stdout.readline().decode()
            process.send_signal(signal.SIGTERM)
            rest, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, said) == (0, b"")
        assert "\x1b" not in seen
        if layout == "json":
            assert {json.loads(line)["landed_chunks"] for line in (seen + rest.decode()).splitlines()} == {24}
