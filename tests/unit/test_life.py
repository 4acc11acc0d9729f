"""The life of a detection: detected once or again, told when it ceases to hold, or recorded in the shadow alone."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tillwatch.audit import audit
from tillwatch.cli.app import app
from tillwatch.compose import meaning
from tillwatch.errors import ConfigError, PatternError
from tillwatch.pipeline import Pipeline

HEADER = "step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud\n"
AMOUNTS = (10, 10, 40, 0, 60, 0, 0, None, 9)
"""What Ann pays, one a chunk: the average is 10, 10, 20, 15, 24, 20, 17.1…; None is a row that is not valid."""
LOW = "avg_amount < 18"


def config(folder: Path, life: str = "", more: str = "", amounts: tuple[int | None, ...] = AMOUNTS) -> Path:
    """A pipeline with one pattern, whose chunks have a row each."""
    rows = "".join(f"{n},Ann,3,F,1,Shop,1,food,{'' if a is None else a},0\n" for n, a in enumerate(amounts))
    (folder / "t.csv").write_text(HEADER + rows)
    (folder / "low.yaml").write_text(f"id: Low\naction: CALL\nper: [customer, merchant]\nwhen: {LOW}\n{life}")
    path = folder / "tillwatch.yaml"
    path.write_text(f"source: {{uri: t.csv, rows: 1, every: 0}}\npatterns: [./low.yaml]\n{more}")
    return path


def ran(path: Path) -> Pipeline:
    """The pipeline after its whole work, proved."""
    pipeline = Pipeline.open(path)
    pipeline.run(once=True)
    assert [problem for check in audit(pipeline) for problem in check.problems] == []
    return pipeline


def call(name: str, path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [name, "-c", str(path), *arguments])


def rows_of(folder: Path) -> list[list[str]]:
    """The rows of all files of a folder, in the order of their names."""
    files = sorted(folder.glob("*.csv"))
    return [row for file in files for row in list(csv.reader(file.read_text().splitlines()))[1:]]


@pytest.mark.parametrize(
    ("emit", "chunks"),
    [("once", [0]), ("on_enter", [0, 3, 6]), ("every_chunk", [0, 1, 3, 6, 7, 8])],
)
def test_a_key_is_detected_as_often_as_the_pattern_says(tmp_path: Path, emit: str, chunks: list[int]) -> None:
    """Once, each time the condition comes true, or after each chunk, one of no valid row included; seq has no gap."""
    found = ran(config(tmp_path, f"emit: {emit}\n")).detections()
    assert found["chunk"].to_list() == chunks
    assert found["seq"].to_list() == list(range(1, len(chunks) + 1))
    assert [json.loads(e)["chunk"] for e in found["evidence"]] == chunks
    assert len(rows_of(tmp_path / "tillwatch-data/detections")) == len(chunks)


@pytest.mark.parametrize(("emit", "holds"), [("once", [True]), ("on_enter", [False, False, True])])
def test_a_detection_says_whether_it_holds_now(tmp_path: Path, emit: str, holds: list[bool]) -> None:
    """One that is detected once holds again; one that was followed by another has ended."""
    assert ran(config(tmp_path, f"emit: {emit}\n")).detections()["holds"].to_list() == holds


@pytest.mark.parametrize(("emit", "seqs"), [("once", [1, 1]), ("on_enter", [1, 2]), ("every_chunk", [2, 3])])
def test_what_ceases_to_hold_is_published_apart(tmp_path: Path, emit: str, seqs: list[int]) -> None:
    """In files of its own, in order, each with the last detection of the key; the detections stay as they are."""
    path = config(tmp_path, f"emit: {emit}\ncleared: true\n")
    pipeline = ran(path)
    told = rows_of(tmp_path / "tillwatch-data/cleared")
    assert [row[1:] for row in told] == [["Low", "CALL", "Ann", "Shop", str(seq)] for seq in seqs]
    assert [row[0][:2] for row in told] == ["20", "20"]
    printed = list(csv.DictReader(call("detections", path, "--cleared").stdout.splitlines()))
    assert [(row["seq"], row["chunk"]) for row in printed] == [(str(s), c) for s, c in zip(seqs, "24", strict=True)]
    assert {row["file"] for row in printed} == {"cleared-000000000001-000000000002.csv"}
    assert len(rows_of(tmp_path / "tillwatch-data/detections")) == pipeline.detections().height


def test_without_being_asked_nothing_is_said_of_what_ceases(tmp_path: Path) -> None:
    """Neither files nor their folder are made."""
    path = config(tmp_path, "emit: on_enter\n")
    ran(path)
    assert not (tmp_path / "tillwatch-data/cleared").exists()
    assert call("detections", path, "--cleared").stdout.count("\n") == 1


@pytest.mark.parametrize(("life", "more"), [("mode: shadow\n", ""), ("", "shadow: [Low]\n")])
def test_in_the_shadow_all_is_recorded_and_nothing_published(tmp_path: Path, life: str, more: str) -> None:
    """As the pattern or the configuration says; it is shown when asked for, with its evidence."""
    path = config(tmp_path, f"{life}cleared: true\nemit: on_enter\n", more)
    assert ran(path).detections().height == 0
    assert not (tmp_path / "tillwatch-data/cleared").exists()
    assert rows_of(tmp_path / "tillwatch-data/detections") == []
    shown = [json.loads(line) for line in call("detections", path, "--shadow", "--format", "jsonl").stdout.splitlines()]
    assert [(s["seq"], s["chunk"], s["holds"], s["file"]) for s in shown] == [
        (1, 0, False, None),
        (2, 3, False, None),
        (3, 6, True, None),
    ]
    assert shown[0]["evidence"]["features"] == {"avg_amount": 10.0}
    status = call("status", path).stdout
    assert "0 detections" in status and "3 detections (Low 3)" in status


def test_where_it_was_stopped_makes_no_difference(tmp_path: Path) -> None:
    """Run anew for every chunk it comes to what one run comes to, also with tables that were saved long ago."""
    life = "emit: every_chunk\ncleared: true\n"
    found = []
    for name in ("whole", "cut"):
        (tmp_path / name / "in").mkdir(parents=True)
        path = config(tmp_path / name, life)
        path.write_text(path.read_text().replace("t.csv", "in"))
        lines = (tmp_path / name / "t.csv").read_text().splitlines(keepends=True)[1:]
        for number, line in enumerate(lines):
            (tmp_path / name / "in" / f"{number}.csv").write_text(HEADER + line)
            if name == "cut":
                Pipeline.open(path).run(once=True)
                if number < 6:  # as a killed run would have left them
                    change(path, "UPDATE meta SET value = '0' WHERE key = 'tables'")
                    change(path, "DELETE FROM customer_merchant")
        found.append(ran(path).detections().drop("detectionTime", "file"))
    assert found[0].equals(found[1])


def change(path: Path, statement: str) -> None:
    """Changes the state behind its back."""
    with closing(sqlite3.connect(path.parent / "tillwatch-data/state.db")) as db, db:
        db.execute(statement)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM cleared WHERE number = 2", "the log clears (2, 4, 'Low', "),
        ("UPDATE cleared SET seq = 2, chunk = 3 WHERE number = 1", "the state clears (2, 3, 'Low', "),
        ("DELETE FROM detections WHERE seq = 3", "the log gives (6, 'Low', "),
        ("UPDATE detections SET holds = 0 WHERE seq = 3", "seq 3 is said to hold: False, its turns say True"),
    ],
)
def test_audit_finds_what_is_not_as_the_log_gives_it(tmp_path: Path, statement: str, problem: str) -> None:
    """What is cleared, and detections of one key one by one."""
    path = config(tmp_path, "emit: on_enter\ncleared: true\n")
    pipeline = ran(path)
    change(path, statement)
    assert any(text.startswith(problem) for check in audit(pipeline) for text in check.problems)


def test_audit_finds_files_that_are_not_as_planned(tmp_path: Path) -> None:
    """A file of what is cleared with other bytes, one that is gone, one that nobody planned."""
    pipeline = ran(config(tmp_path, "cleared: true\n"))
    folder = tmp_path / "tillwatch-data/cleared"
    (file,) = folder.iterdir()
    whole = file.read_text()
    for data, problem in ((whole + "x\n", "does not hold cleared 1 to 2"), (None, "was published at")):
        file.unlink()
        if data:
            file.write_text(data)
        (found,) = next(check for check in audit(pipeline) if check.name == "cleared files").problems
        assert problem in found
    file.write_text(whole)
    (folder / "more.csv").write_text(whole)
    (found,) = [problem for check in audit(pipeline) for problem in check.problems]
    assert found == "more.csv is in no plan"


def test_audit_finds_a_changed_detection_in_the_shadow(tmp_path: Path) -> None:
    """By its seq."""
    path = config(tmp_path, "mode: shadow\n")
    pipeline = ran(path)
    change(path, "UPDATE shadow_detections SET evidence = '{}'")
    (found,) = [problem for check in audit(pipeline) for problem in check.problems]
    assert found == "seq 1 has other evidence than the log gives"


@pytest.mark.parametrize(
    ("life", "problem"),
    [
        (
            "emit: always",
            "low.yaml:5:7: emit: found 'always', expected one of once, on_enter, every_chunk, every_transaction",
        ),
        ("cleared: 1", "low.yaml:5:10: cleared: found 1, expected true or false"),
        ("mode: [shadow]", "low.yaml:5:7: mode: found a list, expected one of publish, shadow"),
        ("emits: once", "low.yaml:5:1: unknown field 'emits'; did you mean 'emit'?"),
    ],
)
def test_a_wrong_field_is_told_with_its_place(tmp_path: Path, life: str, problem: str) -> None:
    """What was found, and what is expected."""
    with pytest.raises(PatternError) as error:
        Pipeline.open(config(tmp_path, life))
    assert str(error.value) == f"{tmp_path}/{problem}"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("shadow: [Lov]", "tillwatch.yaml:3:9: 'Lov' is not one of the patterns; did you mean 'Low'?"),
        ("shadow: Low", "tillwatch.yaml:3:9: shadow: found 'Low', expected a list of pattern ids such as [PatId1]"),
    ],
)
def test_a_wrong_shadow_is_told_with_its_place(tmp_path: Path, more: str, problem: str) -> None:
    """Patterns in the shadow are named by their ids."""
    with pytest.raises(ConfigError) as error:
        Pipeline.open(config(tmp_path, more=more))
    assert str(error.value) == f"{tmp_path}/{problem}"


def test_only_what_is_said_is_part_of_the_meaning(tmp_path: Path) -> None:
    """A pattern that says nothing of its life has the meaning that it had before there was any."""
    texts = []
    for life in ("", "emit: once\ncleared: false\nmode: publish\n", "emit: on_enter\ncleared: true\n"):
        texts.append(meaning(Pipeline.open(config(tmp_path, life)).composed).splitlines())
    assert texts[0] == texts[1]
    assert [line for line in texts[2] if line not in texts[0]] == ["pattern Low emit on_enter, cleared"]


def test_a_place_that_is_used_already_is_told(tmp_path: Path) -> None:
    """Files of what is cleared are not among those of detections, once a pattern has any."""
    more = "detections: {uri: ./out, cleared: ./out}\n"
    assert call("check", config(tmp_path, "", more)).exit_code == 0
    told = call("check", config(tmp_path, "cleared: true\n", more))
    assert told.exit_code == 2 and "detections.cleared: " in told.stderr
