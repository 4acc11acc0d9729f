"""A lookup in PostgreSQL gives what a file with the same rows gives; nothing can be written through it."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tillwatch.audit import audit
from tillwatch.errors import ConfigError, SourceError, SourceUnavailable
from tillwatch.generate import generate
from tillwatch.lookups import LookupSource, lookup_source, read_lookup
from tillwatch.pipeline import Event, Notice, Pipeline
from tillwatch.testing.servers.postgres import PASSWORD, PostgresServer, postgres_server
from tillwatch.testing.small import CONFIG

ON = {"customer": "source", "merchant": "Target"}
ROWS = "('C1','M1',1),('C1','M1',2.5),(' ''C2'' ','M1',NULL),('C1','M1',3.00005),('C3','M2',100000.1234)"
TEXT = "source,Target,weight\nC1,M1,1\nC1,M1,2.5\n 'C2' ,M1,\nC1,M1,3.00005\nC3,M2,100000.1234\n"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with the table crm.importance."""
    with postgres_server() as running:
        running.run("CREATE SCHEMA crm")
        running.run('CREATE TABLE crm.importance (source text, "Target" varchar(20), weight numeric)')
        running.run(f"INSERT INTO crm.importance VALUES {ROWS}")  # noqa: S608
        yield running


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is in the environment."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def source(server: PostgresServer, value: str = "avg(weight)", **said: str) -> LookupSource:
    """The lookup `importance` of the database."""
    return replace(lookup_source("importance", Path("unused"), ON, value), uri=server.uri(), **said)


def values(lookup: LookupSource) -> dict[tuple[str, str], object]:
    """By key."""
    return {(c, m): v for c, m, v in read_lookup(lookup, 4).frame.select("customer", "merchant", "value").rows()}


@pytest.mark.parametrize("value", ["avg(weight)", "sum(weight)", "min(weight)", "max(weight)", "count(*)"])
def test_a_table_gives_what_a_file_gives(server: PostgresServer, tmp_path: Path, value: str) -> None:
    """Keys are cleaned and values exact, as those of a file with the same rows are."""
    file = tmp_path / "importance.csv"
    file.write_text(TEXT, "utf-8")
    expected = values(lookup_source("importance", file, ON, value))
    assert values(source(server, value, table="crm.importance")) == expected
    assert values(source(server, value, query='SELECT * FROM crm.importance ORDER BY "Target" DESC')) == expected


def test_numbers_of_every_kind_are_exact(server: PostgresServer) -> None:
    """Integers, numerics and doubles come as PostgreSQL writes them."""
    query = """SELECT 'C' || n AS source, 'M' AS "Target", x AS weight FROM (VALUES
        (1, 7::bigint::text), (2, 0.1::float8::text), (3, 12345678901.0001::numeric::text)) AS v(n, x)"""
    found = values(source(server, "sum(weight)", query=query))
    assert found == {("C1", "M"): 70_000, ("C2", "M"): 1_000, ("C3", "M"): 123_456_789_010_001}


def test_texts_and_keys_are_those_of_a_file(server: PostgresServer, tmp_path: Path) -> None:
    """A column of any type as text, keys without a text where they are required, and keys alone."""
    file = tmp_path / "importance.csv"
    file.write_text("source,Target,weight\nC1,M1,1\nC1,M1,1\n 'C2' ,M1,\nC3,M2,2.50\n", "utf-8")
    query = """SELECT * FROM (VALUES ('C1','M1',1), ('C1','M1',1), (' ''C2'' ','M1',NULL), ('C3','M2',2.50))
        AS v(source, "Target", weight)"""
    for value, required in (("weight", False), ("weight", True), (None, True)):
        of_file = replace(lookup_source("importance", file, ON, value), required=required)
        of_database = replace(of_file, uri=server.uri(), query=query)
        expected = values(of_file)
        assert set(expected) == {("C1", "M1"), ("C3", "M2"), *([("C2", "M1")] if required else [])}
        found = values(of_database)
        assert set(found) == set(expected)
        assert found["C3", "M2"] == expected["C3", "M2"] == (True if value is None else "2.50")
    twice = query.replace("('C3','M2',2.50)", "('C1','M1',3)")
    with pytest.raises(SourceError, match="customer 'C1', merchant 'M1' has two texts of weight: '1' in row 1 and '3'"):
        read_lookup(replace(lookup_source("importance", file, ON, "weight"), uri=server.uri(), query=twice), 4)


def test_the_digest_is_that_of_the_content(server: PostgresServer) -> None:
    """The order of rows does not matter to it, a value does."""
    one, other, less = (
        read_lookup(source(server, query=f"SELECT * FROM crm.importance {rest}"), 4).digest  # noqa: S608
        for rest in ("ORDER BY weight", "ORDER BY weight DESC", "WHERE weight < 1000")
    )
    assert one == other != less


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM crm.importance",
        "SELECT 1; DELETE FROM crm.importance",
        "WITH gone AS (DELETE FROM crm.importance RETURNING *) SELECT * FROM gone",
        "SELECT pg_advisory_lock(1), set_config('default_transaction_read_only', 'off', false); COMMIT",
        "COPY crm.importance TO PROGRAM 'cat > /dev/null'",
        "SELECT * FROM nowhere",
        "SELEKT",
    ],
)
def test_only_one_query_that_reads_is_taken(server: PostgresServer, query: str) -> None:
    """Anything else is an error that names the lookup, and changes nothing."""
    with pytest.raises(SourceError, match=r"^lookup importance: .*Look at lookups\.importance\.query"):
        read_lookup(source(server, query=query), 4)
    assert len(values(source(server, table="crm.importance"))) == 2


def test_a_wrong_value_is_told_with_its_row(server: PostgresServer) -> None:
    """A text where a number is expected is an error, not left out."""
    query = """SELECT 'C1' AS source, 'M1' AS "Target", 'much' AS weight"""
    with pytest.raises(SourceError, match="weight is 'much', expected a decimal number"):
        read_lookup(source(server, query=query), 4)


def test_a_column_that_is_missing_is_told(server: PostgresServer) -> None:
    """With the columns that are there."""
    with pytest.raises(SourceError, match="has no column 'weight'; it has source, Target"):
        read_lookup(source(server, query='SELECT source, "Target" FROM crm.importance'), 4)


def test_a_column_given_twice_is_told(server: PostgresServer) -> None:
    """Which of them was meant cannot be known."""
    with pytest.raises(SourceError, match="gives the column source twice"):
        read_lookup(source(server, query="SELECT *, 1 AS source FROM crm.importance"), 4)


def test_an_empty_table_gives_no_values(server: PostgresServer) -> None:
    """It has its columns all the same."""
    assert values(source(server, query="SELECT * FROM crm.importance WHERE false")) == {}


def test_a_wrong_password_is_no_secret_told(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused for now is said so, and neither the text nor what it came from has the password."""
    monkeypatch.setenv("PGPASSWORD", "sesame-open")
    monkeypatch.setattr("tillwatch.lookups.reading.PATIENCE", 0.0)
    with pytest.raises(SourceUnavailable, match="PGPASSWORD") as caught:
        read_lookup(source(server, table="crm.importance"), 4)
    assert "sesame-open" not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("lookup", "text"),
    [
        ("{uri: 'postgresql://db.example/bank'}", "needs a table or a query"),
        ("{uri: 'postgresql://db.example/bank', table: a, query: select 1}", "needs a table or a query, not both"),
        ("{uri: 'postgresql://till:sesame@db.example/bank', table: a}", "PGPASSWORD"),
        ("{uri: 'postgresql://db.example/bank?schema=crm', table: a}", "schema.table"),
        ("{uri: 'postgresql://db.example/bank', table: 'a; drop table b'}", "the name of a table"),
        ("{uri: ./weights.csv, table: a}", "go with the uri of a database"),
    ],
)
def test_a_wrong_configuration_is_told_before_anything_runs(tmp_path: Path, lookup: str, text: str) -> None:
    """With the file and the line, and without a password."""
    config = tmp_path / "tillwatch.yaml"
    config.write_text(f"source: ./in\nlookups:\n  importance: {lookup}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"tillwatch\.yaml:3") as caught:
        Pipeline.open(config)
    assert text in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_pipeline_detects_the_same_with_its_lookup_in_a_database(server: PostgresServer, tmp_path: Path) -> None:
    """The detections are those with the lookup in a file."""
    data = generate(tmp_path, rows=6000, customers=500, merchants=30, seed=3)
    server.run("CREATE TABLE weights AS SELECT ''::text AS s, ''::text AS t, 0::numeric AS w WHERE false")
    with data.importance.open(encoding="utf-8", newline="") as file:
        rows = [(row["Source"], row["Target"], row["Weight"]) for row in csv.DictReader(file)]
    server.run(
        "INSERT INTO weights SELECT * FROM unnest(%s::text[], %s::text[], %s::numeric[])",
        [list(column) for column in zip(*rows, strict=True)],
    )
    found = []
    for name, lookup in (
        ("file", str(data.importance)),
        ("database", f"{{uri: '{server.uri()}', table: weights, on: {{customer: s, merchant: t}}, value: avg(w)}}"),
    ):
        config = tmp_path / f"{name}.yaml"
        config.write_text(CONFIG.format(source=data.transactions, importance=lookup), "utf-8")
        pipeline = Pipeline.open(
            config, [f"{place}={tmp_path / name / place}" for place in ("landing", "state", "detections", "quarantine")]
        )
        pipeline.run(once=True)
        found.append(pipeline.detections().select("seq", "chunk", "patternId", "customerName", "MerchantId").rows())
    assert found[0] == found[1] != []


def test_a_table_that_changes_is_a_version(server: PostgresServer, tmp_path: Path) -> None:
    """A run that goes on reads it as often as `refresh` says; what cannot be read leaves the version in force."""
    server.run("CREATE TABLE crm.credit (id text, amount numeric)")
    server.run("INSERT INTO crm.credit VALUES ('A', 100), ('B', 1)")
    (tmp_path / "in").mkdir()
    header = "step,customer,merchant,category,gender,amount\n"
    config = tmp_path / "tillwatch.yaml"
    table = f"uri: {server.uri()!r}, table: crm.credit, on: {{customer: id}}, value: max(amount), refresh: 0.05"
    lookups = f"lookups: {{credit: {{{table}}}}}"
    config.write_text(f"source: {{uri: in, rows: 1, every: 0}}\n{lookups}\npatterns: [rich.yaml]\n")
    (tmp_path / "rich.yaml").write_text("{id: Rich, action: CALL, per: customer, when: credit >= 100}")
    (tmp_path / "in" / "0.csv").write_text(f"{header}0,A,M,x,F,1\n0,B,M,x,F,1\n")
    told, heard, stop = list[str](), threading.Event(), threading.Event()

    def hear(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)
            heard.set()

    def wait_for(text: str) -> None:
        while not any(text in each for each in told):
            assert heard.wait(20), told
            heard.clear()

    Pipeline.open(config).run(once=True)
    running = threading.Thread(target=lambda: Pipeline.open(config).run(stop=stop, observer=hear))
    running.start()
    try:
        server.run("ALTER TABLE crm.credit RENAME amount TO much")
        wait_for("a new version was refused: lookup credit")
        server.run("ALTER TABLE crm.credit RENAME much TO amount")
        server.run("UPDATE crm.credit SET amount = 500 WHERE id = 'B'")
        number = 1
        while not any("credit: version 2, 2 keys" in each for each in told):
            (tmp_path / "in" / f"{number}.csv").write_text(f"{header}{number},A,M,x,F,1\n")
            number += 1
            stop.wait(0.3)
    finally:
        stop.set()
        running.join()
    pipeline = Pipeline.open(config)
    assert [problem for check in audit(pipeline) for problem in check.problems] == []
    with pipeline.opened(readonly=True) as state:
        _, second = state.lookup_versions()
        found = [(s.detection.chunk, s.detection.customer) for s in state.detections()]
    assert found == [(0, "A"), (second.first, "B")]
