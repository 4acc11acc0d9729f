"""Audit finds whatever was removed, changed or added behind the product's back, and nothing where all is well."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tillwatch.audit import audit
from tillwatch.errors import StateConflict, StateError
from tillwatch.landing import Landing
from tillwatch.pipeline import Pipeline
from tillwatch.status import status
from tillwatch.stores import LocalStore

CONFIG = """\
source: {uri: ./in.csv, rows: 5, every: 0}
lookups: {importance: ./weights.csv}
detections: {uri: ./out, rows: 3}
landing: ./landing
quarantine: ./quarantine
state: ./state.db
patterns:
  - pattern.yaml
  - PatId2: {transactions: 2, avg_amount: 4}
"""
PATTERN = """\
id: Few
action: LOOK
per: [customer, merchant]
when: merchant.transactions <= 12 and importance is not null
"""
WEIGHTS = "Source,Target,Weight\nC0,M0,1\nC1,M1,2\nC2,M0,3\nC4,M0,4\n"
CHECKS = ["chunks", "digests", "rows", "seq", "files", "lookups", "detections", "state"]


def source_rows() -> str:
    """40 rows, 2 of which are not valid; customers and merchants come again and again."""
    lines = ["customer,merchant,gender,category,amount"]
    for n in range(40):
        amount = {13: "many", 27: ""}.get(n, str(1 + n % 5))
        lines.append(f"C{n % 5},M{n % 2},F,a,{amount}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has worked off its source. To be copied, not to be worked on."""
    folder = tmp_path_factory.mktemp("done")
    for name, text in (
        ("tillwatch.yaml", CONFIG),
        ("pattern.yaml", PATTERN),
        ("in.csv", source_rows()),
        ("weights.csv", WEIGHTS),
    ):
        (folder / name).write_text(text, "utf-8")
    opened(folder).run(once=True)
    return folder


@pytest.fixture
def site(done: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(done, tmp_path / "site"))


def opened(folder: Path) -> Pipeline:
    """The pipeline of a folder."""
    return Pipeline.open(folder / "tillwatch.yaml")


def problems(folder: Path) -> dict[str, list[str]]:
    """What is wrong, by the check that finds it."""
    checks = list(audit(opened(folder)))
    assert [c.name for c in checks] == CHECKS
    assert all(c.ok == (not c.problems) for c in checks)
    return {c.name: list(c.problems) for c in checks if c.problems}


def change(folder: Path, sql: str) -> None:
    """Changes the state by hand."""
    with closing(sqlite3.connect(folder / "state.db")) as db, db:
        assert db.execute(sql).rowcount > 0


def ask(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """What is in the state."""
    with closing(sqlite3.connect(folder / "state.db")) as db:
        return db.execute(sql).fetchall()


def damage(path: Path) -> None:
    """Changes one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_pipeline_is_in_order(site: Path) -> None:
    """Seven checks, no problem; the data set has detections in full and short files, turns, and rejected rows."""
    assert problems(site) == {}
    (detections,), (files,), (turns,), (rejected,) = (
        ask(site, f"SELECT count(*) FROM {table}")[0]  # noqa: S608
        for table in ("detections", "outbox", "turns", "quarantine")
    )
    assert detections > 6 and files > 2 and turns > 0 and rejected == 2


def test_it_tells_what_it_has_looked_at(site: Path) -> None:
    """Each check says in numbers what was proved; meanwhile chunks read and chunks in all are told."""
    heard: list[tuple[int, int]] = []
    texts = {c.name: c.text for c in audit(opened(site), lambda done, total: heard.append((done, total)))}
    assert heard == [(n, 8) for n in range(1, 9)]
    assert texts["chunks"] == "numbers 0 to 7 without a gap"
    assert texts["digests"] == "8 chunks, 40 rows, as their digests say"
    assert texts["rows"] == "40 landed = 38 counted + 2 quarantined"
    assert texts["state"] == "tables equal a fresh fold of chunks 0 to 7"


def test_it_writes_nothing(site: Path) -> None:
    """Not a byte of any file changes, and none is made."""

    def digests() -> dict[str, str]:
        files = (p for p in site.rglob("*") if p.is_file() and not p.name.startswith("state.db-"))
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = digests()
    assert problems(site) == {}
    assert digests() == before


# The landing zone


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_removed_chunk_is_found(site: Path, number: int) -> None:
    """Also the first and the last."""
    (site / "landing" / f"{number:012}.parquet").unlink()
    assert problems(site)["chunks"] == [f"chunk {number} is not in the landing zone"]


def test_a_changed_chunk_is_found(site: Path) -> None:
    """One flipped bit, by the digest in the chunk."""
    damage(site / "landing" / f"{3:012}.parquet")
    found = problems(site)["digests"]
    assert any(f"{3:012}.parquet is not what was landed" in problem for problem in found)


@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_a_chunk_is_not_blamed_for_the_one_before_it(site: Path, harm: Callable[[Path], None]) -> None:
    """After a chunk that is damaged or missing the next one begins where it should."""
    harm(site / "landing" / f"{3:012}.parquet")
    assert not any("chunk 4" in problem for problem in problems(site).get("digests", []))


def test_a_chunk_that_was_landed_anew_is_found(site: Path) -> None:
    """A chunk that is whole in itself, but not the one that was landed: by the digest that was noted."""
    landing = Landing(LocalStore(site / "landing"))
    chunk = landing.read(3)
    (site / "landing" / f"{3:012}.parquet").unlink()
    landed = landing.put(chunk.info, chunk.frame.with_columns(amount=pl.lit("2")))
    found = problems(site)
    assert found["digests"] == [
        f"chunk 3 is not the one that was landed: digest {landed.digest}, noted {chunk.info.digest}"
    ]


def test_chunks_of_one_file_that_do_not_follow_are_found(site: Path) -> None:
    """A chunk that repeats rows of the one before."""
    landing = Landing(LocalStore(site / "landing"))
    first, second = landing.read(2), landing.read(3)
    (site / "landing" / f"{3:012}.parquet").unlink()
    landing.put(replace(second.info, first_row=first.info.first_row), first.frame)
    assert "chunk 3 begins at row 11, expected 16" in problems(site)["digests"]


def test_chunks_that_wait_are_in_order(site: Path) -> None:
    """What ingest has landed and detect has not processed is no problem."""
    (site / "more").mkdir()
    shutil.move(site / "in.csv", site / "more" / "in.csv")
    (site / "more" / "in2.csv").write_text(source_rows() + "C9,M9,F,a,1\n", "utf-8")
    config = site / "tillwatch.yaml"
    config.write_text(config.read_text("utf-8").replace("./in.csv", "./more"), "utf-8")
    opened(site).ingest(once=True)
    assert status(opened(site)).lag > 0
    assert problems(site) == {}


# Rows and the quarantine


def test_a_missing_quarantine_file_is_found(site: Path) -> None:
    """Every rejected row must be there to be looked at."""
    (site / "quarantine" / f"{2:012}.jsonl").unlink()
    assert problems(site) == {"rows": [f"the quarantine has no {2:012}.jsonl for the rejected rows of chunk 2"]}


def test_a_changed_quarantine_file_is_found(site: Path) -> None:
    """And be as it came."""
    damage(site / "quarantine" / f"{2:012}.jsonl")
    assert problems(site) == {"rows": [f"the quarantine's {2:012}.jsonl is not what chunk 2 gives"]}


def test_an_extra_quarantine_file_is_found(site: Path) -> None:
    """A file for a chunk without rejected rows."""
    (site / "quarantine" / f"{4:012}.jsonl").write_bytes(b"{}\n")
    assert problems(site) == {"rows": [f"the quarantine has {4:012}.jsonl, and no row of that chunk was rejected"]}


def test_counts_that_do_not_add_up_are_found(site: Path) -> None:
    """The ledger's rows, counted and quarantined, chunk by chunk."""
    change(site, "UPDATE chunks SET counted = counted + 1 WHERE number = 2")
    assert problems(site) == {
        "rows": ["chunk 2 has 5 rows, 4 counted, 1 not valid, 0 filtered; the state says (5, 5, 1, 0)"]
    }


# Detection files


def out(site: Path, index: int) -> Path:
    """One of the detection files."""
    return sorted((site / "out").iterdir())[index]


@pytest.mark.parametrize("index", [0, -1])
def test_a_removed_detection_file_is_found(site: Path, index: int) -> None:
    """Also the last, which may be short."""
    path = out(site, index)
    path.unlink()
    (found,) = problems(site)["files"]
    assert found.startswith(f"{path.name} was published at ") and found.endswith(" and is not there")


def test_a_changed_detection_file_is_found(site: Path) -> None:
    """A byte, a row less, a row more."""
    path = out(site, 0)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for data in (whole.replace(b"LOOK", b"L00K", 1), b"".join(lines[:-1]), whole + lines[-1], b""):
        path.write_bytes(data)
        assert problems(site) == {"files": [f"{path.name} does not hold detections 1 to 3 as the state has them"]}
    path.write_bytes(whole)
    assert problems(site) == {}


@pytest.mark.parametrize("name", ["detections-000000000099-000000000101.csv", "detections-copy.csv"])
def test_an_extra_detection_file_is_found(site: Path, name: str) -> None:
    """A file that nobody planned."""
    shutil.copy(out(site, 0), site / "out" / name)
    assert problems(site) == {"files": [f"{name} is in no plan"]}


def test_an_extra_file_of_any_name_is_found(site: Path) -> None:
    """Whoever reads the folder reads this file too."""
    shutil.copy(out(site, 0), site / "out" / "copy of detections.csv")
    assert problems(site) == {"files": ["copy of detections.csv is in no plan"]}


def test_a_plan_that_leaves_a_gap_is_found(site: Path) -> None:
    """A file taken out of the outbox leaves its detections in no file."""
    change(site, "DELETE FROM outbox WHERE first_seq = 4")
    found = problems(site)["files"]
    assert any("begins at seq 7, expected 4" in problem for problem in found)
    assert any("is in no plan" in problem for problem in found)


# The state


def test_a_changed_table_row_is_found(site: Path) -> None:
    """With table, column, row, and both values."""
    change(site, "UPDATE customer_merchant SET transactions = transactions + 1 WHERE id = 1")
    (found,) = problems(site)["state"]
    assert found == "customer_merchant.transactions, id 1: state has 5, a fresh fold 4"


@pytest.mark.parametrize("where", ["id = 0", "id = (SELECT max(id) FROM merchant)"])
def test_a_removed_table_row_is_found(site: Path, where: str) -> None:
    """By the number of rows."""
    change(site, f"DELETE FROM merchant WHERE {where}")  # noqa: S608
    assert problems(site) == {"state": ["merchant has 1 rows, a fresh fold 2"]}


def test_a_changed_lookup_value_is_found(site: Path) -> None:
    """The value that a lookup has in the table."""
    change(site, "UPDATE customer_merchant SET importance = 9 WHERE importance IS NOT NULL AND id < 3")
    assert all(p.startswith("customer_merchant.importance, id ") for p in problems(site)["state"])


def test_changed_evidence_is_found(site: Path) -> None:
    """By the seq of the detection."""
    text = json.dumps({"chunk": 0, "features": {}})
    change(site, f"UPDATE detections SET evidence = '{text}' WHERE seq = 2")  # noqa: S608
    assert problems(site) == {"detections": ["seq 2 has other evidence than the log gives"]}


@pytest.mark.parametrize(
    "column", ["detected_at = 'x'", "action = 'x'", 'key = \'{"customer": "C9", "merchant": "M0"}\'', "chunk = 7"]
)
def test_a_changed_detection_is_found(site: Path, column: str) -> None:
    """Time and action by the file they are in, key and chunk by the log as well."""
    change(site, f"UPDATE detections SET {column} WHERE seq = 2")  # noqa: S608
    found = problems(site)
    assert found.keys() <= {"files", "detections"} and found


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE detections SET holds = 1 - holds WHERE seq = 2",
        "DELETE FROM turns",
        "UPDATE turns SET chunk = chunk - 1",
        "UPDATE quarantine SET reason = 'x'",
        "UPDATE quarantine SET rows = rows + 1",
    ],
)
def test_every_column_of_the_state_is_proved(site: Path, sql: str) -> None:
    """What people read of a detection, its later life (which a restart goes on from) and the reasons are proved too."""
    change(site, sql)
    assert problems(site)


def test_a_gap_in_seq_is_found(site: Path) -> None:
    """The first seq that is not the next."""
    change(site, "UPDATE detections SET seq = seq + 100 WHERE seq > 3")
    assert problems(site)["seq"] == ["seq 104 where 4 is expected"]


def test_a_removed_detection_is_found(site: Path) -> None:
    """The log gives it, the state has it no more."""
    ((customer, merchant),) = ask(site, "SELECT customer, merchant FROM detections WHERE seq = 2")
    change(site, "DELETE FROM detections WHERE seq = 2")
    found = problems(site)
    assert found["seq"] == ["seq 3 where 2 is expected"]
    (lost,) = found["detections"]
    assert lost.startswith("the log gives (") and lost.endswith("the state has no such detection")
    assert str(customer) in lost and str(merchant) in lost


def test_an_added_detection_is_found(site: Path) -> None:
    """The state has it, the log does not give it."""
    change(
        site,
        "INSERT INTO detections SELECT (SELECT max(seq) FROM detections) + 1, chunk, 'Other', action, key, "
        "detected_at, holds, evidence, occasion FROM detections WHERE seq = 1",
    )
    (found,) = problems(site)["detections"]
    assert "'Other'" in found and found.endswith("the log does not give it")


# Other pipelines


def test_there_is_nothing_to_audit_before_a_run(site: Path) -> None:
    """Without a state it is told that nothing has been run."""
    (site / "state.db").unlink()
    with pytest.raises(StateError, match="nothing has been run with this configuration"):
        list(audit(opened(site)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("transactions: 2", "transactions: 3"),
        lambda text: text.replace("  - pattern.yaml\n", "  - PatId3\n"),
    ],
    ids=["threshold", "pattern"],
)
def test_a_state_is_proved_by_the_patterns_that_made_it(site: Path, edit: Callable[[str], str]) -> None:
    """An edit that is not in force yet changes nothing of what was."""
    path = site / "tillwatch.yaml"
    path.write_text(edit(path.read_text("utf-8")), "utf-8")
    assert problems(site) == {}
    assert status(opened(site)).edited


def test_another_configuration_is_told_as_such(site: Path) -> None:
    """A state made by a configuration that differs in more is not called damaged: what changed is told."""
    path = site / "tillwatch.yaml"
    path.write_text(path.read_text("utf-8") + "\namounts: {digits: 3}\n", "utf-8")
    with pytest.raises(StateConflict, match="was made by another configuration"):
        list(audit(opened(site)))


# Status


def test_status_counts_the_whole_pipeline(site: Path) -> None:
    """Chunks, rows, detections by pattern in configured order, files; nobody is at work."""
    now = status(opened(site))
    assert (now.landed_chunks, now.processed_chunks, now.lag) == (8, 8, 0)
    assert (now.landed_rows, now.counted, sum(now.quarantined.values())) == (40, 38, 2)
    assert now.quarantined == {"amount_empty": 1, "amount_not_a_number": 1}
    assert list(now.detections) == ["Few", "PatId2"]
    assert sum(now.detections.values()) == ask(site, "SELECT count(*) FROM detections")[0][0]
    assert (now.files_published, now.files_waiting, now.unplanned) == (len(list((site / "out").iterdir())), 0, 0)
    assert not now.ingest_at_work and not now.detect_at_work
    assert now.files == {"done": 1} and now.problems == ()
    assert now.started_at == ask(site, "SELECT value FROM meta WHERE key = 'started_at'")[0][0]


def test_status_sees_who_is_at_work(site: Path) -> None:
    """While a lease is held it is told."""
    with opened(site).opened() as state, state.lease("detect"):
        now = status(opened(site))
    assert (now.ingest_at_work, now.detect_at_work) == (False, True)
