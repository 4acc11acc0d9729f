"""The landing zone keeps what it was given, says so by a digest, and takes each number once."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from polars.testing.parametric import dataframes

from tillwatch.errors import LogError, StoreError
from tillwatch.landing import Format, Landing
from tillwatch.model import ChunkInfo, Position, SourceFile
from tillwatch.stores import LocalStore
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

FORMATS: tuple[Format, ...] = ("parquet", "csv")
both_formats = pytest.mark.parametrize("format", FORMATS)


def chunk_info(number: int = 0, rows: int = 2, **changes: Any) -> ChunkInfo:
    """The metadata of a chunk from the start of a file."""
    file = SourceFile(number=3, name='tägliche/a "b".csv', size=1234, modified=1_700_000_000_000_000_000)
    return replace(ChunkInfo(number, rows, file, first_row=1, position=Position(rows, 99)), **changes)


def with_source(frame: pl.DataFrame, start: int = 1) -> pl.DataFrame:
    """The frame with the columns that say where its rows came from."""
    rows = pl.int_range(start, start + pl.len(), dtype=pl.Int64)
    return frame.with_columns(pl.lit("a.csv").alias("_source_file"), rows.alias("_source_row"))


def small_frame(*amounts: str) -> pl.DataFrame:
    """Two rows, or one for each amount, of two source columns."""
    values = amounts or ("4.55", "39.68")
    return with_source(pl.DataFrame({"customer": ["'C1'"] * len(values), "amount": values}))


# Round trips

TEXTS = st.text() | st.text(alphabet=",;\"'\\\r\n\t \ufeff#é\0", max_size=6)


@st.composite
def string_frames(draw: st.DrawFn) -> pl.DataFrame:
    """Frames as CSV and JSON Lines sources give them, with odd texts, odd names and malformed rows."""
    height = draw(st.integers(0, 4))
    values = st.lists(st.none() | TEXTS, min_size=height, max_size=height)
    names = draw(st.lists(TEXTS.filter(lambda name: not name.startswith("_")), unique=True, min_size=1, max_size=3))
    if draw(st.booleans()):
        names += ["_malformed", "_problem"]
    return with_source(pl.DataFrame({name: pl.Series(draw(values), dtype=pl.String) for name in names}))


@both_formats
@settings(max_examples=150, deadline=None)
@given(frame=string_frames())
def test_any_text_comes_back(format: Format, frame: pl.DataFrame) -> None:
    """Texts, nulls, empty texts, column names and malformed rows are read as they were put."""
    landing = Landing(MemoryStore(), format)
    landed = landing.put(chunk_info(rows=frame.height), frame)
    chunk = landing.read(0)
    assert_frame_equal(chunk.frame, frame)
    assert chunk.info == landed == landing.info(0)


@settings(max_examples=100, deadline=None)
@given(frame=dataframes(max_cols=4, excluded_dtypes=[pl.Object]))
def test_any_type_comes_back_from_parquet(frame: pl.DataFrame) -> None:
    """Native types of Parquet sources, nested ones as well, are read as they were put, with their type."""
    frame, landing = with_source(frame), Landing(MemoryStore())
    landing.put(chunk_info(rows=frame.height), frame)
    assert_frame_equal(landing.read(0).frame, frame, categorical_as_str=False)


@both_formats
@given(
    number=st.integers(0, 10**12 - 1),
    name=st.text(),
    size=st.integers(0, 2**63),
    file_digest=st.none() | st.just("f" * 64) | st.just("0" * 64),
)
@settings(deadline=None)
def test_any_metadata_comes_back(format: Format, number: int, name: str, size: int, file_digest: str | None) -> None:
    """Every field of the metadata is read as it was put, whatever is in it."""
    info = chunk_info(number, file=SourceFile(0, name, size, -1), file_digest=file_digest, digest="ignored")
    store = MemoryStore()
    landed = Landing(store, format).put(info, small_frame())
    assert replace(landed, digest="ignored") == info
    assert Landing(store).info(number) == Landing(store).read(number).info == landed


def test_csv_holds_native_types_as_text() -> None:
    """In CSV every value is text, nested ones JSON, null an empty field; the reader gets Strings."""
    frame = with_source(
        pl.DataFrame(
            {
                "list": [["a", None], None],
                "struct": [{"x": 1, "y": "}"}, {"x": None, "y": ""}],
                "decimal": [Decimal("4.50"), None],
                "float": [0.1, None],
                "date": [date(2026, 11, 20), None],
                "time": [datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC), None],
                "duration": [timedelta(hours=25), None],
                "bytes": [b"'M1'", None],
                "flag": [True, None],
            }
        )
    )
    landing = Landing(MemoryStore(), "csv")
    landing.put(chunk_info(), frame)
    read = landing.read(0).frame
    assert read.drop("_source_row").schema == dict.fromkeys(frame.columns[:-1], pl.String)
    assert read.row(0) == (
        '["a",null]',
        '{"x":1,"y":"}"}',
        "4.50",
        "0.1",
        "2026-11-20",
        "2026-11-20T01:02:03.000000+0000",
        "P1DT1H",
        "'M1'",
        "true",
        "a.csv",
        1,
    )
    assert read.row(1) == (None, '{"x":null,"y":""}', *[None] * 7, "a.csv", 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([b"\xff"], "invalid utf8"),
        ([[b"x"]], "'odd' holds bytes within List"),
        ([{"x": [b"x"]}], "'odd' holds bytes"),
    ],
)
def test_bytes_that_csv_cannot_hold_are_refused(values: list[Any], words: str) -> None:
    """Bytes that are not UTF-8, or within a nested value, are refused for CSV, and land as Parquet."""
    frame, info = with_source(pl.DataFrame({"odd": values})), chunk_info(rows=1)
    store = MemoryStore()
    with pytest.raises(LogError, match=f"cannot be written as CSV; use Parquet: .*{words}"):
        Landing(store, "csv").put(info, frame)
    assert not store.objects
    Landing(store).put(info, frame)
    assert_frame_equal(Landing(store).read(0).frame, frame)


def test_a_type_that_parquet_cannot_hold_is_refused() -> None:
    """What Parquet has no place for is refused, and nothing is landed."""
    store, frame = MemoryStore(), with_source(pl.DataFrame({"odd": pl.Series([{}], dtype=pl.Struct([]))}))
    with pytest.raises(LogError, match="cannot be written as Parquet: Unable to write struct"):
        Landing(store).put(chunk_info(rows=1), frame)
    assert not store.objects


@both_formats
def test_only_the_asked_columns_are_read(format: Format) -> None:
    """read gives those asked columns that the chunk has, in its order, and always the reserved ones."""
    frame = small_frame().with_columns(pl.lit(None, pl.String).alias("_malformed"), pl.lit("x").alias("_problem"))
    landing = Landing(MemoryStore(), format)
    landing.put(chunk_info(), frame)
    assert_frame_equal(landing.read(0, ["gender", "amount"]).frame, frame.drop("customer"))
    assert_frame_equal(landing.read(0, []).frame, frame.drop("customer", "amount"))
    assert_frame_equal(landing.read(0, ["amount", "customer", "_source_row"]).frame, frame)


# What is stored


def test_a_parquet_chunk_is_checked_in_a_few_lines() -> None:
    """The digest in the footer is the SHA-256 of the bytes with the digest blanked, as documented."""
    store, frame = MemoryStore(), small_frame('{"digest":"', "x")
    frame = frame.rename({"customer": '{"digest":"' + "0" * 64})
    landed = Landing(store).put(chunk_info(12), frame)
    assert [*store.objects] == ["000000000012.parquet"]
    data = store.objects["000000000012.parquet"]
    at = data.rindex(b'{"digest":"') + 11
    assert hashlib.sha256(data[:at] + b"0" * 64 + data[at + 64 :]).hexdigest().encode() == data[at : at + 64]
    assert data[at : at + 64].decode() == landed.digest
    metadata = json.loads(pl.read_parquet_metadata(data)["tillwatch"])
    assert (metadata["number"], metadata["rows"], metadata["file"]["size"]) == (12, 2, 1234)
    assert_frame_equal(pl.read_parquet(data), frame)
    assert_frame_equal(Landing(store).read(12).frame, frame)


def test_a_csv_chunk_is_plain_csv_with_a_sidecar() -> None:
    """A CSV chunk is RFC 4180 with a header; its sidecar is named by its SHA-256 and has a digest."""
    store = MemoryStore()
    landed = Landing(store, "csv").put(chunk_info(12), small_frame('a "b",\n', ""))
    data = store.objects["000000000012.csv"]
    assert data == (b'customer,amount,_source_file,_source_row\n\'C1\',"a ""b"",\n",a.csv,1\n\'C1\',"",a.csv,2\n')
    assert [*csv.reader(io.StringIO(data.decode()))][1] == ["'C1'", 'a "b",\n', "a.csv", "1"]
    digest = hashlib.sha256(data).hexdigest()
    sidecar = store.objects[f"000000000012.{digest[:16]}.json"]
    metadata = json.loads(sidecar)
    assert (metadata["number"], metadata["data"], metadata["digest"]) == (12, digest, landed.digest)
    blanked = sidecar.replace(landed.digest.encode(), b"0" * 64)
    assert hashlib.sha256(blanked).hexdigest() == landed.digest


@both_formats
def test_the_bytes_follow_from_the_content(format: Format) -> None:
    """The same metadata and rows give the same bytes, however the frame was put together."""
    frame = small_frame("1", "2", "3", "4")
    parts = pl.concat([frame[:1], frame[1:3], frame[3:]], rechunk=False)
    sliced = pl.concat([frame, frame])[4:]
    stores = [MemoryStore(), MemoryStore(), MemoryStore()]
    for store, same in zip(stores, (frame, parts, sliced), strict=True):
        Landing(store, format).put(chunk_info(rows=4), same)
    assert stores[0].objects == stores[1].objects == stores[2].objects


# Damage


def damage(store: MemoryStore, name: str, data: bytes) -> Landing:
    """A landing zone in which one object has other bytes."""
    damaged = MemoryStore()
    damaged.objects = {**store.objects, name: data}
    return Landing(damaged)


def landed_objects(format: Format) -> tuple[MemoryStore, list[str]]:
    """A landing zone with one chunk, and the names of its objects."""
    store = MemoryStore()
    Landing(store, format).put(chunk_info(), small_frame())
    return store, [*store.objects]


@both_formats
def test_any_flipped_bit_is_found(format: Format) -> None:
    """Each bit of each object of a chunk, when flipped, makes info fail with a LogError that names it."""
    store, names = landed_objects(format)
    for name in names:
        good = store.objects[name]
        for bit in range(8 * len(good)):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            landing = damage(store, name, bytes(bad))
            with pytest.raises(LogError, match=r"memory:/000000000000.* is not what was landed: .*digest"):
                landing.info(0)


@both_formats
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_other_bytes_are_found(format: Format, data: st.DataObject) -> None:
    """Objects with replaced, inserted or lost stretches of bytes are never read."""
    store, names = landed_objects(format)
    name = data.draw(st.sampled_from(names))
    good = store.objects[name]
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    bad = good[:start] + data.draw(st.binary(max_size=200)) + good[end:]
    landing = damage(store, name, bad)
    if bad == good:
        assert landing.read(0).info.rows == 2
    else:
        for operation in (landing.read, landing.info):
            with pytest.raises(LogError, match=r"is not what was landed"):
                operation(0)


@both_formats
def test_a_truncated_chunk_is_found(format: Format) -> None:
    """An object cut off at any length, empty as well, is never read."""
    store, names = landed_objects(format)
    for name in names:
        for length in range(len(store.objects[name])):
            with pytest.raises(LogError, match=r"memory:/000000000000.*is not what was landed"):
                damage(store, name, store.objects[name][:length]).read(0)


def test_the_error_says_which_digest_was_found_and_expected() -> None:
    """The error names the chunk, the digest of its bytes, the one that it carries, and what to do."""
    store, names = landed_objects("parquet")
    good = store.objects[names[0]]
    bad = good.replace(b"PAR1", b"PAR2", 1)
    at = good.rindex(b'{"digest":"') + 11
    found = hashlib.sha256(bad[:at] + b"0" * 64 + bad[at + 64 :]).hexdigest()
    with pytest.raises(LogError) as caught:
        damage(store, names[0], bad).read(0)
    assert str(caught.value) == (
        f"memory:/000000000000.parquet is not what was landed: the digest of its bytes is {found}, "
        f"expected {good[at : at + 64].decode()}. "
        "It was damaged or changed after it was landed: bring it back from a copy."
    )


def test_a_changed_csv_names_the_sidecar_that_was_expected() -> None:
    """A changed CSV fails with the start of its digest and the sidecars there are; without any it says so."""
    store, (sidecar, name) = landed_objects("csv")
    bad = store.objects[name].replace(b"4.55", b"4.56")
    found = hashlib.sha256(bad).hexdigest()[:16]
    landing = damage(store, name, bad)
    with pytest.raises(LogError, match=f"its digest starts with {found}, expected that of a sidecar: {sidecar}"):
        landing.read(0)
    del store.objects[sidecar]
    with pytest.raises(LogError, match="expected that of a sidecar: there is none"):
        Landing(store).info(0)


@both_formats
def test_a_chunk_under_another_number_is_found(format: Format) -> None:
    """A whole chunk that was copied to another number is not taken for that number's."""
    store, names = landed_objects(format)
    for name in names:
        store.objects[name.replace("000000000000", "000000000007")] = store.objects[name]
    landing = Landing(store)
    assert landing.info(0).number == 0
    for operation in (landing.read, landing.info):
        with pytest.raises(LogError, match=r"not that of chunk 7 .* renamed, or written by another program"):
            operation(7)


# A number is taken once


@both_formats
def test_putting_the_same_again_is_success(format: Format) -> None:
    """A second put of the same content changes nothing and gives the same info, digest included."""
    store = MemoryStore()
    first = Landing(store, format).put(chunk_info(), small_frame())
    before = dict(store.objects)
    assert Landing(store, format).put(replace(first), small_frame()) == first
    assert store.objects == before


def test_the_same_rows_in_other_bytes_are_the_same_content() -> None:
    """A chunk that another version wrote in other bytes, here uncompressed, counts as the same content."""
    store = MemoryStore()
    landed = Landing(store).put(chunk_info(), small_frame())
    name, metadata = "000000000000.parquet", pl.read_parquet_metadata(store.objects["000000000000.parquet"])
    text, target = metadata["tillwatch"].replace(landed.digest, "0" * 64), io.BytesIO()
    small_frame().write_parquet(target, compression="uncompressed", metadata={"tillwatch": text})
    digest = hashlib.sha256(target.getvalue()).hexdigest()
    at = target.getvalue().rindex(b'{"digest":"') + 11
    store.objects[name] = target.getvalue()[:at] + digest.encode() + target.getvalue()[at + 64 :]
    assert digest != landed.digest
    assert Landing(store).put(chunk_info(), small_frame()) == replace(landed, digest=digest)


@both_formats
@pytest.mark.parametrize(
    ("info", "frame", "words"),
    [
        (chunk_info(), small_frame("4.55", "39.69"), "other rows"),
        (chunk_info(rows=1), small_frame("4.55"), "other rows"),
        (chunk_info(), small_frame().rename({"customer": "client"}), "other rows"),
        (chunk_info(file_digest="f" * 64), small_frame(), "other metadata"),
        (chunk_info(position=Position(2, 100)), small_frame(), "other metadata"),
    ],
)
def test_putting_other_content_is_refused(format: Format, info: ChunkInfo, frame: pl.DataFrame, words: str) -> None:
    """A number that is taken by other rows or metadata is refused, and what is landed stays as it is."""
    store = MemoryStore()
    landed = Landing(store, format).put(chunk_info(), small_frame())
    with pytest.raises(LogError, match=f"chunk 0 is landed already with {words}.*Nothing was overwritten"):
        Landing(store, format).put(info, frame)
    assert Landing(store).info(0) == landed
    assert_frame_equal(Landing(store).read(0).frame, small_frame())


def test_the_same_numbers_of_another_type_are_other_content() -> None:
    """In Parquet a column's type is part of the content."""
    landing, frame = Landing(MemoryStore()), small_frame("1", "2")
    landing.put(chunk_info(), frame.cast({"amount": pl.Int64}))
    with pytest.raises(LogError, match="landed already with other rows"):
        landing.put(chunk_info(), frame.cast({"amount": pl.Int32}))


@both_formats
def test_a_number_is_not_landed_in_two_formats(format: Format) -> None:
    """A number that is landed in one format is refused in the other, with the same rows as well."""
    store, other = MemoryStore(), FORMATS[FORMATS.index(format) - 1]
    Landing(store, format).put(chunk_info(), small_frame())
    before = dict(store.objects)
    with pytest.raises(LogError, match=f"000000000000.{other}: chunk 0 is landed already as {format}"):
        Landing(store, other).put(chunk_info(), small_frame())
    assert store.objects == before


@both_formats
def test_one_of_many_different_racers_wins(format: Format) -> None:
    """Of 16 threads that put different rows under one number one succeeds, and its rows and info are read."""
    store, racers = MemoryStore(), 16

    def race(racer: int) -> ChunkInfo | None:
        try:
            return Landing(store, format).put(chunk_info(), small_frame(str(racer), "0"))
        except LogError:
            return None

    with ThreadPoolExecutor(racers) as pool:
        landed = [*pool.map(race, range(racers))]
    (winner,) = [racer for racer in range(racers) if landed[racer]]
    chunk = Landing(store).read(0)
    assert chunk.info == landed[winner]
    assert_frame_equal(chunk.frame, small_frame(str(winner), "0"))


@pytest.mark.parametrize("amount", ["4.55", "0"])
def test_a_csv_that_appears_between_look_and_put_is_respected(amount: str) -> None:
    """When another run lands the number in between, the same content is success and other is refused."""

    class RacingStore(MemoryStore):
        def put(self, name: str, data: bytes) -> None:
            super().put(name, data)
            if name.endswith(".json") and len(self.objects) == 1:
                Landing(self, "csv").put(chunk_info(), small_frame(amount, "39.68"))

    store = RacingStore()
    if amount == "4.55":
        assert Landing(store, "csv").put(chunk_info(), small_frame()) == Landing(store).info(0)
    else:
        with pytest.raises(LogError, match="landed already with other rows"):
            Landing(store, "csv").put(chunk_info(), small_frame())
    assert_frame_equal(Landing(store).read(0).frame, small_frame(amount, "39.68"))


@both_formats
def test_all_of_many_equal_racers_succeed(format: Format) -> None:
    """16 threads that put the same content under one number all succeed with the same info."""
    store = MemoryStore()
    with ThreadPoolExecutor(16) as pool:
        landed = [*pool.map(lambda _: Landing(store, format).put(chunk_info(), small_frame()), range(16))]
    assert {*landed} == {Landing(store).info(0)}


@pytest.mark.parametrize(
    ("info", "frame", "words"),
    [
        (chunk_info(rows=3), small_frame(), "chunk 0 says 3 rows, its frame has 2"),
        (chunk_info(-1), small_frame(), "-1 is out of range"),
        (chunk_info(10**12), small_frame(), "1000000000000 is out of range"),
        (
            chunk_info(),
            small_frame().drop("_source_row"),
            "needs a column _source_row of type Int64, found none",
        ),
        (
            chunk_info(),
            small_frame().cast({"_source_row": pl.Int32}),
            "_source_row of type Int64, found Int32",
        ),
        (chunk_info(), small_frame().drop("_source_file"), "needs a column _source_file of type String"),
    ],
)
def test_a_chunk_that_contradicts_itself_is_refused(info: ChunkInfo, frame: pl.DataFrame, words: str) -> None:
    """Metadata that does not fit the rows, or rows without their origin, are not landed."""
    store = MemoryStore()
    with pytest.raises(LogError, match=words):
        Landing(store).put(info, frame)
    assert not store.objects


# A put that was cut short


def test_an_unfinished_csv_put_is_invisible_and_can_be_finished() -> None:
    """When a put ends before its CSV is there the number is free; the same or another chunk can be put."""
    for info, frame in (
        (chunk_info(), small_frame()),
        (chunk_info(), small_frame("0", "1")),
        (chunk_info(file_digest="f" * 64), small_frame()),
    ):
        store = MemoryStore()
        with pytest.raises(StoreError, match="on purpose"):
            Landing(FaultyStore(store, Fault(name="*.csv")), "csv").put(chunk_info(), small_frame())
        landing = Landing(store, "csv")
        assert [*store.objects] != []
        assert not landing.has(0)
        assert [*landing.numbers()] == []
        landed = landing.put(info, frame)
        assert landing.info(0) == landed == replace(info, digest=landed.digest)
        assert_frame_equal(landing.read(0).frame, frame)


def test_of_many_unfinished_csv_puts_the_finished_one_counts() -> None:
    """Sidecars that cut-off puts left for the same rows do not matter, in whatever order they were made."""
    store = MemoryStore()
    infos = [chunk_info(position=Position(2, offset)) for offset in (1, 2, 1, 3, 2)]
    for info in infos:
        with pytest.raises(StoreError, match="on purpose"):
            Landing(FaultyStore(store, Fault(name="*.csv")), "csv").put(info, small_frame())
    landed = Landing(store, "csv").put(infos[0], small_frame())
    assert Landing(store).info(0) == landed
    assert landed.position.offset == 1


@both_formats
def test_a_put_that_fails_after_it_took_effect_can_be_repeated(format: Format) -> None:
    """When the store fails after the object is there, putting again is success."""
    store = MemoryStore()
    faults = [Fault(name="*0.parquet", when="after"), Fault(name="*.csv", when="after")]
    landing = Landing(FaultyStore(store, *faults), format)
    with pytest.raises(StoreError, match="on purpose"):
        landing.put(chunk_info(), small_frame())
    assert landing.has(0)
    assert landing.put(chunk_info(), small_frame()) == landing.info(0)


# Numbers


def test_numbers_are_found_in_order_with_their_gaps() -> None:
    """numbers lists what is landed in either format from a start, in order, and nothing else."""
    store = MemoryStore()
    for number in (0, 1, 2, 4, 9, 10, 11):
        Landing(store, FORMATS[number % 2]).put(chunk_info(number), small_frame())
    for name in (
        "README.md",
        "000000000003.json",
        "12.parquet",
        "000000000005.parquet.part",
        "x/000000000006.csv",
    ):
        store.put(name, b"")
    landing = Landing(store)
    assert [*landing.numbers()] == [0, 1, 2, 4, 9, 10, 11]
    assert [*landing.numbers(2)] == [2, 4, 9, 10, 11]
    assert [*landing.numbers(3)] == [4, 9, 10, 11]
    assert [*landing.numbers(12)] == []
    assert [landing.next_number(known) for known in (0, 3, 4, 9, 12)] == [3, 3, 5, 12, 12]
    assert [landing.has(number) for number in range(5)] == [True, True, True, False, True]


def test_a_number_landed_in_both_formats_is_found() -> None:
    """numbers fails for a number that is there in both formats, as simultaneous puts can leave it."""
    store, other = MemoryStore(), MemoryStore()
    for place, format in ((store, "parquet"), (other, "csv")):
        for number in range(3):
            Landing(place, format).put(chunk_info(number), small_frame())
    store.objects["000000000001.csv"] = other.objects["000000000001.csv"]
    with pytest.raises(LogError, match="chunk 1 is landed twice, as Parquet and as CSV"):
        [*Landing(store).numbers()]


def test_a_missing_chunk_is_reported() -> None:
    """Reading a number that is not landed fails with LogError that names it and the landing zone."""
    landing = Landing(MemoryStore())
    for operation in (landing.read, landing.info):
        with pytest.raises(LogError, match=r"chunk 5 is not in the landing zone memory:\."):
            operation(5)


# On a disk


@both_formats
def test_a_landing_zone_in_a_folder(format: Format, tmp_path: Path) -> None:
    """In a folder that is not there at first chunks are landed, listed and read by a later process."""
    landing = Landing(LocalStore(tmp_path / "landing"), format)
    assert landing.next_number() == 0
    landed = [landing.put(chunk_info(number), small_frame(str(number), "")) for number in range(3)]
    later = Landing(LocalStore(tmp_path / "landing"))
    assert later.next_number() == 3
    assert [later.info(number) for number in later.numbers()] == landed
    assert_frame_equal(later.read(2).frame, small_frame("2", ""))
    assert not [*tmp_path.rglob(".tmp-*")]


@both_formats
def test_a_folder_that_cannot_be_written_is_reported(format: Format, tmp_path: Path) -> None:
    """When the store cannot write, put fails with its error, and the number stays free."""
    (tmp_path / "landing").mkdir()
    landing = Landing(LocalStore(tmp_path / "landing"), format)
    (tmp_path / "landing").rmdir()
    (tmp_path / "landing").write_bytes(b"in the way")
    with pytest.raises(StoreError, match=rf"cannot write {tmp_path}/landing/.*a file is where a folder is needed"):
        landing.put(chunk_info(), small_frame())
    (tmp_path / "landing").unlink()
    assert not landing.has(0)
