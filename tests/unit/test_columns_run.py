"""Pipelines over columns of one's own: from the configuration to detections, state, accounts and audit."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest
from click.testing import CliRunner

from tillwatch.audit import audit
from tillwatch.check import check
from tillwatch.cli.app import app
from tillwatch.compose import reporter
from tillwatch.config import load
from tillwatch.errors import ConfigError, PatternError, StateConflict
from tillwatch.history.explain import explain
from tillwatch.lookups import patience
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.pipeline import Pipeline
from tillwatch.status import status

CONFIG = """\
source: {uri: ./in.csv, rows: 7, every: 0}
columns:
  customer: null
  merchant: null
  gender: null
  category: kind
  device: device_id
  region: {sql: "upper(coalesce(zone, 'none'))"}
  amount: {sql: price * quantity}
where: category <> 'test'
lookups: {trust: {uri: ./trust.csv, on: {device: Device}, value: avg(Score)}}
landing: ./landing
quarantine: ./quarantine
detections: ./out
state: ./state.db
patterns: [./device.yaml, ./busy.yaml, ./place.yaml]
"""
DEVICE = """\
id: Device
action: LOOK
per: device
where: category = 'food'
when: total_amount > 40 and transactions >= 4
"""
BUSY = """\
id: Busy
action: SEE
per: [region, device]
features: {kinds: count(distinct category), far: count(*) filter (where region <> 'N')}
when: percent_rank(transactions) over region >= 0.5 and kinds >= 2 and trust > 1 and device.far >= 0
"""
PLACE = """\
id: Place
action: SEE
per: [category, region]
features: {devices: count(distinct device)}
when: devices >= 3 and percent_rank(total_amount) over () >= 0.8
"""
TRUST = "Device,Score\nd0,1\nd0,4\nd1,1.5\nd2,1\nd3,9\n"
FILES = {"tillwatch.yaml": CONFIG, "device.yaml": DEVICE, "busy.yaml": BUSY, "place.yaml": PLACE, "trust.csv": TRUST}
ROWS = 80


def rows() -> list[dict[str, str]]:
    """Rows of a shop's devices: some have no device, some a price that is no number, some are only tests."""
    chance, found = random.Random(4), []
    for n in range(ROWS):
        device = "" if n == 11 else f" 'd{chance.randrange(5)}' "
        price = {20: "n/a", 31: ""}.get(n, f"{chance.randrange(1, 8)}.25")
        kind = "test" if n == 11 else chance.choice(["food", "test", "fun", "fun"])
        zone = chance.choice(["n", "S", ""])
        found.append({"device_id": device, "kind": kind, "zone": zone, "price": price, "quantity": str(1 + n % 3)})
    return found


def write_source(folder: Path, format: str) -> None:
    """The rows as a file of this format; in Parquet quantities are numbers."""
    frame = pl.DataFrame(rows())
    match format:
        case "csv":
            frame.write_csv(folder / "in.csv")
        case "jsonl":
            frame.write_ndjson(folder / "in.jsonl")
        case "parquet":
            frame.with_columns(pl.col("quantity").cast(pl.Int64)).write_parquet(folder / "in.parquet")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configured pipeline, and its source."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    write_source(tmp_path, "csv")
    return tmp_path


def opened(folder: Path, *overrides: str) -> Pipeline:
    """The pipeline of a folder."""
    return Pipeline.open(folder / "tillwatch.yaml", overrides)


def refused(folder: Path, **changes: tuple[str, str]) -> str:
    """What is said of the configuration after one text was replaced by another in some files."""
    for stem, (old, new) in changes.items():
        file = folder / f"{stem}.yaml"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ConfigError) as caught:
        Pipeline(load(folder / "tillwatch.yaml"))
    return str(caught.value).replace(f"{folder}/", "")


_KEPT = """
CREATE TABLE came AS SELECT *, (n // 7)::BIGINT AS chunk FROM data;
CREATE TABLE kept AS
SELECT chunk, trim(trim(device_id), '''') AS device, kind AS category,
       upper(coalesce(nullif(zone, ''), 'none')) AS region,
       price::DECIMAL(18, 4) * quantity::DECIMAL(18, 4) AS amount
FROM came WHERE trim(device_id) <> '' AND price NOT IN ('', 'n/a') AND kind <> 'test';
CREATE TABLE trust AS SELECT * FROM (VALUES ('d0', 2.5), ('d1', 1.5), ('d2', 1), ('d3', 9)) t(device, score);
"""
_HOLDS = {
    "Device": """SELECT device FROM kept WHERE chunk <= $1 AND category = 'food' GROUP BY device
                 HAVING sum(amount) > 40 AND count(*) >= 4""",
    "Busy": """WITH pair AS (
                 SELECT region, device, count(*) n, count(DISTINCT category) kinds
                 FROM kept WHERE chunk <= $1 GROUP BY ALL),
               ranked AS (SELECT *, percent_rank() OVER (PARTITION BY region ORDER BY n) r FROM pair)
               SELECT region, device FROM ranked JOIN trust USING (device)
               WHERE r >= 0.5 AND kinds >= 2 AND score > 1""",
    "Place": """WITH place AS (
                  SELECT category, region, count(DISTINCT device) devices, sum(amount) total
                  FROM kept WHERE chunk <= $1 GROUP BY ALL),
                ranked AS (SELECT *, percent_rank() OVER (ORDER BY total) r FROM place)
                SELECT category, region FROM ranked WHERE devices >= 3 AND r >= 0.8""",
}  # fmt: skip
_KEYS = {"Device": ["device"], "Busy": ["region", "device"], "Place": ["category", "region"]}


def expected() -> list[tuple[int, str, dict[str, str]]]:
    """Every detection, by SQL over all rows so far after every chunk."""
    data = pl.DataFrame(rows()).with_row_index("n")  # noqa: F841 - DuckDB finds it by its name
    db = duckdb.connect()
    db.execute(_KEPT)
    found, seen = [], set()
    for chunk in range((ROWS + 6) // 7):
        for pattern, sql in _HOLDS.items():
            keys = sorted(db.execute(sql, [chunk]).fetchall())
            new = [key for key in keys if (pattern, key) not in seen]
            found += [(chunk, pattern, dict(zip(_KEYS[pattern], key, strict=True))) for key in new]
            seen |= {(pattern, key) for key in new}
    return found


def detected(pipeline: Pipeline) -> list[tuple[int, str, dict[str, str]]]:
    """What the pipeline has detected; keys in the order that the oracle has them."""
    frame = pipeline.detections()
    return [
        (chunk, pattern, {k: json.loads(key)[k] for k in _KEYS[pattern]})
        for chunk, pattern, key in frame.select("chunk", "patternId", "key").rows()
    ]


def by_order(found: list[tuple[int, str, dict[str, str]]]) -> list[tuple[int, int, tuple[str, ...]]]:
    """Sorted as the contract wants it, but for the order of keys of one's own."""
    order = list(_KEYS)
    return sorted((chunk, order.index(pattern), tuple(key.values())) for chunk, pattern, key in found)


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_detections_are_those_of_sql_over_all_rows(site: Path, format: str) -> None:
    """Keys of one's own, a derived key, a derived amount, two filters, a lookup by an own key, ranks: all of it."""
    write_source(site, format)
    pipeline = opened(site, f"source.uri={site}/in.{format}")
    pipeline.run(once=True)
    found = detected(pipeline)
    assert {pattern for _, pattern, _ in found} == set(_KEYS)
    assert by_order(found) == by_order(expected())
    assert [c.text for c in audit(pipeline) if not c.ok] == []


def test_rows_are_counted_quarantined_or_filtered(site: Path) -> None:
    """Three numbers add up to what landed, chunk by chunk, wherever they are told."""
    pipeline = opened(site)
    pipeline.run(once=True)
    now = status(pipeline)
    assert dict(now.quarantined) == {"amount_empty": 1, "amount_not_computed": 1, "device_empty": 1}
    assert (now.landed_rows, now.filtered) == (ROWS, ROWS - 3 - now.counted)
    with closing(sqlite3.connect(site / "state.db")) as db:
        assert db.execute("SELECT sum(filtered), max(abs(missing)) FROM ledger").fetchone() == (now.filtered, 0)
    (accounts,) = [c for c in audit(pipeline) if c.name == "rows"]
    assert accounts.text == f"80 landed = {now.counted} counted + 3 quarantined + {now.filtered} filtered"
    with pipeline.opened(readonly=True) as state:
        report = reporter(pipeline.composed, pipeline.landing, state).whole()
    assert report.total.filtered == now.filtered
    assert report.total.rows == report.total.counted + report.total.set_aside + report.total.filtered
    assert f"{now.filtered} (" in report.as_html()


def test_a_row_is_judged_before_it_is_filtered(site: Path) -> None:
    """Row 11 is a test, and has no device: it is in the quarantine, with what it lacks."""
    assert rows()[11]["device_id"] == "" and any(r["kind"] == "test" for r in rows())
    opened(site, "where=device = 'nobody'").run(once=True)
    texts = [line for file in sorted((site / "quarantine").iterdir()) for line in file.read_text().splitlines()]
    reasons = [json.loads(line)["reason"] for line in texts]
    assert reasons == [
        "device (device_id) is empty",
        "amount (price * quantity) cannot be worked out: price is not a number: 'n/a'",
        "amount (price * quantity) is empty",
    ]
    assert status(opened(site, "where=device = 'nobody'")).filtered == ROWS - 3


def test_a_wrong_account_is_found(site: Path) -> None:
    """A filtered row that the state does not tell of is missed by the audit."""
    pipeline = opened(site)
    pipeline.run(once=True)
    with closing(sqlite3.connect(site / "state.db")) as db, db:
        db.execute("UPDATE chunks SET filtered = filtered - 1 WHERE number = 2")
    assert [c.name for c in audit(pipeline) if not c.ok] == ["rows"]


def test_a_restart_goes_on_from_the_saved_tables(site: Path) -> None:
    """Half the chunks, then the other half by a new process: the same detections as in one go."""
    whole = (site / "in.csv").read_text().splitlines()
    (site / "in.csv").write_text("\n".join(whole[:43]) + "\n")
    opened(site).run(once=True)
    (site / "in2.csv").write_text("\n".join([whole[0], *whole[43:]]) + "\n")
    opened(site, f"source.uri={site}/in2.csv").run(once=True)
    pipeline = opened(site, f"source.uri={site}/in2.csv")
    assert by_order(detected(pipeline)) == by_order(expected())
    assert all(c.ok for c in audit(pipeline))


def test_the_state_has_tables_by_ones_own_keys(site: Path) -> None:
    """People read them under the names of the columns; no table of the state's own can be meant."""
    opened(site).run(once=True)
    with closing(sqlite3.connect(site / "state.db")) as db:
        found = db.execute("SELECT device, trust FROM by_device_stats ORDER BY device LIMIT 2").fetchall()
        assert found == [("d0", 2.5), ("d1", 1.5)]
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(by_device_region)")]
        assert columns[:3] == ["id", "device", "region"]


def test_what_is_published_names_no_customer(site: Path) -> None:
    """The six columns stay; the key of a pattern per device is in the JSON Lines of `detections`."""
    opened(site).run(once=True)
    (file,) = (site / "out").iterdir()
    published = list(csv.DictReader(io.StringIO(file.read_text())))
    assert {(row["customerName"], row["MerchantId"]) for row in published} == {("", "")}
    shown = CliRunner().invoke(app, ["detections", "-c", str(site / "tillwatch.yaml"), "--format", "jsonl"])
    keys = [json.loads(line)["key"] for line in shown.stdout.splitlines()]
    assert keys and all({"device", "region"} & set(key) for key in keys)


def test_check_says_what_columns_are_made_of(site: Path) -> None:
    """And what is filtered, by the pipeline and by each pattern."""
    lines = check(opened(site)).lines
    assert lines[1] == (
        "columns     category from kind, device from device_id, region from upper(coalesce(zone, 'none')), "
        "amount from price * quantity"
    )
    assert "where       category <> 'test': other rows are filtered out" in lines
    assert "            sees only rows with category = 'food'" in lines


def test_check_looks_for_the_columns_of_expressions(site: Path) -> None:
    """A source without them is told, with the expression's column."""
    pl.DataFrame(rows()).drop("quantity").write_csv(site / "in.csv")
    (problem,) = check(opened(site)).problems
    assert "has no column 'quantity' (columns.amount: quantity" in problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tillwatch": ("price * quantity", "price * sum(quantity)")},
            "tillwatch.yaml:9:17: columns.amount: 'SUM(quantity)' is not part of the language",
        ),
        (
            {"tillwatch": ("price * quantity", "upper(price)")},
            "tillwatch.yaml:9:17: columns.amount: 'upper(price)' is not a number",
        ),
        (
            {"tillwatch": ("category <> 'test'", "kind <> 'test'")},
            "tillwatch.yaml:10:8: where: 'kind' cannot be compared with text; columns for that are category",
        ),
        (
            {"device": ("per: device", "per: devce")},
            "device.yaml:3:6: per: found 'devce' 'devce', did you mean 'device'? "
            "expected one or more different keys of customer, merchant, "
            "category, gender, amount, device, region",
        ),
        (
            {"tillwatch": ("  device: device_id\n", "  device: null\n"), "device": ("per: device", "per: region")},
            "lookups.trust.on: found device, expected one or more of category, region",
        ),
        (
            {"device": ("per: device", "per: merchant")},
            "device.yaml:5: Device: the pattern needs the column merchant, which is not mapped: say under "
            "columns.merchant of the configuration which column of the source holds it",
        ),
        (
            {"device": ("total_amount", "customers")},
            "device.yaml:5:7: Device: 'customers' needs the column customer, which is not mapped",
        ),
        ({"device": ("category = 'food'", "food")}, "device.yaml:4:8: where: 'food' is not a filter"),
        ({"device": ("category = 'food'", "kin = 'a'")}, "device.yaml:4:8: where: 'kin' cannot be compared with text"),
        (
            {"tillwatch": ("  device: device_id\n", "  device: device_id\n  transactions: zone\n")},
            "columns.transactions: 'transactions' is the name of a feature already",
        ),
        (
            {"tillwatch": ("  device: device_id\n", "  device: device_id\n  trust: zone\n")},
            "columns.trust: 'trust' is the name of a lookup already",
        ),
        (
            {"busy": ("kinds: count", "device: count")},
            "busy.yaml:5: Busy: its feature 'device' has the name of a lookup or column",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(site: Path, changes: dict[str, tuple[str, str]], message: str) -> None:
    """Before anything runs, with file and line, and what to do."""
    found = refused(site, **changes)
    assert message.partition(": ")[2] in found
    assert message in found or found.startswith("tillwatch.yaml:")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("price * quantity", "price * 1"),
        ("coalesce(zone, 'none')", "coalesce(zone, 'nil')"),
        ("category <> 'test'", "category <> 'tests'"),
        ("device: device_id", "device: zone"),
    ],
)
def test_another_meaning_is_another_pipeline(site: Path, old: str, new: str) -> None:
    """A state made with other columns or filters is refused, and the difference is shown."""
    opened(site).run(once=True)
    text = (site / "tillwatch.yaml").read_text()
    (site / "tillwatch.yaml").write_text(text.replace(old, new))
    with pytest.raises(StateConflict, match=new.split()[-1].strip("')")):
        opened(site).detect(once=True)


def test_a_pattern_sees_only_what_passes_its_filter(site: Path) -> None:
    """A key without such rows is none to it: a condition on a count of 0 is never judged."""
    (site / "device.yaml").write_text(DEVICE.replace("total_amount > 40 and transactions >= 4", "transactions < 3"))
    pipeline = opened(site, "where=null")
    pipeline.run(once=True)
    keys = {
        json.loads(key)["device"] for p, key in pipeline.detections().select("patternId", "key").rows() if p == "Device"
    }
    kept = [r for r in rows() if r["kind"] == "food" and r["device_id"] and r["price"] not in ("", "n/a")]
    assert keys == {r["device_id"].strip(" '") for r in kept}


def test_patterns_that_share_a_filter_share_counters(site: Path) -> None:
    """Equal filters are kept once, whoever says them."""
    own = DEVICE.replace("where: category = 'food'\n", "features: {meals: count(*) filter (where category = 'food')}\n")
    (site / "place.yaml").write_text(own.replace("id: Device", "id: Meals").replace("transactions >= 4", "meals >= 4"))
    (site / "busy.yaml").write_text(DEVICE.replace("id: Device", "id: Again"))
    program = opened(site).composed.program
    (table,) = [t for t in program.tables if t.grain == ("device",)]
    assert [a.name for a in table.accumulators] == [
        "transactions",
        "sum_amount_where_category_food",
        "transactions_where_category_food",
        "sum_amount",
    ]


@pytest.mark.parametrize("name", ["meta", "chunks", "times", "touched", "stream", "ledger", "count", "shard"])
def test_a_column_may_have_any_name(site: Path, name: str) -> None:
    """Names of the state's own tables, of counters elsewhere and of SQL's functions do no harm."""
    for file in FILES:
        text = (site / file).read_text()
        (site / file).write_text(
            text.replace("device: device_id", f"{name}: device_id").replace("device: D", f"{name}: D")
        )
    (site / "device.yaml").write_text(DEVICE.replace("per: device", f"per: {name}"))
    for file in ("busy.yaml", "place.yaml"):
        text = (site / file).read_text()
        text = text.replace("region, device]", f"region, {name}]").replace("device.far", "region.far")
        (site / file).write_text(text.replace("distinct device", f'distinct "{name}"'))
    pipeline = opened(site)
    pipeline.run(once=True)
    assert len(detected_anyhow(pipeline)) == len(expected())
    assert all(c.ok for c in audit(pipeline))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (("a_b", "a", "b"), "the columns a, b and a_b would both be 'by_a_b' in the state: rename a column"),
        (("a_stats", "a", "c"), "the columns a and a_stats would both be 'by_a_stats' in the state"),
        (("n" * 30, "m" * 30, "c"), "are too long together"),
    ],
)
def test_names_that_the_state_cannot_tell_apart_are_refused(own: tuple[str, str, str], message: str) -> None:
    """Tables are named after their keys, and views after tables."""
    pers = [own[:1], own[1:], own[1:2], own[:2]]
    texts = [f"{{id: P{n}, action: A, per: [{', '.join(per)}], when: transactions > 1}}" for n, per in enumerate(pers)]
    patterns = [read_pattern(text, "p.yaml", None, own) for text in texts]
    with pytest.raises(PatternError, match=message):
        Compiler(built_in_features(), {}, 4, own).program(patterns)


def test_a_detection_is_explained_from_the_rows_that_its_pattern_sees(site: Path) -> None:
    """Rows filtered out, by the pipeline or the pattern, are none of its transactions; keys may be derived."""
    pipeline = opened(site)
    pipeline.run(once=True)
    stored = pipeline.detections().select("seq", "patternId", "evidence").rows()
    for seq, pattern, evidence in stored:
        found = explain(pipeline, seq, 3, patience())
        said = json.loads(evidence)["features"].get("transactions")
        assert said in (None, found.rows)
        kinds = {t.cells["kind"] for t in found.newest}
        assert kinds <= ({"food"} if pattern == "Device" else {"food", "fun"})
    assert len({pattern for _, pattern, _ in stored}) == 3


def test_a_back_test_of_the_patterns_in_force_changes_nothing(site: Path) -> None:
    """The configured patterns, folded again with their filters and columns, find what the pipeline has found."""
    opened(site).run(once=True)
    arguments = ["backtest", "-c", str(site / "tillwatch.yaml"), "--format", "json"]
    told = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert len(told["patterns"]) == 3
    assert not any(each[kind] for each in told["patterns"] for kind in ("added", "removed", "moved"))


def detected_anyhow(pipeline: Pipeline) -> list[str]:
    """The keys, whatever their columns are called."""
    return pipeline.detections()["key"].to_list()


def test_an_unmapped_pattern_error_is_a_pattern_error(site: Path) -> None:
    """Who catches PatternError gets those of columns too."""
    (site / "device.yaml").write_text(DEVICE.replace("per: device", "per: customer"))
    with pytest.raises(PatternError):
        opened(site)
