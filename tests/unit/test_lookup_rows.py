"""Pipelines whose rows are looked up: texts joined to them, and keys that are required; from configuration to audit."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tillwatch.audit import audit
from tillwatch.compose import reporter
from tillwatch.config import load
from tillwatch.errors import ConfigError
from tillwatch.history.explain import explain
from tillwatch.history.why_not import why_not
from tillwatch.lookups import patience
from tillwatch.pipeline import Pipeline
from tillwatch.status import status
from tillwatch.testing.looked_up import ROWS, SEGMENT, rows, write_site
from tillwatch.trials.chosen import chosen
from tillwatch.trials.run import trials_of


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configured pipeline, and its source."""
    write_site(tmp_path)
    return tmp_path


def opened(folder: Path, *overrides: str) -> Pipeline:
    """The pipeline of a folder."""
    return Pipeline.open(folder / "tillwatch.yaml", overrides)


_KEPT = """
CREATE TABLE customers AS SELECT * FROM (VALUES
    ('C0', 'gold'), ('C1', 'silver'), ('C2', NULL), ('C3', 'staff'), ('C4', 'silver'), ('C5', 'gold')) t(id, segment);
CREATE TABLE shops AS SELECT * FROM (VALUES ('M0', 'food', 'north'), ('M0', 'fun', 'south'), ('M1', 'food', 'north'),
    ('M1', 'fun', NULL), ('M2', 'fun', NULL)) t(shop, kind, area);
CREATE TABLE valid AS
SELECT n, n // 9 AS chunk, c AS customer, merchant, category, amount::DECIMAL(18, 4) AS amount, segment, area,
       id IS NULL AS marked
FROM (SELECT *, trim(trim(customer), '''') AS c FROM data) LEFT JOIN customers ON c = id
LEFT JOIN shops ON merchant = shop AND category = kind
WHERE c <> '' AND amount <> 'n/a' AND merchant IN (SELECT shop FROM shops);
CREATE TABLE kept AS SELECT * FROM valid WHERE category <> 'test' AND (segment IS NULL OR NOT segment = 'staff');
"""
_HOLDS = {
    "Segment": """SELECT coalesce(segment, '') FROM kept WHERE chunk <= $1 GROUP BY segment
                  HAVING count(DISTINCT area) >= 2 AND count(*) FILTER (WHERE area IS NULL) >= 1
                  AND (segment IS DISTINCT FROM 'gold' OR sum(amount) > 20)""",
    "Place": """WITH place AS (
                  SELECT customer, area, count(*) n FROM kept WHERE chunk <= $1 AND segment <> 'gold' GROUP BY ALL),
                ranked AS (SELECT *, percent_rank() OVER (PARTITION BY area ORDER BY n) r FROM place)
                SELECT customer, coalesce(area, '') FROM ranked WHERE r >= 0.5 AND n >= 2""",
    "Row": """SELECT merchant FROM kept k WHERE chunk <= $1 AND (
                segment IS NULL AND exists(
                  FROM kept o WHERE o.merchant = k.merchant AND o.n < k.n AND NOT (segment <> 'gold'))
                OR segment <> 'gold' AND area = 'north'
                AND (SELECT count(*) FROM kept o WHERE o.merchant = k.merchant AND o.n < k.n) >= 5)""",
}  # fmt: skip


def truth() -> duckdb.DuckDBPyConnection:
    """The rows as SQL sees them."""
    data = pl.DataFrame(rows()).with_row_index("n")  # noqa: F841 - DuckDB finds it by its name
    db = duckdb.connect()
    db.execute(_KEPT)
    return db


def expected() -> list[tuple[int, str, tuple[str, ...]]]:
    """Every detection, by SQL over all rows so far after every chunk."""
    db, found = truth(), []
    before: dict[str, set[tuple[str, ...]]] = {name: set() for name in _HOLDS}
    for chunk in range((ROWS + 8) // 9):
        for pattern, sql in _HOLDS.items():
            now = set(db.execute(sql, [chunk]).fetchall())
            silent = set() if pattern == "Place" else before[pattern]
            found += [(chunk, pattern, key) for key in sorted(now - silent)]
            before[pattern] = now
    return found


def detected(pipeline: Pipeline) -> list[tuple[int, str, tuple[str, ...]]]:
    """What the pipeline has detected."""
    frame = pipeline.detections()
    return [(c, p, tuple(json.loads(k).values())) for c, p, k in frame.select("chunk", "patternId", "key").rows()]


def failed(pipeline: Pipeline) -> list[tuple[str, ...]]:
    """What the audit finds wrong."""
    return [c.problems for c in audit(pipeline) if not c.ok]


def test_detections_are_those_of_sql_over_all_rows(site: Path) -> None:
    """Texts of lookups as keys, in filters of all kinds, counted, ranked within, asked for null; a lookup by a text."""
    pipeline = opened(site)
    pipeline.run(once=True)
    found = detected(pipeline)
    assert {pattern for _, pattern, _ in found} == set(_HOLDS)
    assert found == expected()
    assert {"", "gold", "silver"} >= {key[0] for _, pattern, key in found if pattern == "Segment"} > {""}
    assert any(key[1] == "" for _, pattern, key in found if pattern == "Place")
    assert failed(pipeline) == []


def test_every_row_is_counted_quarantined_or_filtered(site: Path) -> None:
    """Unknown keys are rows of the quarantine; marked rows are counted ones, chunk by chunk."""
    pipeline = opened(site)
    pipeline.run(once=True)
    db = truth()
    by_chunk = db.execute("SELECT chunk, count(*) FROM kept WHERE marked GROUP BY 1 ORDER BY 1").fetchall()
    unknown = sum(r["merchant"] == "M9" and r["amount"] != "n/a" and r["customer"] != "" for r in rows())
    now = status(pipeline)
    assert now.quarantined == {"amount_not_a_number": 2, "customer_empty": 1, "shops_unknown": unknown}
    assert now.marked == {"segment": sum(n for _, n in by_chunk)}
    assert now.counted == db.execute("SELECT count(*) FROM kept").fetchone()[0]  # type: ignore[index]
    assert now.counted + sum(now.quarantined.values()) + now.filtered == ROWS
    with closing(sqlite3.connect(site / "state.db")) as state:
        assert state.execute("SELECT chunk, rows FROM marked ORDER BY chunk").fetchall() == by_chunk
    with pipeline.opened(readonly=True) as state:
        report = reporter(pipeline.composed, pipeline.landing, state).whole()
    assert dict(report.total.marked) == now.marked
    assert dict(report.total.quarantined) == now.quarantined
    assert "Marked by lookup" in report.as_html()


def test_the_quarantine_says_which_key_is_not_known(site: Path) -> None:
    """What is wrong with a row itself is told before; a filter does not hide it."""
    opened(site, "where=category = 'nothing'").run(once=True)
    lines = [line for file in sorted((site / "quarantine").iterdir()) for line in file.read_text().splitlines()]
    told = Counter(json.loads(line)["reason"] for line in lines if json.loads(line)["code"] == "shops_unknown")
    assert set(told) == {"merchant 'M9' is not in the lookup shops"}
    assert json.loads(next(line for line in lines if json.loads(line)["row"] == 51))["code"] == "amount_not_a_number"


def test_a_restart_goes_on_with_the_texts_that_are_saved(site: Path) -> None:
    """Half the chunks, then the other half by a new process: the same detections, also of the key without a text."""
    whole = (site / "in.csv").read_text().splitlines()
    (site / "in.csv").write_text("\n".join(whole[:64]) + "\n")
    opened(site).run(once=True)
    (site / "in2.csv").write_text("\n".join([whole[0], *whole[64:]]) + "\n")
    pipeline = opened(site, f"source.uri={site}/in2.csv")
    pipeline.run(once=True)
    assert detected(pipeline) == expected()
    assert failed(pipeline) == []
    with closing(sqlite3.connect(site / "state.db")) as db:
        assert db.execute('SELECT "limit" FROM by_segment ORDER BY segment').fetchall() == [
            (None,),
            (200_000,),
            (None,),
        ]


def test_a_wrong_number_of_marked_rows_is_found(site: Path) -> None:
    """The audit marks all rows again."""
    pipeline = opened(site)
    pipeline.run(once=True)
    with closing(sqlite3.connect(site / "state.db")) as db, db:
        db.execute("UPDATE marked SET rows = rows + 1 WHERE chunk = 3")
    ((problem,),) = failed(pipeline)
    marked = status(pipeline).marked["segment"]
    assert problem == f"marked by lookup {{'segment': {marked - 1}}}, the state says {{'segment': {marked}}}"


def test_what_was_detected_by_a_text_is_explained(site: Path) -> None:
    """From the log alone, with the rows of all customers that have it; a text that is not known is null."""
    pipeline = opened(site)
    pipeline.run(once=True)
    for seq, pattern, key in pipeline.detections().select("seq", "patternId", "key").rows():
        found = explain(pipeline, seq, 2, patience())
        assert found.condition.truth is True
        assert found.stored.detection.key == json.loads(key)
        if pattern == "Row" and found.stored.detection.evidence["columns"]["segment"] is None:
            assert {leaf.text: leaf.truth for leaf in found.condition.leaves() if "segment" in leaf.text} == {
                "segment is null": True,
                "segment <> 'gold'": None,
            }
    assert any(e["columns"]["segment"] is None for e in evidence_of(pipeline, "Row"))


def evidence_of(pipeline: Pipeline, pattern: str) -> list[dict[str, dict[str, object]]]:
    """The evidence of a pattern's detections."""
    rows = pipeline.detections().select("patternId", "evidence").rows()
    return [json.loads(evidence) for p, evidence in rows if p == pattern]


def test_it_is_said_why_a_text_is_not_detected(site: Path) -> None:
    """Also of the key without a text, which is written as the empty one; other keys cannot be empty."""
    pipeline = opened(site)
    pipeline.run(once=True)
    assert why_not(pipeline, "Segment", {"segment": ""}, None, patience()).condition is not None
    assert why_not(pipeline, "Segment", {"segment": "gold"}, 3, patience()).condition is not None
    assert why_not(pipeline, "Segment", {"segment": "staff"}, None, patience()).condition is None
    with pytest.raises(ConfigError, match="customer is empty: rows without it are not valid"):
        why_not(pipeline, "Place", {"customer": "", "area": "north"}, None, patience())
    answer = why_not(pipeline, "Row", {"merchant": "M2"}, None, patience())
    assert answer.condition is not None
    assert {leaf.truth for leaf in answer.condition.leaves() if "segment" in leaf.text} == {None}


EXAMPLES = """\
examples:
  - name: the key without a text is one too
    rows:
      - {customer: A, merchant: M, segment: gold, area: n, amount: 1}
      - {customer: B, merchant: M, area: n, amount: 1}
      - {customer: C, merchant: O, area: s, amount: 1}
      - {customer: C, merchant: P, amount: 1}
    expect: {segment: ""}
  - name: a text has to be that of its key
    rows: [{customer: A, segment: gold}, {customer: A, segment: new}]
    expect: none
"""


def test_examples_say_the_texts_of_their_rows(site: Path) -> None:
    """In a column of the lookup's name; no key is required to be anywhere."""
    (site / "segment.yaml").write_text(SEGMENT.replace("per: segment", f"{EXAMPLES}per: segment"))
    settings = load(site / "tillwatch.yaml")
    (pattern,) = chosen(settings, [str(site / "segment.yaml")])
    first, second = trials_of(settings, pattern)
    assert [d.text for d in first.differences] == []
    assert [d.text for d in second.differences] == ["two values of segment for A: gold and new"]
