"""The life of detections of patterns that are judged on every transaction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tillwatch.audit import audit
from tillwatch.errors import PatternError
from tillwatch.history.backtest import backtest
from tillwatch.history.drafts import trial
from tillwatch.history.explain import explain
from tillwatch.lookups import patience
from tillwatch.pipeline import Pipeline

HEADER = "step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud\n"
FIRST = ["60", "10", "70", "80", "90", "5", "?", "60"]
"""What Ann pays, four a chunk; a row of it is not valid. From 50 on the condition is true."""
SECOND = ["60", "5", "5", "70", "5", "5", "5", "5"]
PATTERN = "id: Big\naction: LOOK\nper: [customer, merchant]\njudge: transaction\nthresholds: {least: 50}\n"
CONFIG = """\
source: {uri: source, rows: 4, every: 0}
patterns: [./big.yaml]
outputs:
  lines: {format: jsonl, uri: ./lines}
"""


def rows_of(amounts: list[str]) -> str:
    """A file."""
    return HEADER + "".join(f"1,Ann,3,F,1,Shop,1,food,{a},0\n" for a in amounts)


def site(folder: Path, life: str) -> Path:
    """A pipeline with one pattern, and its first file."""
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "a.csv").write_text(rows_of(FIRST))
    (folder / "big.yaml").write_text(f"{PATTERN}when: amount >= :least\n{life}")
    (folder / "tillwatch.yaml").write_text(CONFIG)
    return folder


def ran(folder: Path, *files: list[str]) -> Pipeline:
    """The pipeline after its work on the first file and then, started again for each, on others; proved."""
    for number, amounts in enumerate([FIRST, *files]):
        (folder / "source" / f"{'abc'[number]}.csv").write_text(rows_of(amounts))
        pipeline = Pipeline.open(folder / "tillwatch.yaml")
        pipeline.run(once=True)
        assert [problem for check in audit(pipeline) for problem in check.problems] == []
    return pipeline


def places(pipeline: Pipeline) -> list[tuple[int, int]]:
    """Chunk and row of each detection, by its evidence."""
    told = [json.loads(e) for e in pipeline.detections()["evidence"]]
    return [(each["chunk"], each["row"]) for each in told]


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        ("", [(0, 1)]),
        ("emit: on_enter\n", [(0, 1), (0, 3), (1, 8), (2, 4)]),
        (
            "emit: every_transaction\n",
            [(0, 1), (0, 3), (0, 4), (1, 5), (1, 8), (2, 1), (2, 4)],
        ),
    ],
)
def test_rows_are_detected_as_the_pattern_says(tmp_path: Path, life: str, expected: list[tuple[int, int]]) -> None:
    """Once, each time that a row is true and the key's row before was not, or each: wherever chunks are cut, and
    where a run ends; a row that is not valid is none. Every one is in a file once, with an id of its own."""
    pipeline = ran(site(tmp_path, life), SECOND)
    found = pipeline.detections()
    assert places(pipeline) == expected
    assert found["seq"].to_list() == list(range(1, len(expected) + 1))
    assert found["holds"].to_list() == [False] * len(expected)
    files = sorted((tmp_path / "tillwatch-data/detections").glob("*.csv"))
    assert sum(len(file.read_text().splitlines()) - 1 for file in files) == len(expected)
    delivered = [line for file in sorted((tmp_path / "lines").glob("*")) for line in file.read_text().splitlines()]
    lines = [json.loads(line) for line in delivered]
    assert len({line["id"] for line in lines}) == len(lines) == len(expected)


def test_what_ceases_is_told_after_chunks(tmp_path: Path) -> None:
    """Of a key whose last row in a chunk is not true, having been true after the chunk before or in this one."""
    folder = site(tmp_path, "emit: on_enter\ncleared: true\n")
    pipeline = ran(folder, SECOND)
    with pipeline.opened(readonly=True) as state:
        assert [(c.seq, c.chunk) for c in state.cleared()] == [(4, 3)]
    assert pipeline.detections()["holds"].to_list() == [False] * 4


def test_keys_of_a_chunk_come_by_customer_and_merchant_and_then_by_row(tmp_path: Path) -> None:
    """Whatever further keys the pattern is per."""
    folder = site(tmp_path, "emit: every_transaction\n")
    pattern = folder / "big.yaml"
    pattern.write_text(pattern.read_text().replace("[customer, merchant]", "[customer, category]"))
    lines = [("Bob", "a", 60), ("Ann", "z", 70), ("Ann", "a", 80), ("Ann", "z", 90)]
    text = HEADER + "".join(f"1,{who},3,F,1,Shop,1,{what},{a},0\n" for who, what, a in lines)
    (folder / "source" / "a.csv").write_text(text)
    pipeline = Pipeline.open(folder / "tillwatch.yaml")
    pipeline.run(once=True)
    assert places(pipeline) == [(0, 2), (0, 3), (0, 4), (0, 1)]


def test_each_of_them_can_be_explained(tmp_path: Path) -> None:
    """With its own row and the transactions up to it, also when a chunk has several."""
    pipeline = ran(site(tmp_path, "emit: every_transaction\n"))
    told = [explain(pipeline, seq, 1, patience()) for seq in range(1, 6)]
    assert [(each.row, each.rows) for each in told] == [(1, 1), (3, 3), (4, 4), (5, 5), (8, 7)]
    assert [each.newest[0].cells["amount"] for each in told] == ["60", "70", "80", "90", "60"]


def test_a_draft_is_compared_transaction_by_transaction(tmp_path: Path) -> None:
    """One that a draft does not detect any more leaves the later ones as they are: nothing moves."""
    folder = site(tmp_path, "emit: every_transaction\n")
    ran(folder)
    drafted = trial(folder / "tillwatch.yaml", [f"patterns=[{{{folder}/big.yaml: {{least: 65}}}}]"], [], patience())
    (change,) = backtest(drafted, [], 0, None, patience()).differences
    assert [d.row for d in change.removed] == [1, 8]
    assert (len(change.now), len(change.draft), change.added, change.moved) == (5, 3, (), ())


@pytest.mark.parametrize(
    ("life", "problem"),
    [
        (
            "emit: every_chunk\n",
            "big.yaml:7:7: emit: found every_chunk, but the pattern is judged on transactions: expected once, on_enter "
            "or every_transaction",
        ),
        (
            "cleared: true\nemit: every_transaction\n",
            "big.yaml:7:10: cleared: found true, but with emit: every_transaction a detection is of one transaction, "
            "which does not cease to be",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, life: str, problem: str) -> None:
    """With its place and the reason."""
    with pytest.raises(PatternError) as error:
        Pipeline.open(site(tmp_path, life) / "tillwatch.yaml")
    assert str(error.value) == f"{tmp_path}/{problem}"


def test_transactions_are_for_patterns_that_are_judged_on_them(tmp_path: Path) -> None:
    """A pattern that is judged after chunks cannot detect for every transaction."""
    folder = site(tmp_path, "emit: every_transaction\n")
    pattern = folder / "big.yaml"
    pattern.write_text(pattern.read_text().replace("judge: transaction", "judge: chunk"))
    with pytest.raises(PatternError, match="found every_transaction, but the pattern is judged after chunks"):
        Pipeline.open(folder / "tillwatch.yaml")
