"""After a compaction, and at every moment of it, the log is what it was: numbers, rows, metadata, digests."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl
import pytest
from click.testing import CliRunner

from tillwatch import Pipeline
from tillwatch.audit import audit
from tillwatch.cli.app import app
from tillwatch.errors import LogError, StoreError
from tillwatch.generate import generate
from tillwatch.landing import Format, Landing, LayoutName
from tillwatch.landing.compaction import Compacted, Compaction
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.stores import LocalStore
from tillwatch.stores.base import Store
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

layouts = pytest.mark.parametrize("layout", ["flat", "dated"])
formats = pytest.mark.parametrize("format", ["parquet", "csv"])


def frame(number: int, **more: list[str]) -> pl.DataFrame:
    """The rows of a chunk; chunk 0 has two, the others have three."""
    rows = 3 if number else 2
    columns = {"amount": [f"{number}.{row}" for row in range(rows)], "place": ["a", None, ""][:rows], **more}
    first = 3 * number
    return pl.DataFrame(columns).with_columns(_source_file=pl.lit("a"), _source_row=pl.int_range(first, first + rows))


def land(store: Store, layout: LayoutName, format: Format, count: int = 10) -> list[Chunk]:
    """Chunks of two days; chunk 4 has a column more, and in chunk 7 the type of one changes if the format has types."""
    landed = []
    for number in range(count):
        day = datetime(2026, 11, 20 + number // 5, tzinfo=UTC)
        landing = Landing(store, format, layout, lambda day=day: day)  # type: ignore[misc]
        rows = frame(number, other=["x", "y", "z"]) if number == 4 else frame(number)
        rows = rows.with_columns(pl.col("amount").cast(pl.Float64)) if number >= 7 and format == "parquet" else rows
        info = ChunkInfo(number, rows.height, SourceFile(number // 4, "ä.csv", 10, 7), 1, Position(number, number))
        landing.put(info, rows)
        landed.append(landing.read(number))
    return landed


def same(chunk: Chunk, other: Chunk) -> bool:
    """Whether two chunks are equal in all that is known of them."""
    return chunk.info == other.info and chunk.frame.schema == other.frame.schema and chunk.frame.equals(other.frame)


def check(store: Store, layout: LayoutName, landed: list[Chunk]) -> None:
    """The log has these chunks and no others, to everything that reads it."""
    landing = Landing(store, "parquet", layout)
    assert [*landing.numbers()] == [c.info.number for c in landed]
    assert [*landing.numbers(4)] == [c.info.number for c in landed if c.info.number >= 4]
    assert (landing.next_number(), landing.has(0), landing.has(len(landed))) == (len(landed), True, False)
    for chunk in [*landed, *reversed(landed)]:
        assert landing.info(chunk.info.number) == chunk.info
        assert same(landing.read(chunk.info.number), chunk)
        part = landing.read(chunk.info.number, ["amount"])
        assert part.frame.columns == ["amount", "_source_file", "_source_row"]


@layouts
@formats
def test_the_log_stays_what_it_was(layout: LayoutName, format: Format) -> None:
    """Numbers, rows, metadata and digests are the same, in fewer objects; a second compaction does nothing."""
    store = MemoryStore()
    landed = land(store, layout, format)
    tail = {"parquet": 0, "csv": 2 if layout == "dated" else 1}  # what does not fill an object yet
    assert Compaction(store, layout, 3).run(10).chunks == 10 - tail[format]
    check(store, layout, landed)
    tables = [name for name in sorted(store.objects) if name.endswith((".parquet", ".csv"))]
    ranges = {
        "flat": ["000000000000-000000000002", "000000000003-000000000005"],
        "dated": ["000000000000-000000000002", "000000000003-000000000004"],
    }
    assert [Path(name).name.partition(".")[0] for name in tables][:2] == ranges[layout]
    kept = dict(store.objects)
    assert Compaction(store, layout, 3).run(10) == Compacted()
    assert store.objects == kept


@layouts
def test_only_what_is_below_is_merged(layout: LayoutName) -> None:
    """Chunks from the cut on stay as they are, and so do those that do not fill an object yet."""
    store = MemoryStore()
    landed = land(store, layout, "parquet", 4)
    assert Compaction(store, layout, 3).run(0) == Compacted()
    assert Compaction(store, layout, 3).run(2) == Compacted()
    done = Compaction(store, layout, 3).run(3)
    assert (done.chunks, len(done.ranges)) == (3, 1)
    assert Compaction(store, layout, 3).run(4) == Compacted()
    check(store, layout, landed)


FAULTS: list[tuple[Literal["put", "delete"], int]] = [("put", 1), ("put", 2), *(("delete", n) for n in range(1, 9))]


@layouts
@formats
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_ended_at_every_step(
    layout: LayoutName, format: Format, when: Literal["before", "after"], fault: tuple[Literal["put", "delete"], int]
) -> None:
    """Wherever a compaction ends, the log is whole then, and the next one leaves what one without faults leaves."""
    untroubled, store = MemoryStore(), MemoryStore()
    for place in (untroubled, store):
        landed = land(place, layout, format)
    Compaction(untroubled, layout, 3).run(10)
    with pytest.raises(StoreError, match="fault on purpose"):
        Compaction(FaultyStore(store, Fault(fault[0], nth=fault[1], when=when)), layout, 3).run(10)
    check(store, layout, landed)
    Compaction(store, layout, 3).run(10)
    check(store, layout, landed)
    assert store.objects == untroubled.objects


@layouts
def test_who_has_the_log_open_reads_on(layout: LayoutName) -> None:
    """A reader that knew the chunks before they were merged finds them after it."""
    store = MemoryStore()
    landed = land(store, layout, "parquet")
    before = Landing(store, "parquet", layout)
    assert [*before.numbers()] == [*range(10)]
    assert (before.has(9), before.has(10)) == (True, False)
    Compaction(store, layout, 3).run(10)
    assert before.has(0)
    assert all(same(before.read(chunk.info.number), chunk) for chunk in landed)


def test_a_merged_number_is_not_landed_again() -> None:
    """Ingest cannot put a chunk again that is in a merged object."""
    store = MemoryStore()
    landed = land(store, "flat", "parquet")
    Compaction(store, "flat", 3).run(10)
    landing = Landing(store)
    assert landing.next_number() == 10
    with pytest.raises(LogError, match=r"000000000000-000000000002\.parquet has chunk 1 already"):
        landing.put(landed[1].info, landed[1].frame)


def test_damage_is_found_and_nothing_is_removed() -> None:
    """A damaged chunk is not merged; chunks are not removed when their merged object is damaged or another's."""
    store = MemoryStore()
    land(store, "flat", "parquet")
    whole = dict(store.objects)
    store.objects["000000000001.parquet"] = whole["000000000001.parquet"][:-40] + bytes(40)
    with pytest.raises(LogError, match=r"000000000001.parquet is not what was landed"):
        Compaction(store, "flat", 3).run(10)
    assert len(store.objects) == 10
    store.objects = dict(whole)
    Compaction(store, "flat", 3).run(3)
    name = "000000000000-000000000002.parquet"
    merged = store.objects[name]
    store.objects = {**whole, name: merged[:-40] + bytes(40)}
    with pytest.raises(LogError, match=f"{name} is not what was landed"):
        Compaction(store, "flat", 3).run(10)
    assert set(store.objects) == {*whole, name}


@pytest.mark.parametrize("name", ["000000000003-000000000005.parquet", "000000000000-000000000001.parquet"])
def test_a_merged_object_that_was_renamed_is_told(name: str) -> None:
    """Under another name it does not hold the chunks that the name says, and none of them is read from it."""
    store = MemoryStore()
    land(store, "flat", "parquet", 3)
    Compaction(store, "flat", 3).run(3)
    store.objects[name] = store.objects.pop("000000000000-000000000002.parquet")
    with pytest.raises(LogError, match="is whole, but"):
        Landing(store).read(int(name[:12]))


def test_a_merged_object_of_other_rows_is_told() -> None:
    """When an object of that name holds other rows than the chunks, no chunk is removed."""
    other = MemoryStore()
    for number in range(3):
        Landing(other).put(ChunkInfo(number, 3, SourceFile(0, "b", 1, 1), 1, Position()), frame(number + 5))
    Compaction(other, "flat", 3).run(3)

    class Racing(MemoryStore):
        def put(self, name: str, data: bytes) -> None:
            self.objects |= other.objects if name in other.objects else {}
            super().put(name, data)

    store = Racing()
    land(store, "flat", "parquet", 3)
    with pytest.raises(LogError, match="does not hold chunk 0 as it was landed"):
        Compaction(store, "flat", 3).run(3)
    assert len(store.objects) == 4


def test_a_folder_for_each_chunk_is_not_compacted() -> None:
    """It is told which layouts are."""
    with pytest.raises(LogError, match=r"Only landing zones with landing\.layout flat or dated are compacted"):
        Compaction(MemoryStore(), "folder", 3)


@layouts
def test_other_programs_read_one_table(layout: LayoutName, tmp_path: Path) -> None:
    """DuckDB reads the same rows as before."""
    land(LocalStore(tmp_path), layout, "parquet", 7)
    query = (
        f"FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning=true) SELECT amount, _source_row ORDER BY ALL"
    )
    before = duckdb.sql(query).fetchall()
    Compaction(LocalStore(tmp_path), layout, 3).run(7)
    assert len(list(tmp_path.rglob("*.parquet"))) < 7
    assert duckdb.sql(query).fetchall() == before


def test_a_pipeline_goes_on_after_it(tmp_path: Path) -> None:
    """Audit proves it, a run lands nothing again, and a state made anew has the same detections."""
    generate(tmp_path, rows=1500, customers=60, merchants=8, seed=3, faults=0.02)
    config = tmp_path / "tillwatch.yaml"
    config.write_text(
        "source: {uri: ./transactions.csv, rows: 100}\n"
        "lookups: {importance: ./CustomerImportance.csv}\n"
        "patterns: [{PatId2: {transactions: 8, avg_amount: 25}}, {PatId3: {female_customers: 3}}]\n"
    )
    pipeline = Pipeline.open(config)
    pipeline.run(once=True)
    found = pipeline.detections().drop("detectionTime")
    assert len(found)
    result = CliRunner().invoke(app, ["compact", "-c", str(config), "--leave", "2", "--merge", "4"])
    assert result.stdout == "merged 12 chunks into 3 objects\n", result.output
    fresh = Pipeline.open(config)
    assert [problem for check in audit(fresh) for problem in check.problems] == []
    fresh.run(once=True)
    assert [*fresh.landing.numbers()] == [*range(15)]
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (tmp_path / "tillwatch-data" / name).unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "tillwatch-data" / "detections")
    Pipeline.open(config).run(once=True)
    assert Pipeline.open(config).detections().drop("detectionTime").equals(found)
    result = CliRunner().invoke(app, ["quality", "-c", str(config)])
    assert json.loads(result.stdout)["total"]["rows"] == 1500, result.output
