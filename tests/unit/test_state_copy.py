"""tillwatch state: a pipeline moves between SQLite and PostgreSQL, and its schema is made by its owner."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tillwatch.cli.app import app
from tillwatch.errors import LeaseHeld, StateError
from tillwatch.generate import generate
from tillwatch.model import Turn
from tillwatch.pipeline import Pipeline
from tillwatch.state import open_state
from tillwatch.state.base import FileRecord, TableRows
from tillwatch.state.copy import TABLES, copy_state
from tillwatch.state.migrations import VERSION
from tillwatch.testing.commits import MEANING, ODD_TEXTS, SHAPE, STARTED, commit, detection, everything, info, time
from tillwatch.testing.servers.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["to PostgreSQL", "to SQLite", "to SQLite from SQLite"])
def places(request: pytest.FixtureRequest, server: PostgresServer, tmp_path: Path) -> tuple[str, str]:
    """From where to where."""
    file, other, schema = str(tmp_path / "a.db"), str(tmp_path / "b.db"), server.new_place()
    return {"to PostgreSQL": (file, schema), "to SQLite": (schema, file)}.get(request.param, (file, other))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["state", *arguments])


def fill(place: str) -> None:
    """A state with something odd in every table."""
    found = [detection(0, text, value=text) for text in (*ODD_TEXTS, "nul \0", "\u2400")]
    count = len(ODD_TEXTS)
    rows: dict[str, list[Any]] = {
        "id": list(range(count)),
        "customer": list(ODD_TEXTS),
        "merchant": ["M"] * count,
        "transactions": [2**62, *range(1, count)],
        "sum_amount": [-(2**63), *range(1, count)],
        "importance": [0.1, None, 7 / 3, 5e-324, *([1e300] * (count - 4))],
    }
    with closing(open_state(place)) as state:
        state.start("fingerprint", MEANING, STARTED, [SHAPE])
        state.record_file(FileRecord(info(0).file, "broken", 7, None, ODD_TEXTS[3]))
        state.record_landed([info(n, size={0: 10, 1: 11}.get(n)) for n in range(4)], time(9))
        hidden = [replace(detection(0, text, value=text), shadow=True, occasion="0") for text in ODD_TEXTS]
        turns = [Turn(2, "P", found[0].key, False, cleared=True), Turn(2, "P", hidden[0].key, False, shadow=True)]
        state.commit(commit(0, [[*found, *hidden], 5, 0], turns, wrong=3), 1)
        state.mark_published(state.files_planned()[:1], time(8))
        state.mark_delivered("out", state.files_planned()[1], time(8))
        state.save_tables([TableRows(SHAPE.name, rows)], 2)


def holds(place: str) -> list[object]:
    """All that a state has, past `copy`."""
    with closing(open_state(place, readonly=True)) as state:
        raw = [list(state.contents(table, columns, columns[:2])) for table, columns in TABLES.items()]
        return [*everything(state), *raw, state.load_table(SHAPE), state.undelivered("out")]


def test_everything_is_copied(places: tuple[str, str]) -> None:
    """Either way: the copy says what the source says, in every table and to the last odd character; it can go on."""
    source, target = places
    fill(source)
    before = holds(source)
    done = call("copy", *places)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("copied ") and done.stdout.endswith("both are equal\n")
    assert holds(target) == holds(source) == before
    with closing(open_state(target)) as state:
        assert state.start("fingerprint", MEANING, STARTED, [SHAPE]).chunk == 3
        assert list(state.contents("customer_merchant_stats", ("customer",), ("customer",)))
        state.commit(commit(3, [1]), 2)


def test_a_state_that_has_not_started_is_copied(places: tuple[str, str]) -> None:
    """Ingest alone has worked: there are files and chunks, and no tables of running values yet."""
    source, target = places
    with closing(open_state(source)) as state:
        state.record_landed([info(0), info(1)])
    assert call("copy", *places).exit_code == 0
    with closing(open_state(target)) as state:
        assert (state.landed(), state.cursor().chunk, state.started_at()) == (2, 0, None)


def test_a_target_that_is_not_empty_is_refused(places: tuple[str, str]) -> None:
    """Whatever is in it; nothing of it changes."""
    source, target = places
    fill(source)
    for at, what in enumerate(("landed", "started")):
        with closing(open_state(target)) as state:
            state.record_landed([info(0)]) if at == 0 else state.start("other", MEANING, STARTED, [SHAPE])
            before = everything(state)
        done = call("copy", *places)
        assert done.exit_code == 1 and "is not empty" in done.stderr, what
        with closing(open_state(target)) as state:
            assert everything(state) == before


def test_nobody_may_be_at_work(places: tuple[str, str]) -> None:
    """On either side, ingest or detect: the copy says who it is, and does nothing."""
    source, target = places
    fill(source)
    with closing(open_state(source)) as there, closing(open_state(target)) as here:
        for state in (there, here):
            for mechanism in ("ingest", "detect"):
                with state.lease(mechanism), pytest.raises(LeaseHeld, match=f"{mechanism} is at work"):
                    copy_state(there, here)
        assert here.landed() == 0


def test_the_first_difference_is_told(tmp_path: Path, server: PostgresServer) -> None:
    """A copy in which one value is another is not passed off as equal, whichever table it is in."""
    source = str(tmp_path / "a.db")
    fill(source)
    changes = {
        "detections": "UPDATE {0}.detections SET evidence = '{{}}' WHERE seq = 3",
        "turns": "DELETE FROM {0}.turns",
        "customer_merchant": "UPDATE {0}.customer_merchant SET importance = importance * 2 WHERE id = 2",
        "meta": "UPDATE {0}.meta SET value = '9' WHERE key = 'cursor'",
    }
    for table, change in changes.items():
        target = server.new_place()
        with closing(open_state(source)) as there, closing(open_state(target)) as here:
            spoil(server, target, table, change)
            with pytest.raises(StateError, match=rf"the copy is not equal: row \d+ of {table} is .* in the source and"):
                copy_state(there, here)


def spoil(server: PostgresServer, place: str, table: str, change: str) -> None:
    """A server in which somebody changes a table as soon as the copy has written its last row."""
    schema = place.rpartition("=")[2]
    server.run(
        f"CREATE FUNCTION {schema}.spoil() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {change.format(schema)}; RETURN NULL; END $$"
    )
    last = "customer_merchant" if table == "customer_merchant" else "meta"
    if last == "customer_merchant":
        with closing(open_state(place)) as state:
            state.make_tables([SHAPE])
    server.run(
        f"CREATE CONSTRAINT TRIGGER spoil AFTER INSERT ON {schema}.{last} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.spoil()"
    )


def test_a_state_that_is_not_there_is_told_and_not_made(tmp_path: Path, server: PostgresServer) -> None:
    """Neither the source nor the target is made by a copy of nothing."""
    done = call("copy", str(tmp_path / "none.db"), server.new_place())
    assert done.exit_code == 1 and "there is no state at" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["copy"], "copy takes two places"),
        (["copy", "a.db", "b.db", "c.db"], "copy takes two places"),
        (["copy", "a.db", "sqlite:///a.db"], "are the same place"),
        (["copy", "a.db", "./x/../a.db"], "are the same place"),
        (["copy", "a.db", "postgresql://u:planted-secret@h/x"], "expected no password in it"),
        (["copy", "mysql://h/x", "a.db"], "expected the path of a file"),
        (["migrate", "a.db"], "migrate takes no places"),
        (["move"], "'move' is not one of 'copy', 'migrate'"),
    ],
)
def test_a_wrong_call_is_told(arguments: list[str], words: str) -> None:
    """With exit code 2, what was expected, and without a password."""
    done = call(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr and "planted-secret" not in done.stderr


def test_a_pipeline_moves_and_goes_on(tmp_path: Path, server: PostgresServer) -> None:
    """What was begun with SQLite goes on with PostgreSQL, and audit proves the whole of it."""
    data = generate(tmp_path, rows=3000, customers=100, merchants=24, seed=3, faults=0.02)
    config = tmp_path / "tillwatch.yaml"
    lines = f"source: {{uri: {data.transactions}, rows: 250}}\nlookups: {{importance: {data.importance}}}\n"
    config.write_text(lines + "patterns:\n  PatId2: {transactions: 5, avg_amount: 30}\n", "utf-8")
    pipeline = Pipeline.open(config)
    pipeline.ingest(once=True)
    away = sorted(Path(pipeline.settings.landing.uri).glob("*.parquet"))[6:]
    for file in away:
        file.rename(tmp_path / file.name)
    pipeline.detect(once=True)
    place = server.new_place()
    assert call("copy", pipeline.settings.state, place).exit_code == 0
    for file in away:
        (tmp_path / file.name).rename(file)
    moved = Pipeline.open(config, [f"state={place}"])
    moved.run(once=True)
    assert len(moved.detections()) > 3
    audited = CliRunner().invoke(app, ["audit", "-c", str(config), "--set", f"state={place}"])
    assert audited.stdout.endswith("audit: ok\n"), audited.stdout


def test_migrate_makes_the_tables_of_the_patterns(tmp_path: Path, server: PostgresServer) -> None:
    """And nothing else: no program has claimed the state; doing it again changes nothing."""
    place = server.new_place()
    (tmp_path / "tillwatch.yaml").write_text(f"source: in.csv\npatterns: [PatId3]\nstate: {place}\n", "utf-8")
    for _ in range(2):
        done = call("migrate", "-c", str(tmp_path / "tillwatch.yaml"))
        assert done.exit_code == 0, done.stderr
        assert "merchant" in done.stdout
        with closing(open_state(place)) as state:
            assert list(state.contents("merchant_gender_stats", ("merchant", "male_customers"), ("merchant",))) == []
            state.claim_allowed("any", "")


# The schema, by number


def make_old(path: Path) -> None:
    """A state as the first version of tillwatch left it."""
    steps = Path(__file__).parents[2] / "src" / "tillwatch" / "state" / "sql" / "sqlite" / "0001_tables.sql"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(steps.read_text("utf-8"))
        db.execute("INSERT INTO meta VALUES ('schema', '1'), ('cursor', '1'), ('tables', '0'), ('fingerprint', 'f')")
        db.execute("INSERT INTO files VALUES (0, 'a.csv', 5, 7, 'done', 10, 'ab', NULL)")
        db.execute(
            "INSERT INTO chunks VALUES (0, 0, 1, 10, 'cd', 9, 1, '2026-11-20'), (1, 0, 11, 10, 'ef', NULL, NULL, NULL)"
        )
        db.execute(
            "INSERT INTO detections (seq, chunk, pattern, action, key, detected_at, holds, evidence) "
            """VALUES (1, 0, 'P', 'A', '{"customer": "C"}', '2026-11-20', 1, '{}')"""
        )


def schema(path: Path) -> list[tuple[Any, ...]]:
    """Every column of every table and view, and every index."""
    with closing(sqlite3.connect(path)) as db:
        names = db.execute("SELECT type, name FROM sqlite_schema ORDER BY 1, 2").fetchall()
        return [(kind, name, db.execute(f"PRAGMA table_xinfo('{name}')").fetchall()) for kind, name in names]


def test_an_old_state_is_brought_up_to_date(tmp_path: Path) -> None:
    """Opened to be written to, a state of schema 1 gets the schema of a new one, and keeps what it holds."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    make_old(old)
    with pytest.raises(
        StateError, match=f"has schema 1, of an earlier version of tillwatch, which is brought to {VERSION} by"
    ):
        open_state(str(old), readonly=True)
    for path in (old, new):
        open_state(str(path)).close()
    assert schema(old) == schema(new)
    with closing(open_state(str(old), readonly=True)) as state:
        assert (state.cursor().chunk, state.totals().rows, state.files()[0].file.id) == (1, 20, "")
        ledger = state.contents(
            "ledger", ("number", "status", "bytes", "landed_at", "filtered", "missing"), ("number",)
        )
        assert list(ledger) == [(0, "consumed", None, None, 0, 0), (1, "landed", None, None, None, None)]


def test_an_old_state_is_copied_once_it_has_been_used(tmp_path: Path) -> None:
    """Which tables it has, only a start of this version notes: until then the copy says what to do."""
    make_old(tmp_path / "old.db")
    open_state(str(tmp_path / "old.db")).close()
    done = call("copy", str(tmp_path / "old.db"), str(tmp_path / "new.db"))
    assert done.exit_code == 1 and "run 'tillwatch detect --once' once" in done.stderr


def test_both_stores_have_the_same_schema(tmp_path: Path, server: PostgresServer) -> None:
    """The numbered migrations give the same tables, views and columns in both, and the same version."""
    place = server.new_place()
    for each in (str(tmp_path / "s.db"), place):
        with closing(open_state(each)) as state:
            state.make_tables([SHAPE])
            assert state.get_meta("schema") == str(VERSION)
    name = place.rpartition("=")[2]
    found = server.run(
        "SELECT table_name, column_name, is_nullable = 'NO' AND table_type = 'BASE TABLE' "
        "FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) "
        "WHERE table_schema = %s",
        [name],
    )
    sqlite = {
        (table, column[1], bool(column[3] or column[5]))
        for kind, table, columns in schema(tmp_path / "s.db")
        if kind != "index"
        for column in columns
    }
    assert set(found) == sqlite
    assert {table for table, *_ in found} >= {*TABLES, "ledger", "customer_merchant", "customer_merchant_stats"}
