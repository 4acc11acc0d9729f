"""What detections depend on is said in words, and nothing else is: equal words, equal detections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.compose import compose, setup
from tillwatch.config import load
from tillwatch.errors import ConfigError, PatternError

CONFIG = """\
source: ./in.csv
lookups: {importance: ./weights.csv}
features: {large: "max(amount)"}
amounts: {digits: 4}
patterns:
  - PatId2
  - ./own.yaml
"""
OWN = """\
id: Own
action: LOOK
title: A title
why: A reason
per: [customer, merchant]
thresholds: {least: 2}
features: {few: count(*) filter (where category = 'a')}
when: few > :least and importance > 1 and large > 5 and merchant.transactions > 3
"""
FILES = {"tillwatch.yaml": CONFIG, "own.yaml": OWN, "weights.csv": "Source,Target,Weight\nC1,M1,1\n"}


def meaning(folder: Path, **changes: tuple[str, str]) -> str:
    """What the configuration means, after one text was replaced by another in some files."""
    for name, text in FILES.items():
        old, new = changes.get(name.partition(".")[0], ("", ""))
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1) if old else text, "utf-8")
    made = setup(compose(load(folder / "tillwatch.yaml")))
    assert len(made.fingerprint) == 64
    return made.meaning


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"tillwatch": ("digits: 4", "digits: 2")}, "amounts"),
        ({"tillwatch": ("digits: 4", "negative: true")}, "amounts"),
        ({"tillwatch": ("source: ./in.csv", "source: ./in.csv\ncolumns: {customer: payer}")}, "columns"),
        ({"tillwatch": ("max(amount)", "min(amount)")}, "feature large"),
        ({"tillwatch": ("  - PatId2\n", "  - PatId2: {transactions: 81}\n")}, "PatId2"),
        ({"tillwatch": ("  - PatId2\n", "")}, "PatId2"),
        ({"tillwatch": ("./weights.csv", "{uri: ./weights.csv, value: max(Weight)}")}, "lookup importance"),
        ({"own": ("LOOK", "SEE")}, "Own"),
        ({"own": ("id: Own", "id: Other")}, "Other"),
        ({"own": ("least: 2", "least: 3")}, "Own"),
        ({"own": ("category = 'a'", "category = 'b'")}, "feature few"),
        ({"own": ("> 1 and", "> 1 or")}, "Own"),
        ({"own": ("[customer, merchant]", "[customer, merchant, gender]")}, "Own"),
    ],
)
def test_what_changes_detections_changes_the_meaning(
    tmp_path: Path, changes: dict[str, tuple[str, str]], word: str
) -> None:
    """Amounts, columns, features, thresholds, patterns and how lookups are aggregated are in it, a line each."""
    before, after = set(meaning(tmp_path).splitlines()), set(meaning(tmp_path, **changes).splitlines())
    assert before != after
    assert any(word in line for line in before ^ after)


@pytest.mark.parametrize(
    "changes",
    [
        {"tillwatch": ("source: ./in.csv", "source: {uri: ./other, rows: 7, every: 0}")},
        {"tillwatch": ("source: ./in.csv", "source: ./in.csv\ndetections: {uri: ./x, rows: 7, linger: 5}")},
        {"tillwatch": ("source: ./in.csv", "source: ./in.csv\nlanding: {uri: ./y, format: csv}\nquarantine: ./z")},
        {"weights": ("C1,M1,1", "C1,M1,2")},
        {"tillwatch": ("./weights.csv", "{uri: ./weights.csv, refresh: 1h}")},
        {"own": ("title: A title", "title: Another")},
        {"own": ("why: A reason", "why: Another")},
        {"own": ("few > :least and", "few>:least   AND")},
        {"own": ("thresholds: {least: 2}", "thresholds: {least: 2, unused: 5}")},
        {"own": ("[customer, merchant]", "[merchant, customer]")},
        {"own": ("count(*) filter", "count(*)   filter")},
    ],
)
def test_what_does_not_change_detections_does_not_change_it(
    tmp_path: Path, changes: dict[str, tuple[str, str]]
) -> None:
    """Places, pace, sizes, titles, what lookups hold and how a condition is written down have no part in it."""
    assert meaning(tmp_path) == meaning(tmp_path, **changes)


def test_the_order_of_patterns_is_part_of_it(tmp_path: Path) -> None:
    """Detections of one chunk are numbered in the order of patterns."""
    turned = "patterns:\n  - ./own.yaml\n  - PatId2\n"
    assert meaning(tmp_path) != meaning(tmp_path, tillwatch=(CONFIG[CONFIG.index("patterns:") :], turned))


def refusal(folder: Path, **changes: tuple[str, str]) -> str:
    """What is said to be wrong."""
    with pytest.raises(ConfigError) as caught:
        meaning(folder, **changes)
    return str(caught.value)


def test_a_lookup_with_the_name_of_a_feature_is_told(tmp_path: Path) -> None:
    """With the place of the lookup."""
    found = refusal(tmp_path, tillwatch=("importance: ./weights.csv", "large: ./weights.csv"))
    assert found == f"{tmp_path}/tillwatch.yaml:2:18: 'large' is the name of a feature already"


def test_a_wrong_value_of_a_lookup_is_told(tmp_path: Path) -> None:
    """With the place of the lookup."""
    found = refusal(tmp_path, tillwatch=("./weights.csv", "{uri: ./weights.csv, value: median(Weight)}"))
    assert found.startswith(f"{tmp_path}/tillwatch.yaml:2:") and "expected avg, sum, min, max or count" in found


def test_a_column_that_patterns_need_and_that_is_not_mapped_is_told(tmp_path: Path) -> None:
    """A pattern that filters by category cannot be judged without it: with the place in the pattern."""
    with pytest.raises(
        PatternError, match=r"own\.yaml:\d+:\d+: Own: 'few' needs the column category, which is not map"
    ):
        meaning(tmp_path, tillwatch=("source: ./in.csv", "source: ./in.csv\ncolumns: {category: null}"))


@pytest.mark.parametrize("place", ["landing: ftp://b/p", "quarantine: gs://b/?x", "detections: {uri: abfss://b}"])
def test_a_place_that_cannot_be_reached_is_told(tmp_path: Path, place: str) -> None:
    """Places that are no stores, or not of the form of theirs, are told before anything runs, with their place."""
    found = refusal(tmp_path, tillwatch=("source: ./in.csv", f"source: ./in.csv\n{place}"))
    assert found.startswith(f"{tmp_path}/tillwatch.yaml:2:")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "detections: {format: none}",
            "2:22: detections.format: found 'none', and there are no outputs: detections would go nowhere",
        ),
        ("outputs: {a: {format: jsonl, uri: 'ftp://h/x'}}", "2:14: outputs.a: ftp:// is no place"),
        ("reports: 'ftp://h/x'", "2:10: reports: ftp:// is no place"),
        ("outputs: {a: {format: delta, uri: 'ftp://h/x'}}", "2:14: outputs.a: ftp:// is no place for a Delta"),
        ("outputs: {a: {format: delta, uri: 's3://'}}", "2:14: outputs.a: expected s3://BUCKET/PREFIX"),
        ("state: 'postgresql://h/db?shcema=x'", "2:8: state: postgresql://h/db?shcema=x: expected postgresql://"),
        ("landing: 'gs://'", "2:10: landing.uri: expected gs://BUCKET/PREFIX"),
    ],
)
def test_outputs_that_cannot_be_are_told(written: str, message: str, tmp_path: Path) -> None:
    """Before anything runs, with the place in the file."""
    found = refusal(tmp_path, tillwatch=("source: ./in.csv", f"source: ./in.csv\n{written}"))
    assert f"tillwatch.yaml:{message}" in found


def test_outputs_may_stand_instead_of_the_csv(tmp_path: Path) -> None:
    """Without CSV files, one further output is enough; what detections depend on is the same."""
    without = "source: ./in.csv\ndetections: {format: none}\noutputs: {a: {format: jsonl, uri: ./x}}"
    assert meaning(tmp_path, tillwatch=("source: ./in.csv", without)) == meaning(tmp_path)
