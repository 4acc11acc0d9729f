"""Each detection is in exactly one file, whatever happened in between; no file is ever written over."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.errors import PublishError, StateError, StoreError
from tillwatch.model import Detection
from tillwatch.publish.files import COLUMNS, publish, render
from tillwatch.state import State, open_state
from tillwatch.state.base import FilePlan, StoredDetection, Stream
from tillwatch.testing.commits import MEANING, ODD_TEXTS, SHAPE, STARTED, commit, time
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

FIRST, SECOND = (f"detections-{n:012}-{n + 1:012}.csv" for n in (1, 3))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """Five detections, two per file: two files planned, one detection waiting."""
    state = open_state(str(tmp_path / "s.db"))
    state.start("f", MEANING, STARTED, [SHAPE])
    state.commit(commit(0, [3, 2]), 2)
    yield state
    state.close()


def now() -> str:
    """When a file was published."""
    return "2026-11-20T14:00:00.000+05:30"


def names(plans: Sequence[FilePlan]) -> list[str]:
    """Their file names."""
    return [p.name for p in plans]


# The bytes


def stored(key: dict[str, str], pattern: str = "P", action: str = "A") -> StoredDetection:
    """A detection as it was committed."""
    return StoredDetection(1, Detection(0, pattern, action, key, {}), time(0), True, None)


def test_a_file_has_six_columns_in_their_order() -> None:
    """Header and rows, a field that does not apply empty, lines ended by a line feed."""
    rows = [
        stored({"customer": "C1", "merchant": "M1"}, "PatId1", "UPGRADE"),
        stored({"merchant": "M1"}, "PatId3", "DEI-NEEDED"),
        stored({"customer": "C1", "category": "es_food"}, "X", "Y"),
    ]
    assert render(STARTED, rows).decode() == (
        "YStartTime,detectionTime,patternId,ActionType,customerName,MerchantId\n"
        f"{STARTED},{time(0)},PatId1,UPGRADE,C1,M1\n"
        f"{STARTED},{time(0)},PatId3,DEI-NEEDED,,M1\n"
        f"{STARTED},{time(0)},X,Y,C1,\n"
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))
ODD = [text.replace("\r", "") for text in ODD_TEXTS]


def read(data: bytes) -> list[list[str]]:
    """The rows of a file, as any reader of CSV gives them."""
    header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
    assert tuple(header) == COLUMNS
    return rows


@settings(max_examples=100)
@given(st.lists(st.tuples(*[TEXTS | st.sampled_from(ODD)] * 3), max_size=5))
def test_any_text_comes_back_from_a_file(texts: list[tuple[str, str, str]]) -> None:
    """Commas, quotes and line feeds in names are quoted, so that a reader of CSV gets the names as they were."""
    data = render(STARTED, [stored({"customer": c, "merchant": m}, p) for c, m, p in texts])
    assert read(data) == [[STARTED, time(0), p, "A", c, m] for c, m, p in texts]


def test_a_carriage_return_comes_back_from_a_file() -> None:
    """A carriage return in a name is quoted like any other line break, by every version of Python."""
    data = render(STARTED, [stored({"customer": "a\rb", "merchant": "M"})])
    assert b'"a\rb"' in data
    assert read(data) == [[STARTED, time(0), "P", "A", "a\rb", "M"]]


# Once and again


def test_planned_files_are_published_once(state: State) -> None:
    """Every planned file is written with its detections and noted; the waiting detection is in none."""
    store = MemoryStore()
    assert names(publish(state, store, now)) == [FIRST, SECOND]
    assert [p.published_at for p in state.files_planned()] == [now(), now()]
    assert {n: d.count(b"\n") for n, d in store.objects.items()} == {FIRST: 3, SECOND: 3}
    kept = dict(store.objects)
    assert publish(state, store, now) == []
    assert store.objects == kept
    state.plan_rest(2)
    assert names(publish(state, store, now)) == ["detections-000000000005-000000000005.csv"]
    rows = [line.split(",")[4] for _, data in sorted(store.objects.items()) for line in data.decode().splitlines()[1:]]
    assert rows == ["0.0", "0.1", "0.2", "1.0", "1.1"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("put", nth=1, when="before"),
        Fault("put", nth=1, when="after"),
        Fault("put", nth=2, when="before"),
        Fault("put", nth=2, when="after"),
        Fault("has", nth=2),
    ],
)
def test_a_failure_at_any_step_is_made_good_by_trying_again(state: State, fault: Fault) -> None:
    """Whether a put failed before or after it took effect, the next try gives the files of a run without failures."""
    untroubled, inner = MemoryStore(), MemoryStore()
    store = FaultyStore(inner, fault)
    with pytest.raises(StoreError, match="fault on purpose"):
        publish(state, store, now)
    publish(state, store, now)
    assert state.unpublished() == []
    for plan in state.files_planned():
        untroubled.put(plan.name, render(STARTED, state.detections(plan.first, plan.last)))
    assert inner.objects == untroubled.objects


def test_a_file_that_is_there_with_the_same_bytes_is_done(state: State) -> None:
    """A crash after the put and before the note: the file is not written again, only noted."""
    first = MemoryStore()
    publish(state, first, now)
    again = MemoryStore()
    again.objects.update(first.objects)
    for plan in state.files_planned():
        state.mark_published([plan], None)  # type: ignore[arg-type]
    assert names(publish(state, again, now)) == [FIRST, SECOND]
    assert again.objects == first.objects


@pytest.mark.parametrize("taken", [FIRST, SECOND])
def test_a_file_that_is_there_with_other_bytes_is_told(state: State, taken: str) -> None:
    """Nothing is written over; the file, its detections and what to do are told; it stays to be published."""
    store = MemoryStore()
    store.put(taken, b"something else")
    with pytest.raises(PublishError) as caught:
        publish(state, store, now)
    first = 1 if taken == FIRST else 3
    assert f"memory:/{taken} is there already with other content" in str(caught.value)
    assert f"detections {first} to {first + 1} were not published" in str(caught.value)
    assert store.objects[taken] == b"something else"
    assert names(state.unpublished()) == [FIRST, SECOND][first // 2 :]


def test_a_race_for_a_file_is_told(state: State) -> None:
    """A file that appears with other bytes between the look and the put is not written over either."""

    class Racing(MemoryStore):
        def put(self, name: str, data: bytes) -> None:
            self.objects.setdefault(name, b"the other's")
            super().put(name, data)

    store = Racing()
    with pytest.raises((PublishError, StoreError), match="exists already with other content"):
        publish(state, store, now)
    assert store.objects == {FIRST: b"the other's"}


def test_a_file_that_cannot_be_noted_is_noted_by_the_next_try(state: State) -> None:
    """When the state refuses after the put, the file is there already at the next try."""
    store, notes = MemoryStore(), []

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return getattr(state, name)

        def mark_published(self, plans: Sequence[FilePlan], at: str, stream: Stream) -> None:
            notes.extend(names(plans))
            raise StateError("not now")

    with pytest.raises(StateError, match="not now"):
        publish(Refusing(), store, now)  # type: ignore[arg-type]
    assert (notes, [*store.objects]) == ([FIRST, SECOND], [FIRST, SECOND])
    assert names(publish(state, store, now)) == [FIRST, SECOND]


def test_the_start_in_the_files_is_that_of_the_first_run(tmp_path: Path) -> None:
    """YStartTime stays that of the first start, in files of later runs too."""
    store = MemoryStore()
    for chunk, at in enumerate((STARTED, "2027-01-01T00:00:00.000+05:30")):
        state = open_state(str(tmp_path / "s.db"))
        state.start("f", MEANING, at, [SHAPE])
        state.commit(commit(chunk, [2]), 2)
        publish(state, store, now)
        state.close()
    assert {d.decode().splitlines()[1].split(",")[0] for d in store.objects.values()} == {STARTED}
