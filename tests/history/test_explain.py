"""Why a detection fired, found again in the landing zone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from tillwatch.cli.app import app
from tillwatch.engine.dictionary import clean
from tillwatch.errors import ConfigError, LogError, StateConflict
from tillwatch.history.explain import Explanation, Transaction, explain
from tillwatch.history.refold import possible_rows
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry

ALL_ROWS = 10_000


def amounts(transactions: tuple[Transaction, ...]) -> list[int]:
    """In ten-thousandths."""
    return [round(float(clean(str(t.cells["amount"]))) * 10_000) for t in transactions]


def customers(transactions: tuple[Transaction, ...], gender: str) -> int:
    """The distinct customers of a gender."""
    rows = [t.cells for t in transactions]
    return len({clean(str(r["customer"])) for r in rows if clean(str(r["gender"])) == gender})


@pytest.mark.parametrize("pattern", ["PatId1", "PatId2", "PatId3"])
def test_the_transactions_recount_to_the_evidence(pipeline: Pipeline, retry: Retry, pattern: str) -> None:
    """Counts, averages and distinct counts of the rows that explain shows are those of the stored evidence."""
    with pipeline.opened(readonly=True) as state:
        mine = [s for s in state.detections() if s.detection.pattern == pattern]
    for stored in mine[:: max(1, len(mine) // 5)]:
        found = explain(pipeline, stored.seq, ALL_ROWS, retry)
        assert (found.stored, found.rows) == (stored, len(found.newest))
        assert all(t.place.chunk <= stored.detection.chunk for t in found.newest)
        features = stored.detection.evidence["features"]
        if pattern == "PatId3":
            counted = {f"{w}_customers": customers(found.newest, g) for w, g in (("female", "F"), ("male", "M"))}
            assert counted == features
            continue
        assert found.rows == features["transactions"]
        if pattern == "PatId2":
            assert sum(amounts(found.newest)) / (found.rows * 10_000) == features["avg_amount"]


def test_every_clause_has_its_values(pipeline: Pipeline, retry: Retry) -> None:
    """All clauses of a detection are true, and what they read is the whole evidence."""
    found = explain(pipeline, 1, 0, retry)
    evidence = found.stored.detection.evidence
    assert (found.condition.kind, found.condition.truth) == ("all", True)
    leaves = found.condition.leaves()
    assert [leaf.truth for leaf in leaves] == [True] * 3
    read: dict[str, dict[str, object]] = {}
    for leaf in leaves:
        for part, values in leaf.facts.items():
            read.setdefault(part, {}).update(values)
    assert {"chunk": 0, **read} == evidence
    assert found.newest == ()


def test_rows_are_those_of_the_source_as_they_came(pipeline: Pipeline, config: Path, retry: Retry) -> None:
    """A transaction has the cells of its row in its file; the newest ones are the last in stream order."""
    some = explain(pipeline, 30, 2, retry)
    every = explain(pipeline, 30, ALL_ROWS, retry)
    assert some.newest == every.newest[-2:] and some.rows == every.rows > 2
    with (config.parent / pipeline.settings.source.uri).open(encoding="utf-8") as file:
        lines = file.read().splitlines()
    header = lines[0].split(",")
    for t in every.newest:
        assert dict(zip(header, lines[t.place.row].split(","), strict=True)) == t.cells
    keys = {clean(str(t.cells[k])) for t in every.newest for k in ("customer", "merchant")}
    assert keys == set(every.stored.detection.key.values())


def test_the_chunk_is_named_with_its_rows_and_time(pipeline: Pipeline, retry: Retry) -> None:
    """Chunks of 250 rows of one file; the time is that of the last row."""
    found = explain(pipeline, 30, 1, retry)
    chunk = found.stored.detection.chunk
    assert (found.file, found.first_row, found.last_row) == ("transactions.csv", 250 * chunk + 1, 250 * (chunk + 1))
    last = pipeline.landing.read(chunk).frame["step"][-1]
    assert (found.time_column, found.time) == ("step", last)


@pytest.fixture
def copy(config: Path, tmp_path: Path) -> Path:
    """The configuration of a copy of the pipeline, to be changed."""
    return Path(shutil.copytree(config.parent, tmp_path / "copy")) / config.name


def test_evidence_that_is_not_what_the_log_gives_is_an_error(copy: Path, retry: Retry) -> None:
    """A state that was changed by hand is told, with what it says and what was found."""
    with closing(sqlite3.connect(copy.parent / "tillwatch-data" / "state.db")) as db:
        seq, text = db.execute("SELECT seq, evidence FROM detections WHERE pattern = 'PatId2'").fetchone()
        evidence = json.loads(text)
        evidence["features"]["transactions"] += 1
        db.execute("UPDATE detections SET evidence = ? WHERE seq = ?", (json.dumps(evidence), seq))
        db.execute("UPDATE detections SET chunk = 23 WHERE seq = 1")
        db.commit()
    pipeline = Pipeline.open(copy)
    count = evidence["features"]["transactions"]
    with pytest.raises(LogError, match=rf"found again: {count - 1} of {count} transactions.*tillwatch audit"):
        explain(pipeline, seq, 1, retry)
    with pytest.raises(LogError, match=r"seq 1 is not what .* detected at chunk 23, found again at 0\."):
        explain(pipeline, 1, 1, retry)


def test_what_cannot_be_explained_is_told(pipeline: Pipeline, config: Path, retry: Retry) -> None:
    """A seq that is not there, and a configuration that is not the state's."""
    with pytest.raises(ConfigError, match=r"there is no detection 100000; the last one is \d+"):
        explain(pipeline, 100_000, 1, retry)
    other = Pipeline.open(config, ["amounts.digits=3"])
    with pytest.raises(StateConflict, match="made by another configuration"):
        explain(other, 1, 1, retry)


def test_rows_of_other_spellings_are_kept_back() -> None:
    """Spaces, quotes and longer names that hold the key's stay; numbers and missing columns are not filtered by."""
    texts = ["C1", " 'C1' ", '"C1"', "C2", "C11", None]
    frame = pl.DataFrame({"who": texts, "number": range(6)})
    columns = {"customer": "who", "merchant": "number", "category": "none"}
    key = {"customer": "C1", "merchant": "3", "category": "x"}
    kept = possible_rows(frame, columns, ("customer", "merchant", "category"), key)
    assert kept["who"].to_list() == ["C1", " 'C1' ", '"C1"', "C11", None]
    assert possible_rows(frame, columns, (), key).equals(frame)


def test_the_command_shows_it_for_people_and_programs(config: Path, pipeline: Pipeline, retry: Retry) -> None:
    """The text has every clause, the count found again and a table; the JSON is what the library says."""
    arguments = ["explain", "30", "-c", str(config), "--rows", "2"]
    text = CliRunner().invoke(app, arguments)
    assert (text.exit_code, text.stderr) == (0, "")
    found = explain(pipeline, 30, 2, retry)
    assert all(f"true     {leaf.text}\n" in text.stdout for leaf in found.condition.leaves())
    line = f"found again: {found.rows} of {found.rows} transactions, and the evidence is what was stored; the newest 2:"
    assert line in text.stdout
    table = text.stdout.partition(line)[2].strip().splitlines()
    assert len(table) == 3 and table[0].split()[:4] == ["chunk", "file", "row", "step"]
    said = json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).stdout)
    assert said == json.loads(json.dumps(found.as_json()))
    assert said["condition"]["parts"][0]["sides"][0].keys() == {"text", "value"}


def whole(found: Explanation) -> tuple[int, int]:
    """How many transactions were found and shown."""
    return found.rows, len(found.newest)


def test_no_rows_can_be_asked_for(pipeline: Pipeline, retry: Retry) -> None:
    """They are counted all the same."""
    count, shown = whole(explain(pipeline, 2, 0, retry))
    assert count > 0 and shown == 0
