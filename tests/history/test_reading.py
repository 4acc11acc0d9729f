"""The log as looking back reads it: whole, in order, and what is no longer there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from tillwatch.cli.app import app
from tillwatch.errors import LogError
from tillwatch.generate import generate
from tillwatch.history.reading import batches, check_whole, time_of
from tillwatch.landing import Landing
from tillwatch.lookups import patience
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.pipeline import Pipeline
from tillwatch.testing.stores import MemoryStore


def landing_of(rows: list[int]) -> Landing:
    """A landing zone with chunks of so many rows."""
    landing = Landing(MemoryStore())
    for number, count in enumerate(rows):
        info = ChunkInfo(number, count, SourceFile(number, f"{number}.csv", 9, 0), 1, Position(count, 9))
        cells = {"step": [str(number)] * count, "amount": ["1"] * count, "_source_file": [f"{number}.csv"] * count}
        landing.put(info, pl.DataFrame({**cells, "_source_row": range(1, count + 1)}))
    return landing


def test_chunks_come_in_order_whatever_their_size() -> None:
    """All of them once, with the columns that were asked for; batches grow with what chunks are found to be."""
    landing = landing_of([3, 1, 1, 7, 2] * 12)
    read = list(batches(landing, range(5, 60), ["amount"], patience()))
    assert [chunk.info.number for batch in read for chunk in batch] == list(range(5, 60))
    assert {tuple(chunk.frame.columns) for batch in read for chunk in batch} == {
        ("amount", "_source_file", "_source_row")
    }
    assert len(read[0]) == 1 < max(map(len, read))
    assert list(batches(landing, range(0), [], patience())) == []


def test_a_chunk_that_is_missing_is_told_where_it_is_needed() -> None:
    """Those before it are read."""
    landing, numbers = landing_of([1, 1, 1]), []
    with pytest.raises(LogError, match="chunk 3 is not in the landing zone"):
        for batch in batches(landing, range(5), ["amount"], patience()):
            numbers += [chunk.info.number for chunk in batch]
    assert numbers == [0, 1, 2][: len(numbers)]


def test_the_time_of_a_chunk_is_that_of_its_last_row_that_has_one() -> None:
    """No column, no time; a column without a value neither."""
    info = ChunkInfo(0, 3, SourceFile(0, "a.csv", 9, 0), 1, Position(3, 9))
    frame = pl.DataFrame({"step": [" 1", " 2 ", None], "none": pl.Series([None] * 3, dtype=pl.String)})
    assert [time_of(Chunk(info, frame), column) for column in ("step", "none", "other", None)] == [
        "2",
        None,
        None,
        None,
    ]


@pytest.fixture(scope="module")
def shortened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a pipeline of 15 chunks, the first eight of which retention has removed."""
    folder = tmp_path_factory.mktemp("shortened")
    generate(folder, rows=1500, customers=60, merchants=8, seed=3)
    config = folder / "tillwatch.yaml"
    config.write_text(
        "source: {uri: ./transactions.csv, rows: 100}\nlanding: {keep: 30d}\n"
        "patterns: [{PatId2: {transactions: 8, avg_amount: 25}}, {PatId3: {female_customers: 3}}]\n",
        "utf-8",
    )
    Pipeline.open(config).run(once=True)
    with closing(sqlite3.connect(folder / "tillwatch-data" / "state.db")) as db, db:
        db.execute("UPDATE chunks SET processed_at = '2026-01-02T03:04:05.678+05:30' WHERE number < 9")
    assert call(config, "compact", "--leave", "2", "--merge", "4").exit_code == 0
    return config


def call(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "-c", str(config)])


@pytest.mark.parametrize(
    "arguments", [("explain", "1"), ("backtest",), ("why-not", "PatId3", "--merchant", "M", "--at", "9")]
)
def test_what_needs_the_whole_log_says_that_it_is_not_there(shortened: Path, arguments: tuple[str, ...]) -> None:
    """Nothing is worked out from a part of the log."""
    result = call(shortened, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "chunks 0 to 7 of the landing zone were removed at " in result.stderr
    with pytest.raises(LogError, match=r"as landing\.keep says"):
        check_whole(Pipeline.open(shortened).landing)


def test_what_holds_now_needs_the_state_alone(shortened: Path) -> None:
    """Every detection is known to be one, with its number."""
    with Pipeline.open(shortened).opened(readonly=True) as state:
        stored = list(state.detections())
    assert stored
    for each in stored[:: max(1, len(stored) // 4)]:
        d = each.detection
        keys = [word for name, text in d.key.items() for word in ("--key", f"{name}={text}")]
        result = call(shortened, "why-not", d.pattern, *keys)
        assert f"it was detected already, at chunk {d.chunk}: seq {each.seq} " in result.stdout
        assert ("it holds" in result.stdout) == each.holds
