"""Wherever chunks are put, the log is the same: each number once, in order, and other programs read it as a table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tillwatch.errors import LogError, StoreError
from tillwatch.landing import LAYOUTS, Format, Landing, LayoutName
from tillwatch.model import ChunkInfo, Position, SourceFile
from tillwatch.stores import LocalStore
from tillwatch.stores.base import Store
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_format = pytest.mark.parametrize("format", ["parquet", "csv"])
NEW_YEARS_EVE = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


class Calendar:
    """What time it is: New Year's Eve, until it is set."""

    now = NEW_YEARS_EVE

    def __call__(self) -> datetime:
        return self.now


def info(number: int) -> ChunkInfo:
    """A chunk of two rows."""
    return ChunkInfo(number, 2, SourceFile(0, "a.csv", 10, 0), 1 + 2 * number, Position(2 * number + 2, 10))


def frame(number: int, amount: str = "1") -> pl.DataFrame:
    """Its rows."""
    rows = [1 + 2 * number, 2 + 2 * number]
    return pl.DataFrame({"amount": [amount, "2"], "_source_file": ["a.csv"] * 2, "_source_row": rows})


@each_layout
@each_format
def test_the_log_is_the_same_in_every_layout(layout: LayoutName, format: Format) -> None:
    """What was put is read, found and listed, by the same and by another Landing, with its gaps."""
    store = MemoryStore()
    landing = Landing(store, format, layout)
    landed = {n: landing.put(info(n), frame(n)) for n in (0, 1, 2, 4, 11)}
    for reader in (landing, Landing(store, "parquet", layout), Landing(store, "csv", layout)):
        assert [*reader.numbers()] == [0, 1, 2, 4, 11]
        assert ([*reader.numbers(2)], [*reader.numbers(3)], [*reader.numbers(12)]) == ([2, 4, 11], [4, 11], [])
        assert (reader.next_number(), reader.next_number(4), reader.next_number(9)) == (3, 5, 9)
        assert {n: reader.read(n).info for n in landed} == landed
        assert reader.read(11).frame.equals(frame(11))
        with pytest.raises(LogError, match="chunk 3 is not in the landing zone"):
            reader.read(3)
    assert landing.put(info(4), frame(4)) == landed[4]
    with pytest.raises(LogError, match="chunk 4 is landed already with other rows"):
        landing.put(info(4), frame(4, "9"))
    other: Format = "csv" if format == "parquet" else "parquet"
    with pytest.raises(LogError, match=f"chunk 4 is landed already as {format}"):
        Landing(store, other, layout).put(info(4), frame(4))


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("flat", ["000000000012.parquet"]),
        ("folder", ["chunk=000000000012/part.parquet"]),
        ("dated", ["_index/000000000012", "year=2026/month=12/day=31/000000000012.parquet"]),
    ],
)
def test_names(layout: LayoutName, names: list[str]) -> None:
    """Each layout has the names that its documentation says."""
    store = MemoryStore()
    Landing(store, "parquet", layout, lambda: NEW_YEARS_EVE).put(info(12), frame(12))
    assert sorted(store.objects) == names


@each_layout
def test_other_programs_read_one_table(layout: LayoutName, tmp_path: Path) -> None:
    """DuckDB reads all rows of all folders, in order; its columns say which folder each row is in."""
    calendar = Calendar()
    landing = Landing(LocalStore(tmp_path), "parquet", layout, calendar)
    for number in range(4):
        calendar.now = NEW_YEARS_EVE if number < 2 else NEW_YEAR
        landing.put(info(number), frame(number))
    table = f"FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning=true, hive_types_autocast=0)"
    assert [n for (n,) in duckdb.sql(f"{table} SELECT _source_row ORDER BY _source_row").fetchall()] == [*range(1, 9)]
    if layout == "dated":
        found = duckdb.sql(f"{table} SELECT DISTINCT year || month || day AS d ORDER BY d").fetchall()
        assert found == [("20261231",), ("20270101",)]
        damaged = tmp_path / "year=2026/month=12/day=31/000000000001.parquet"
        damaged.chmod(0o600)
        damaged.write_bytes(b"whoever reads this fails")
        assert len(duckdb.sql(f"{table} SELECT amount WHERE year = '2027' AND month = '01'").fetchall()) == 4
    elif layout == "folder":
        assert len(duckdb.sql(f"{table} SELECT amount WHERE chunk = '000000000003'").fetchall()) == 2


@each_format
def test_sidecars_are_left_out_of_tables(format: Format) -> None:
    """What is beside chunks in folders begins with an underscore, which engines leave out."""
    for layout in ("dated", "folder"):
        store = MemoryStore()
        Landing(store, format, layout).put(info(0), frame(0))
        beside = [name for name in store.objects if not name.endswith(f".{format}")]
        assert [name for name in beside if not name.startswith("_index/") and "/_" not in name] == []


# Dated folders


@each_format
@pytest.mark.parametrize("fault", [Fault("put", nth=n, when=w) for n in (1, 2) for w in ("before", "after")])
def test_a_put_after_midnight_lands_a_chunk_once(format: Format, fault: Fault) -> None:
    """A put that failed at any step before midnight, and is tried again after it, ends in the folder fixed first."""
    store = MemoryStore()
    with pytest.raises(StoreError, match="fault on purpose"):
        Landing(FaultyStore(store, fault), format, "dated", lambda: NEW_YEARS_EVE).put(info(0), frame(0))
    fixed = "_index/000000000000" in store.objects
    landed = Landing(store, format, "dated", lambda: NEW_YEAR).put(info(0), frame(0))
    chunks = [name for name in store.objects if name.endswith(f"/000000000000.{format}")]
    day = "year=2026/month=12/day=31" if fixed else "year=2027/month=01/day=01"
    assert chunks == [f"{day}/000000000000.{format}"]
    assert Landing(store, format, "dated").info(0) == landed


def test_of_racers_around_midnight_one_wins() -> None:
    """Many that put one number with other rows, on both sides of midnight: one chunk is there, in one folder."""
    store = MemoryStore()

    def put(racer: int) -> bool:
        today = NEW_YEAR if racer % 2 else NEW_YEARS_EVE
        landing = Landing(store, "parquet", "dated", lambda: today)
        try:
            landing.put(info(0), frame(0, str(racer)))
        except LogError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(put, range(16))) == 1
    assert len(store.objects) == 2


def test_a_clock_that_goes_back_does_not_mix_up_the_order() -> None:
    """A chunk is never in an earlier folder than the one before it, so that names sort as numbers do."""
    store = MemoryStore()
    for number, now in enumerate((NEW_YEARS_EVE, NEW_YEAR, NEW_YEARS_EVE)):
        Landing(store, "parquet", "dated", lambda now=now: now).put(info(number), frame(number))
    assert [name for name in sorted(store.objects) if name.startswith("year=")] == [
        "year=2026/month=12/day=31/000000000000.parquet",
        "year=2027/month=01/day=01/000000000001.parquet",
        "year=2027/month=01/day=01/000000000002.parquet",
    ]
    assert [*Landing(store, "parquet", "dated").numbers(1)] == [1, 2]


def test_a_folder_without_its_chunk_is_no_chunk() -> None:
    """A run that ended between the two: the number is not landed, not listed, and is landed by the next run."""
    store = MemoryStore()
    calendar = Calendar()
    landing = Landing(store, "parquet", "dated", calendar)
    landing.put(info(0), frame(0))
    store.put("_index/000000000001", b"year=2026/month=12/day=31")
    assert (landing.has(1), landing.next_number(), [*landing.numbers()]) == (False, 1, [0])
    assert [*landing.numbers(1)] == []
    calendar.now = NEW_YEAR
    landing.put(info(1), frame(1))
    assert [*landing.numbers(1)] == [1]


def test_an_index_that_was_changed_is_told() -> None:
    """What is no folder of a day is not followed."""
    store = MemoryStore()
    store.put("_index/000000000000", b"../../etc")
    with pytest.raises(LogError, match=r"_index/000000000000 names no folder of a day: '\.\./\.\./etc'"):
        Landing(store, "parquet", "dated").read(0)


def test_a_chunk_that_was_moved_is_told() -> None:
    """A chunk in an earlier folder than the one before it was not put there by the product."""
    store = MemoryStore()
    for number in range(2):
        Landing(store, "parquet", "dated", lambda: NEW_YEARS_EVE).put(info(number), frame(number))
    name = "year=2026/month=12/day=31/000000000001.parquet"
    store.objects[name.replace("2026", "2025")] = store.objects.pop(name)
    with pytest.raises(LogError, match="comes after chunk 1: it was moved"):
        [*Landing(store, "parquet", "dated").numbers()]


# Another layout


@pytest.mark.parametrize("there", LAYOUTS)
@each_layout
def test_another_layout_than_the_one_that_is_there_is_told(there: LayoutName, layout: LayoutName) -> None:
    """A landing zone has one layout: with another, ingest and listing say which one it has, and nothing is landed."""
    store = MemoryStore()
    store.put("README.md", b"a file of somebody else's")
    Landing(store, "parquet", there).put(info(0), frame(0))
    landing = Landing(store, "parquet", layout)
    if there == layout:
        assert (landing.next_number(), [*landing.numbers()]) == (1, [0])
        return
    said = f"has chunks in the layout '{there}', and the configuration says '{layout}'"
    for look in (landing.check_layout, landing.next_number, lambda: [*landing.numbers()]):
        with pytest.raises(LogError, match=said):
            look()


@each_layout
def test_an_empty_landing_zone_fits_every_layout(layout: LayoutName) -> None:
    """Nothing is found in it, and nothing is wrong with it."""
    store: Store = MemoryStore()
    store.put("README.md", b"")
    landing = Landing(store, "parquet", layout)
    assert (landing.next_number(), [*landing.numbers()], [*landing.numbers(7)]) == (0, [], [])
