"""What the log costs where each request travels: requests for each chunk, to land it, to wait for it, to read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import polars as pl
import pytest

from tillwatch.errors import LogError
from tillwatch.landing import Format, Landing, LayoutName
from tillwatch.landing.compaction import Compaction
from tillwatch.model import ChunkInfo, Position, SourceFile
from tillwatch.testing.stores import MemoryStore

AMOUNT = ["amount"]


class Remote(MemoryStore):
    """A store elsewhere, which counts what it is asked."""

    remote = True
    resumes = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def put(self, name: str, data: bytes) -> None:
        self.asked["put"] += 1
        super().put(name, data)

    def get(self, name: str) -> bytes:
        self.asked["get"] += 1
        return super().get(name)

    def has(self, name: str) -> bool:
        self.asked["has"] += 1
        return super().has(name)

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        self.asked["list"] += 1
        return super().list(prefix, after)

    def since(self) -> dict[str, int]:
        """What it was asked since this was called last."""
        asked, self.asked = dict(self.asked), Counter()
        return asked


def land(landing: Landing, numbers: range) -> None:
    """Puts these chunks, in order."""
    for number in numbers:
        info = ChunkInfo(number, 1, SourceFile(0, "a.csv", 10, 0), number + 1, Position(number + 1, 10))
        frame = pl.DataFrame({"amount": ["1"], "_source_file": ["a.csv"], "_source_row": [number + 1]})
        landing.put(info, frame)


def begun(layout: LayoutName, format: Format) -> tuple[Remote, Landing]:
    """A landing zone with ten chunks, and a run of ingest that has begun there and landed one more."""
    store = Remote()
    land(Landing(store, format, layout), range(10))
    landing = Landing(store, format, layout)
    assert landing.next_number(10) == 10
    land(landing, range(10, 11))
    store.since()
    return store, landing


@pytest.mark.parametrize(
    ("layout", "format", "expected"),
    [
        ("flat", "parquet", 1),
        ("folder", "parquet", 1),
        ("dated", "parquet", 2),  # the folder is fixed first
        ("flat", "csv", 2),  # the sidecar comes first
        ("dated", "csv", 3),
    ],
)
def test_landing_a_chunk_costs_one_request(layout: LayoutName, format: Format, expected: int) -> None:
    """A chunk is one put, and one more for each object that belongs to it; nothing is looked for meanwhile."""
    store, landing = begun(layout, format)
    land(landing, range(11, 61))
    assert store.since() == {"put": 50 * expected}


@pytest.mark.parametrize(("layout", "expected"), [("flat", 5), ("dated", 5)])
def test_a_run_of_ingest_begins_with_a_few_requests(layout: LayoutName, expected: int) -> None:
    """To find out where to go on, and that nothing is landed from there, costs the same however much is there."""
    store, _ = begun(layout, "parquet")
    landing = Landing(store, "parquet", layout)
    assert landing.next_number(11) == 11
    land(landing, range(11, 12))
    asked = store.since()
    assert sum(asked.values()) - asked["put"] == expected


@pytest.mark.parametrize(("layout", "expected"), [("flat", {"has": 2}), ("folder", {"has": 2}), ("dated", {"get": 1})])
def test_waiting_costs_the_cheapest_requests(layout: LayoutName, expected: dict[str, int]) -> None:
    """While nothing has landed, a look is a request for each format, or one for the folder, and never a listing."""
    store, _ = begun(layout, "parquet")
    landing = Landing(store, "parquet", layout)
    landing.waiting(11, 48)
    store.since()
    assert landing.waiting(11, 48) == range(11, 11)
    assert store.since() == expected


@pytest.mark.parametrize(
    ("layout", "find"), [("flat", {"has": 1}), ("folder", {"has": 1}), ("dated", {"get": 1, "has": 1})]
)
def test_reading_a_chunk_costs_one_request(layout: LayoutName, find: dict[str, int]) -> None:
    """Of many chunks that wait each is one get; that they wait is a look and a listing for all of them."""
    store, _ = begun(layout, "parquet")
    land(Landing(store, "parquet", layout), range(11, 111))
    landing = Landing(store, "parquet", layout)
    store.since()
    for start in (0, 48):
        assert landing.waiting(start, 48) == range(start, start + 48)
        assert store.since() == {"list": 1, **find}
        for number in range(start, start + 48):
            landing.read(number, AMOUNT)
        assert store.since() == {"get": 48}


def test_merged_chunks_cost_a_request_for_each_object() -> None:
    """What is merged is listed once, and read object by object."""
    store = Remote()
    land(Landing(store), range(100))
    Compaction(store, "flat", 20).run(80)
    landing = Landing(store)
    assert len([*landing.numbers()]) == 100
    store.since()
    for number in range(80):
        landing.read(number, AMOUNT)
    assert store.since() == {"get": 4}
    assert landing.waiting(5, 48) == range(5, 20)
    assert store.since() == {}


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_number_that_is_there_in_the_other_format_is_refused(format: Format) -> None:
    """Also elsewhere, where this is looked for once a run: in front of a gap, behind it, and in the next run."""
    other: Format = "csv" if format == "parquet" else "parquet"
    store = Remote()
    land(Landing(store, other), range(2, 3))
    landing = Landing(store, format)
    assert landing.next_number() == 0
    land(landing, range(2))
    with pytest.raises(LogError, match=f"chunk 2 is landed already as {other}"):
        land(landing, range(2, 3))
    store.delete(next(name for name in store.objects if name.endswith(f"2.{other}")))
    land(landing, range(2, 5))
    land(Landing(store, other), range(5, 6))
    assert landing.next_number(5) == 6
    with pytest.raises(LogError, match=f"chunk 5 is landed already as {other}"):
        land(landing, range(5, 6))
