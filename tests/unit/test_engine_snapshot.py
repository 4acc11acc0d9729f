"""A fold taken up again from its tables goes on as if it had never stopped, and people can read these tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.detect import quarantine, snapshot
from tillwatch.engine.decode import Reject
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.errors import PatternError, StateError
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.patterns.program import LookupSpec
from tillwatch.state.base import TableRows
from tillwatch.state.tables import SQLITE, create_sql
from tillwatch.testing.conditions import drawn_lookups, drawn_patterns, drawn_streams
from tillwatch.testing.folding import COLUMNS, Key, Lookups, Row, fold_of, pattern_text, step
from tillwatch.testing.terms import Drawn

IMPORTANCE = LookupSpec("importance", ("customer", "merchant"), "float")
RISK = LookupSpec("risk", ("customer",), "decimal")


class Kept:
    """Tables as a state store keeps them: rows replaced by id, read by id."""

    def __init__(self, db: sqlite3.Connection, fold: Fold) -> None:
        self._db, self._shapes = db, {s.name: s for s in snapshot.shapes(fold.program)}
        for shape in self._shapes.values():
            for statement in create_sql(shape, SQLITE).values():
                db.execute(statement)

    def save(self, tables: Sequence[TableRows]) -> None:
        """Keeps rows."""
        for table in tables:
            shape = self._shapes[table.name]
            names = ", ".join(f'"{c}"' for c in shape.columns)
            put = f'INSERT OR REPLACE INTO "{shape.name}" ({names}) VALUES ({", ".join("?" * len(shape.columns))})'  # noqa: S608 - names of the test's own
            self._db.executemany(put, zip(*(table.columns[c] for c in shape.columns), strict=True))

    def load(self) -> list[TableRows]:
        """All rows of all tables."""
        return [TableRows(shape.name, columns(self._db, shape.name, shape.columns)) for shape in self._shapes.values()]


def columns(db: sqlite3.Connection, table: str, names: Sequence[str]) -> dict[str, list[object]]:
    """Columns of a table, rows by id."""
    order = " ORDER BY id" if "id" in names else ""
    quoted = ", ".join(f'"{n}"' for n in names)
    found = db.execute(f'SELECT {quoted} FROM "{table}"{order}').fetchall()  # noqa: S608 - names of the test's own
    return {name: [row[i] for row in found] for i, name in enumerate(names)}


def taken_up(tables: Sequence[TableRows], lives: Mapping[str, Mapping[Key, bool]], make: Fold) -> Fold:
    """The fold with these tables, and detections that hold or not."""
    snapshot.restore(make, tables)
    for number, judge in enumerate(make.judges):
        keys = [dict(zip(judge.plan.per, key, strict=True)) for key in lives[judge.plan.pattern.id]]
        if keys:
            make.mark(number, keys, list(lives[judge.plan.pattern.id].values()))
    return make


def live(lives: dict[str, dict[Key, bool]], outcome: Outcome) -> None:
    """Notes what holds after an outcome."""
    for detection in outcome.detections:
        lives[detection.pattern][tuple(detection.key.values())] = True
    for turn in outcome.turns:
        lives[turn.pattern][tuple(turn.key.values())] = turn.holds


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.lists(drawn_patterns(), min_size=1, max_size=2), drawn_streams(), drawn_lookups, st.data())
def test_a_fold_taken_up_from_its_tables_goes_on_the_same(
    patterns: list[Drawn], chunks: list[list[Row]], lookups: Lookups, data: st.DataObject
) -> None:
    """From any chunk on: the same detections, evidence and turns, and tables with the same rows under the same ids."""
    texts = [pattern_text(p.per, p.when.text, p.own, p.thresholds, f"P{n}") for n, p in enumerate(patterns)]
    whole, lives = fold_of(texts, lookups), {f"P{n}": dict[Key, bool]() for n in range(len(texts))}
    stop = data.draw(st.integers(0, len(chunks) - 1), "stopped after chunk")
    with closing(sqlite3.connect(":memory:")) as db:
        kept = Kept(db, whole)
        for number, chunk in enumerate(chunks[: stop + 1]):
            live(lives, step(whole, number, chunk))
            if number == stop or data.draw(st.booleans(), "tables saved"):
                kept.save(snapshot.dump(whole, whole.take_dirty()))
        again = taken_up(kept.load(), lives, fold_of(texts, lookups))
        for number, chunk in enumerate(chunks[stop + 1 :], stop + 1):
            assert step(again, number, chunk) == step(whole, number, chunk)
        kept.save(snapshot.dump(again, again.take_dirty()))
        assert kept.load() == [snapshot.whole_table(whole, s.name) for s in snapshot.shapes(whole.program)]


def test_tables_with_a_gap_in_their_ids_are_refused() -> None:
    """Rows removed by hand are told with what to do, and not taken for others."""
    fold = fold_of([pattern_text(["merchant"], "transactions > 0")])
    step(fold, 0, [("C", m, "a", "F", "1") for m in "ABC"])
    (table,) = snapshot.dump(fold, fold.take_dirty())
    gap = TableRows(table.name, {name: [values[0], values[2]] for name, values in table.columns.items()})
    with pytest.raises(StateError, match=r"the table merchant of the state has gaps in its ids.*Remove the state"):
        snapshot.restore(fold_of([pattern_text(["merchant"], "transactions > 0")]), [gap])


def stats(fold: Fold, *grains: str) -> dict[str, list[dict[str, object]]]:
    """The views of tables as people read them."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.row_factory = sqlite3.Row
        Kept(db, fold).save(snapshot.dump(fold, fold.take_dirty()))
        return {g: [dict(row) for row in db.execute(f'SELECT * FROM "{g}_stats"')] for g in grains}  # noqa: S608


OWN = {
    "smallest": "min(amount) filter (where category = 'a')",
    "spent": "sum(amount) filter (where category = 'a')",
    "usual": "avg(amount) filter (where category = 'a')",
    "times": "count(*) filter (where category = 'a')",
}
EVERYTHING = "smallest + spent + usual + times + total_amount + avg_amount + importance + risk + customers > 0"


def test_views_show_features_as_evidence_does() -> None:
    """Amounts with their digits, averages, filtered features unknown where no row counts, lookups in their unit."""
    lookups: Lookups = {IMPORTANCE: {("A", "M"): 2.5}, RISK: {("A",): 15_000}}
    fold = fold_of([pattern_text(["customer", "merchant"], EVERYTHING, OWN)], lookups)
    step(fold, 0, [("A", "M", "a", "F", "0.25"), ("A", "M", "a", "F", "1"), ("B", "M", "b", "F", "-3")])
    views = stats(fold, "customer_merchant", "customer")
    first, second = views["customer_merchant"]
    assert first == {
        "customer": "A",
        "merchant": "M",
        "transactions": 2,
        "total_amount": 1.25,
        "avg_amount": 0.625,
        "customers": 1,
        "smallest": 0.25,
        "spent": 1.25,
        "usual": 0.625,
        "times": 2,
        "importance": 2.5,
    }
    unknown = dict.fromkeys(["smallest", "spent", "usual", "importance"])
    amounts = {"transactions": 1, "total_amount": -3.0, "avg_amount": -3.0, "times": 0}
    assert second == first | unknown | amounts | {"customer": "B"}
    assert [row["risk"] for row in views["customer"]] == [1.5, None]


@pytest.mark.parametrize("name", ["id", "customer", "sum_amount", "Transactions"])
def test_a_lookup_with_the_name_of_a_column_is_refused_before_tables_are_made(name: str) -> None:
    """A lookup named like a key, a counter or another name in other case cannot be a column beside these."""
    spec = LookupSpec(name, ("customer",), "float")
    try:
        fold = fold_of([pattern_text(["customer"], f"{name} > 0 and total_amount > 0")], {spec: {}})
    except PatternError:
        return
    with closing(sqlite3.connect(":memory:")) as db:
        Kept(db, fold)


# The quarantine's files


def landed_chunk(frame: pl.DataFrame) -> Chunk:
    """A chunk of these columns."""
    rows = pl.int_range(11, 11 + pl.len(), dtype=pl.Int64)
    frame = frame.with_columns(pl.lit("in/a.csv").alias("_source_file"), rows.alias("_source_row"))
    file = SourceFile(0, "in/a.csv", 1, 0)
    return Chunk(ChunkInfo(7, frame.height, file, 11, Position()), frame)


def test_rejected_rows_are_kept_as_they_came() -> None:
    """Each with chunk, file, row number, code and reason; a row that could not be cut with its text."""
    frame = pl.DataFrame(
        {
            "customer": ["'C1'", None, 'ü\n"', None],
            "amount": [" 5 ", "", None, None],
            "when": pl.Series([None, 1, 2, None], dtype=pl.Int64),
            "_malformed": [None, None, None, "a;b"],
            "_problem": [None, None, None, "too few"],
        }
    )
    rejects = [Reject(1, "x", "why"), Reject(2, "y", "ü"), Reject(3, "malformed", "too few")]
    data = quarantine.render(landed_chunk(frame), rejects)
    assert data.endswith(b"\n") and data.count(b"\n") == 3
    place = {"chunk": 7, "file": "in/a.csv"}
    assert [json.loads(line) for line in data.decode().splitlines()] == [
        place | {"row": 12, "code": "x", "reason": "why", "row_data": {"customer": None, "amount": "", "when": "1"}},
        place | {"row": 13, "code": "y", "reason": "ü", "row_data": {"customer": 'ü\n"', "amount": None, "when": "2"}},
        place | {"row": 14, "code": "malformed", "reason": "too few", "text": "a;b"},
    ]
    assert data == quarantine.render(landed_chunk(frame), rejects)
    assert quarantine.by_code([*rejects, Reject(0, "x", "other")]) == {"malformed": 1, "x": 2, "y": 1}


def test_any_typed_column_can_be_kept() -> None:
    """Columns of Parquet sources come as text: bytes in hexadecimal, lists and dates as they are shown."""
    frame = pl.DataFrame({"b": [b"\xff\x00"], "l": [[1, 2]], "d": [1.5], "n": [None], "s": [{"a": 1}]})
    (line,) = quarantine.render(landed_chunk(frame), [Reject(0, "x", "why")]).decode().splitlines()
    kept = json.loads(line)["row_data"]
    assert (kept["b"], kept["d"], kept["n"]) == ("ff00", "1.5", None)
    assert all(isinstance(kept[c], str) for c in ("l", "s"))


def test_the_name_of_a_file_sorts_as_its_chunk() -> None:
    """Files sort in the order of chunks."""
    numbers = [0, 9, 10, 99, 10**11]
    assert sorted(map(quarantine.name, numbers)) == [quarantine.name(n) for n in numbers]


def test_codes_mean_the_same_in_a_decoder_of_its_own() -> None:
    """Two decoders may number texts differently; the fold's tables are told by text."""
    one, two = (fold_of([pattern_text(["merchant"], "transactions > 0")]) for _ in range(2))
    two.decoder.decode([pl.DataFrame([("Z", "B", "a", "F", "1")], schema=list(COLUMNS), orient="row")])
    for fold in (one, two):
        step(fold, 0, [("C", "A", "a", "F", "1"), ("C", "B", "a", "F", "2")])
    assert snapshot.whole_table(one, "merchant") == snapshot.whole_table(two, "merchant")
