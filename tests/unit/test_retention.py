"""Retention removes rows that nothing needs any more, and at every moment the log says what was there and what is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from tillwatch.errors import LogError, StoreError
from tillwatch.landing import Format, Landing, LayoutName
from tillwatch.landing.compaction import Compaction
from tillwatch.landing.removed import Record, decode_record, encode_record, record_name
from tillwatch.landing.retention import Retention
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.state import open_state
from tillwatch.state.base import State
from tillwatch.stores.base import Store
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

layouts = pytest.mark.parametrize("layout", ["flat", "dated"])
formats = pytest.mark.parametrize("format", ["parquet", "csv"])
AT = "2026-11-20T13:05:07.123+05:30"


def land(store: Store, layout: LayoutName, format: Format = "parquet", count: int = 10) -> list[Chunk]:
    """Chunks of two rows each."""
    landing, landed = Landing(store, format, layout), []
    for number in range(count):
        rows = {"amount": [f"{number}", "1"], "_source_file": ["ä.csv"] * 2, "_source_row": [number, number + 1]}
        info = ChunkInfo(number, 2, SourceFile(number // 4, "ä.csv", 10, 7), 1, Position(number, number))
        landing.put(info, pl.DataFrame(rows))
        landed.append(landing.read(number))
    return landed


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """A ledger that has noted what `land` lands as Parquet."""
    with closing(open_state(str(tmp_path / "state.db"))) as state:
        state.record_landed([chunk.info for chunk in land(MemoryStore(), "flat")])
        yield state


def retain(store: Store, layout: LayoutName, below: int, state: State) -> int:
    """Removes what is due below this chunk; returns how many objects."""
    retention = Retention(store, layout)
    due = retention.due(below)
    retention.remove(due, state, AT)
    return len(due)


def check(store: Store, layout: LayoutName, landed: list[Chunk], kept_from: int | None = None) -> None:
    """The log knows all chunks, reads those that are kept, and says of the others that they were removed."""
    landing = Landing(store, "parquet", layout)
    assert [*landing.numbers()] == [c.info.number for c in landed]
    assert ([*landing.numbers(4)], landing.next_number()) == ([*range(4, len(landed))], len(landed))
    removed = landing.removed()
    assert kept_from in (None, removed.chunks)
    for reader in (landing, Landing(store, "csv", layout)):
        for chunk in [*landed, *reversed(landed)]:
            number = chunk.info.number
            assert (reader.has(number), reader.info(number)) == (True, chunk.info)
            if number >= removed.chunks:
                assert reader.read(number).frame.equals(chunk.frame)
            else:
                with pytest.raises(LogError, match=f"were removed by retention, chunk {number} at"):
                    reader.read(number)


@layouts
@formats
def test_what_is_removed_is_still_known(layout: LayoutName, format: Format, tmp_path: Path) -> None:
    """Numbers, metadata and digests stay, rows go, in whole merged objects only; a second time there is nothing due."""
    store = MemoryStore()
    landed = land(store, layout, format)
    Compaction(store, layout, 3).run(10)
    with closing(open_state(str(tmp_path / "state.db"))) as state:
        state.record_landed([chunk.info for chunk in landed])
        assert retain(store, layout, 2, state) == 0
        assert retain(store, layout, 8, state) == 2
        check(store, layout, landed, 6)
        assert sorted(name for name in store.objects if "removed" in name) == [record_name(0, 2), record_name(3, 5)]
        assert not any("000000000000-000000000002.parquet" in name for name in store.objects)
        kept = dict(store.objects)
        assert retain(store, layout, 8, state) == 0
        assert store.objects == kept
    assert Landing(store, "parquet", layout).removed().at == AT
    with pytest.raises(LogError, match=rf"chunks 0 to 5 of memory: .*, chunk 1 at {AT[:19]}.* cannot be made"):
        Landing(store, "parquet", layout).read(1)


@layouts
def test_only_merged_chunks_are_due(layout: LayoutName, state: State) -> None:
    """Chunks that are not merged stay, however old; those that a compaction would merge are due to who asks so."""
    store = MemoryStore()
    landed = land(store, layout)
    assert retain(store, layout, 10, state) == 0
    dry = Compaction(store, layout, 3).run(10, dry=True)
    before = dict(store.objects)
    assert [(r.first, r.last) for r in Retention(store, layout).due(7, dry.ranges)] == [(0, 2), (3, 5)]
    assert store.objects == before
    assert Compaction(store, layout, 3).run(10) == dry
    assert retain(store, layout, 7, state) == 2
    check(store, layout, landed, 6)


@layouts
def test_compaction_goes_on_behind_what_is_removed(layout: LayoutName, state: State) -> None:
    """Chunks behind the removed ones are merged and removed in their turn, and new ones landed."""
    store = MemoryStore()
    landed = land(store, layout)
    Compaction(store, layout, 3).run(4)
    retain(store, layout, 4, state)
    check(store, layout, landed, 3)
    assert Compaction(store, layout, 3).run(10).chunks == 6
    check(store, layout, landed, 3)
    retain(store, layout, 9, state)
    check(store, layout, landed, 9)


FAULTS: list[tuple[Literal["put", "delete"], int]] = [(o, n) for o in ("put", "delete") for n in (1, 2)]  # type: ignore[misc]


@layouts
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_ended_at_every_step(
    layout: LayoutName, when: Literal["before", "after"], fault: tuple[Literal["put", "delete"], int], state: State
) -> None:
    """Wherever a removal ends, the log is consistent then, and the next one leaves what one without faults leaves."""
    untroubled, store = MemoryStore(), MemoryStore()
    for place in (untroubled, store):
        landed = land(place, layout)
        Compaction(place, layout, 3).run(10)
    retain(untroubled, layout, 6, state)
    with pytest.raises(StoreError, match="fault on purpose"):
        retain(FaultyStore(store, Fault(fault[0], nth=fault[1], when=when)), layout, 6, state)
    check(store, layout, landed)
    retain(store, layout, 6, state)
    check(store, layout, landed, 6)
    if layout == "flat":  # with dated folders the day may have changed meanwhile
        assert store.objects == untroubled.objects
    assert len(store.objects) == len(untroubled.objects)


@layouts
def test_who_has_the_log_open_is_told(layout: LayoutName, state: State) -> None:
    """A reader that knew the merged chunks is told that they were removed since, and reads on behind them."""
    store = MemoryStore()
    landed = land(store, layout)
    Compaction(store, layout, 3).run(10)
    readers = [Landing(store, "parquet", layout) for _ in range(2)]
    assert all([*reader.numbers()] == [*range(10)] for reader in readers)
    assert readers[0].read(4).info == landed[4].info
    retain(store, layout, 6, state)
    with pytest.raises(LogError, match="were removed by retention, chunk 0 at"):
        readers[0].read(0)
    assert readers[1].info(4) == landed[4].info
    for reader in readers:
        assert reader.read(6).frame.equals(landed[6].frame)


def test_a_removed_number_is_not_landed_again(state: State) -> None:
    """Ingest cannot put a chunk again that was removed."""
    store = MemoryStore()
    landed = land(store, "flat")
    Compaction(store, "flat", 3).run(10)
    retain(store, "flat", 6, state)
    landing = Landing(store)
    assert landing.next_number() == 10
    with pytest.raises(LogError, match=r"_removed/000000000000-000000000002\.json has chunk 1 already"):
        landing.put(landed[1].info, landed[1].frame)


def test_another_layout_is_told_when_all_that_is_there_is_removed(state: State) -> None:
    """Records are the same in every layout, so they do not hide that the chunks behind them are in another one."""
    store = MemoryStore()
    land(store, "flat")
    Compaction(store, "flat", 3).run(10)
    retain(store, "flat", 6, state)
    landing = Landing(store, "parquet", "dated")
    for look in (landing.next_number, lambda: [*landing.numbers()]):
        with pytest.raises(LogError, match="has chunks in the layout 'flat', and the configuration says 'dated'"):
            look()


def test_nothing_is_removed_that_is_not_what_was_processed(state: State, tmp_path: Path) -> None:
    """Damaged objects, and objects with other digests than the state has noted, are kept, and told."""
    store = MemoryStore()
    land(store, "flat")
    Compaction(store, "flat", 3).run(10)
    whole, name = dict(store.objects), "000000000003-000000000005.parquet"
    store.objects[name] = whole[name][:-40] + bytes(40)
    with pytest.raises(LogError, match=f"{name} is not what was landed"):
        retain(store, "flat", 6, state)
    assert set(store.objects) == (set(whole) - {"000000000000-000000000002.parquet"}) | {record_name(0, 2)}
    store.objects = dict(whole)
    said = r"chunk 0 is not the one that was processed: digest \w+, noted none"
    with closing(open_state(str(tmp_path / "other.db"))) as other, pytest.raises(LogError, match=said):
        retain(store, "flat", 6, other)
    assert store.objects == whole


def test_a_record_that_says_something_else_keeps_the_object(state: State) -> None:
    """When a record is there that is of other chunks, or is damaged, the object for which it stands is not deleted."""
    store = MemoryStore()
    landed = land(store, "flat")
    Compaction(store, "flat", 3).run(10)
    other = [Landing(MemoryStore()).put(c.info, c.frame.with_columns(amount=pl.lit("9"))) for c in landed[:3]]
    name = record_name(0, 2)

    class Racing(MemoryStore):
        def put(self, put: str, data: bytes) -> None:
            self.objects[name] = encode_record(Record(other, AT))
            super().put(put, data)

    racing = Racing()
    racing.objects = dict(store.objects)
    with pytest.raises(LogError, match=rf"{name} does not say of chunks 0 to 2 what .* says\. Nothing was deleted"):
        retain(racing, "flat", 3, state)
    store.objects[name] = encode_record(Record([c.info for c in landed[:3]], AT)).replace(b"2026", b"2025")
    with pytest.raises(LogError, match=f"{name} is not what was landed"):
        retain(store, "flat", 3, state)
    assert all("000000000000-000000000002.parquet" in place.objects for place in (store, racing))


@pytest.mark.parametrize(("first", "last"), [(3, 5), (0, 1), (0, 3)])
def test_a_record_that_was_renamed_is_told(first: int, last: int, state: State) -> None:
    """Under another name it does not say what the name says, and nothing is taken from it."""
    store = MemoryStore()
    landed = land(store, "flat")
    data = encode_record(Record([c.info for c in landed[:3]], AT))
    assert decode_record(data, 0, 2, "here").infos == [c.info for c in landed[:3]]
    with pytest.raises(LogError, match="here is whole, but"):
        decode_record(data, first, last, "here")
