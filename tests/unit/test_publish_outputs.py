"""Every output has every detection once, in order, with all its fields, however often it was delivered."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from tillwatch.config import Output as OutputSettings
from tillwatch.errors import OutputUnavailable, PublishError, StoreError
from tillwatch.publish.delta import DeltaOutput
from tillwatch.publish.jsonl import JsonLines
from tillwatch.publish.output import FIELDS, Batch, Output, batch_of
from tillwatch.publish.outputs import open_output
from tillwatch.publish.parquet import ParquetFiles, table
from tillwatch.state import State, open_state
from tillwatch.stores import open_store
from tillwatch.testing.commits import MEANING, ODD_TEXTS, SHAPE, STARTED, commit, detection, time
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

COLUMNS = (*FIELDS, "date")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """Six detections of two patterns on two days, three per file."""
    state = open_state(str(tmp_path / "s.db"))
    state.start("f", MEANING, STARTED, [SHAPE])
    found = [[detection(0, "C0"), detection(0, "C1", "Q/x=1 ü")], [detection(1, t) for t in ODD_TEXTS[1:5]]]
    state.commit(commit(0, found), 3)
    yield state
    state.close()


@pytest.fixture
def batches(state: State) -> list[Batch]:
    """The two planned files."""
    return [batch_of(plan, state) for plan in state.files_planned()]


def read_jsonl(folder: Path) -> list[dict[str, object]]:
    """All rows of JSON Lines, read apart from the product."""
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]


def read_parquet(folder: Path) -> list[dict[str, object]]:
    """All rows of a folder of Parquet, as DuckDB reads it as one table."""
    query = f"FROM read_parquet('{folder}/**/*.parquet', hive_partitioning=true, hive_types_autocast=0)"
    return [_from_table(row) for row in duckdb.sql(f"{query} ORDER BY seq").pl().to_dicts()]


def read_delta(folder: Path) -> list[dict[str, object]]:
    """All rows of a Delta table."""
    rows = pl.DataFrame(DeltaTable(folder).to_pyarrow_table()).sort("seq").to_dicts()
    return [_from_table(row) for row in rows]


def _from_table(row: dict[str, object]) -> dict[str, object]:
    assert row.pop("date") == str(row["detectionTime"])[:10]
    row["patternId"] = unquote(str(row["patternId"]))
    return {**row, "key": json.loads(str(row["key"])), "evidence": json.loads(str(row["evidence"]))}


KINDS: dict[str, tuple[Callable[[Path], Output], Callable[[Path], list[dict[str, object]]]]] = {
    "jsonl": (lambda folder: JsonLines(open_store(str(folder))), read_jsonl),
    "parquet": (lambda folder: ParquetFiles(open_store(str(folder))), read_parquet),
    "delta": (lambda folder: DeltaOutput(str(folder)), read_delta),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_every_detection_comes_once_with_all_fields(kind: str, batches: list[Batch], tmp_path: Path) -> None:
    """Delivered once, again, and again by a new process, the rows are those of the batches, texts unchanged."""
    make, read = KINDS[kind]
    output = make(tmp_path / "out")
    for batch in [batches[0], *batches, *reversed(batches)]:
        output.deliver(batch)
    make(tmp_path / "out").deliver(batches[1])
    expected = [dict(record) for batch in batches for record in batch.records]
    assert [sorted(row) for row in read(tmp_path / "out")] == [sorted(FIELDS)] * 6
    assert read(tmp_path / "out") == expected
    assert [row["seq"] for row in expected] == [1, 2, 3, 4, 5, 6]


def test_a_record_says_what_was_found(batches: list[Batch]) -> None:
    """The six columns of the CSV with their names, and id, seq, chunk, key and evidence."""
    record = dict(batches[0].records[1])
    assert len(str(record.pop("id"))) == 32
    assert record == {
        "YStartTime": STARTED,
        "detectionTime": time(0),
        "patternId": "Q/x=1 ü",
        "ActionType": "ACTION",
        "customerName": "C1",
        "MerchantId": "M",
        "seq": 2,
        "chunk": 0,
        "key": {"customer": "C1", "merchant": "M"},
        "evidence": {"chunk": 0},
    }


def test_ids_are_of_the_finding_not_of_the_state(state: State, batches: list[Batch], tmp_path: Path) -> None:
    """A state made anew from the same log gives the same ids; another configuration, or other data, gives others."""

    def ids(fingerprint: str) -> set[object]:
        with closing(open_state(str(tmp_path / f"{fingerprint}.db"))) as again:
            again.start(fingerprint, MEANING, "2027-01-01T00:00:00.000+05:30", [SHAPE])
            found = [[detection(0, "C1", "Q/x=1 ü"), detection(0, "C0")], [detection(1, t) for t in ODD_TEXTS[1:5]]]
            again.commit(commit(0, found), 50)
            again.plan_rest(50)
            return {r["id"] for plan in again.files_planned() for r in batch_of(plan, again).records}

    first = {r["id"] for batch in batches for r in batch.records}
    assert len(first) == 6
    assert ids("f") == first
    assert not ids("g") & first


def test_parquet_is_in_folders_that_engines_prune(batches: list[Batch], tmp_path: Path) -> None:
    """A folder for each pattern and date, names with odd characters escaped, and only the files asked for are read."""
    output = ParquetFiles(open_store(str(tmp_path)))
    for batch in batches:
        output.deliver(batch)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet"))
    assert names == [
        "patternId=P/date=2026-11-20/detections-000000000001-000000000003.parquet",
        "patternId=P/date=2026-11-20/detections-000000000004-000000000006.parquet",
        "patternId=Q%2Fx%3D1%20%C3%BC/date=2026-11-20/detections-000000000001-000000000003.parquet",
    ]
    (tmp_path / names[2]).write_bytes(b"not Parquet: whoever reads this file fails")
    query = f"FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning=true, union_by_name=false)"
    assert len(duckdb.sql(f"{query} WHERE patternId = 'P' AND date = '2026-11-20'").fetchall()) == 5


@pytest.mark.parametrize("make", [JsonLines, ParquetFiles])
@pytest.mark.parametrize("fault", [Fault("put", nth=1, when=w) for w in ("before", "after")] + [Fault("put", nth=2)])
def test_a_failure_is_made_good_by_trying_again(
    make: Callable[[FaultyStore], Output], fault: Fault, batches: list[Batch]
) -> None:
    """Whether a put failed before or after it took effect, the next try gives what a run without failures gives."""
    untroubled, inner = MemoryStore(), MemoryStore()
    for batch in batches:
        make(untroubled).deliver(batch)  # type: ignore[arg-type]
    output = make(FaultyStore(inner, fault))
    with pytest.raises(StoreError, match="fault on purpose"):
        for batch in batches:
            output.deliver(batch)
    for batch in batches:
        output.deliver(batch)
    assert inner.objects == untroubled.objects


def test_parquet_of_the_same_rows_in_other_bytes_is_there(batches: list[Batch]) -> None:
    """What another version of Polars wrote counts as delivered, when its rows are the same."""
    store = MemoryStore()
    ParquetFiles(store).deliver(batches[1])
    ((name, data),) = store.objects.items()
    pl.read_parquet(data).write_parquet(buffer := io.BytesIO(), compression="uncompressed")
    store.objects[name] = buffer.getvalue()
    ParquetFiles(store).deliver(batches[1])
    assert store.objects[name] == buffer.getvalue() != data


@pytest.mark.parametrize("make", [JsonLines, ParquetFiles])
@pytest.mark.parametrize("other", [b"something else", None])
def test_what_others_wrote_is_not_written_over(
    make: Callable[[MemoryStore], Output], other: bytes | None, batches: list[Batch]
) -> None:
    """An object of that name with other content, Parquet or not, is told and stays as it is."""
    store, wrong = MemoryStore(), MemoryStore()
    make(store).deliver(batches[1])
    make(wrong).deliver(Batch(batches[1].plan, "another start", [{**r, "YStartTime": "x"} for r in batches[1].records]))
    ((name, data),) = wrong.objects.items()
    store.objects[name] = other or data
    with pytest.raises(PublishError, match="is there already with other content, so detections 4 to 6"):
        make(store).deliver(batches[1])
    assert store.objects[name] == (other or data)


# Delta


def test_a_delta_commit_whose_answer_was_lost_adds_nothing(
    batches: list[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the commit went through and the writer was told otherwise, the next try finds the rows there."""
    import deltalake

    write = deltalake.write_deltalake

    def written_then_lost(*args: object, **kwargs: object) -> None:
        write(*args, **kwargs)  # type: ignore[arg-type]
        raise OSError("connection reset")

    output = DeltaOutput(str(tmp_path / "t"))
    monkeypatch.setattr(deltalake, "write_deltalake", written_then_lost)
    with pytest.raises(OutputUnavailable, match="cannot be written: connection reset"):
        output.deliver(batches[0])
    monkeypatch.undo()
    for batch in batches:
        output.deliver(batch)
    assert [row["seq"] for row in read_delta(tmp_path / "t")] == [1, 2, 3, 4, 5, 6]


def test_of_two_that_deliver_to_a_delta_table_at_once_one_wins(
    batches: list[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looked before another wrote adds nothing, also when it makes the table; tried again, it finds all there."""
    mine, other = (DeltaOutput(str(tmp_path / "out")) for _ in range(2))
    for batch in batches:

        def table_after_the_other(*, batch: Batch = batch) -> pl.DataFrame:
            monkeypatch.undo()
            other.deliver(batch)
            return table(batch)

        monkeypatch.setattr("tillwatch.publish.delta.table", lambda _, make=table_after_the_other: make())
        with pytest.raises(OutputUnavailable):
            mine.deliver(batch)
        mine.deliver(batch)
    assert [row["seq"] for row in read_delta(tmp_path / "out")] == [1, 2, 3, 4, 5, 6]


def test_a_delta_table_of_another_pipeline_is_refused(batches: list[Batch], tmp_path: Path) -> None:
    """A table with rows of another start, as after the state was removed, gets no second copy."""
    output = DeltaOutput(str(tmp_path / "t"))
    output.deliver(batches[0])
    with pytest.raises(PublishError, match="rows that this pipeline did not write, so detections 1 to 3"):
        output.deliver(Batch(batches[0].plan, "another start", batches[0].records))
    assert len(read_delta(tmp_path / "t")) == 3


def test_a_delta_table_that_a_person_made_is_used(batches: list[Batch], tmp_path: Path) -> None:
    """An empty table with the columns takes rows; one of other columns is refused with its place."""
    from deltalake import write_deltalake

    from tillwatch.publish.parquet import table

    write_deltalake(tmp_path / "mine", table(batches[0]).clear(), partition_by=["patternId", "date"])
    DeltaOutput(str(tmp_path / "mine")).deliver(batches[0])
    assert len(read_delta(tmp_path / "mine")) == 3
    others = pl.DataFrame({"a": [1], "patternId": ["P"], "date": ["2026-11-20"]}).clear()
    write_deltalake(tmp_path / "other", others, partition_by=["patternId", "date"])
    with pytest.raises(PublishError, match=f"{tmp_path}/other: is a Delta table of other columns"):
        DeltaOutput(str(tmp_path / "other")).deliver(batches[0])


def test_what_cannot_be_written_is_told(batches: list[Batch], tmp_path: Path) -> None:
    """A folder that is a file is a problem with its place, to be tried again."""
    (tmp_path / "t").write_text("a file")
    with pytest.raises(OutputUnavailable, match=f"{tmp_path}/t: the Delta table cannot be written"):
        DeltaOutput(str(tmp_path / "t")).deliver(batches[0])


# From settings


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "delta"])
def test_outputs_are_made_from_settings(kind: str, batches: list[Batch], tmp_path: Path) -> None:
    """What is configured is what delivers, to the place that is configured."""
    settings = OutputSettings(format=kind, uri=str(tmp_path / "out"))  # type: ignore[arg-type]
    output = open_output(settings, open_store, clock=None)  # type: ignore[arg-type]
    output.deliver(batches[0])
    assert len(KINDS[kind][1](tmp_path / "out")) == 3
    assert str(tmp_path / "out") in output.place
