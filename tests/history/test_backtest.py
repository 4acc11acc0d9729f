"""Drafts over the landed history beside the patterns in force."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.cli.app import app
from tillwatch.errors import ConfigError, LogError, PatternError
from tillwatch.history.backtest import Backtest, backtest
from tillwatch.history.difference import difference
from tillwatch.history.drafts import trial
from tillwatch.history.figures import By, change_rows, counts
from tillwatch.history.sweep import read_sweep
from tillwatch.lookups import patience
from tillwatch.model import Detection
from tillwatch.pipeline import Pipeline

LAST = 23
Identity = tuple[int, str, str, str]

OWN = """\
id: Loyal
action: THANK
per: [customer, merchant]
thresholds: {share: 0.5}
when: customer.transactions >= 10 and transactions > :share * customer.transactions
"""


def backtested(
    config: Path,
    overrides: Sequence[str] = (),
    drafts: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    first: int = 0,
    last: int | None = None,
) -> Backtest:
    asked = [read_sweep(text) for text in sweeps]
    return backtest(trial(config, overrides, drafts, patience()), asked, first, last, patience())


def stored(pipeline: Pipeline) -> list[Identity]:
    """What the pipeline has detected."""
    with pipeline.opened(readonly=True) as state:
        return [s.detection.identity for s in state.detections()]


def ran(config: Path, folder: Path, overrides: Sequence[str]) -> list[Identity]:
    """What a run over the same landing zone detects, with a state and an output of its own."""
    places = [f"{name}={folder / name}" for name in ("state", "detections", "quarantine")]
    pipeline = Pipeline.open(config, [*overrides, *places])
    pipeline.detect(once=True)
    return stored(pipeline)


def identities(detections: Sequence[Detection]) -> list[Identity]:
    return [d.identity for d in detections]


def files(folder: Path) -> dict[str, str]:
    """Every file below it and its digest; what SQLite makes while it is read is left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_patterns_in_force_give_what_the_pipeline_detected(config: Path, pipeline: Pipeline) -> None:
    """Exactly the stored detections, evidence included, and no change; nothing is written."""
    before = files(config.parent)
    found = backtested(config)
    assert files(config.parent) == before
    with pipeline.opened(readonly=True) as state:
        wanted = [s.detection for s in state.detections()]
    for each in found.differences:
        mine = [d for d in wanted if d.pattern == each.pattern]
        assert list(each.now) == list(each.draft) == mine
        assert each.is_none
    assert [each.pattern for each in found.differences] == ["PatId1", "PatId2", "PatId3"]
    assert (found.first, found.last, found.rows, found.as_run) == (0, LAST, 6000, True)


overrides = st.lists(
    st.sampled_from(
        [
            "patterns.PatId1.transactions_rank=0.6",
            "patterns.PatId1.merchant_transactions=200",
            "patterns.PatId2.transactions=4",
            "patterns.PatId2.avg_amount=19.5",
            "patterns.PatId3.female_customers=20",
            "features.female_customers=count(distinct customer) filter (where gender = 'F' and amount > 20)",
            "amounts.digits=0",
            "amounts.negative=true",
            "columns.customer=age",
            "lookups.importance.value=min(Weight)",
            "patterns=[PatId2, PatId1]",
        ]
    ),
    unique=True,
    max_size=4,
).map(sorted)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=overrides)
def test_a_draft_gives_what_a_run_with_it_would(
    config: Path, tmp_path_factory: pytest.TempPathFactory, said: list[str]
) -> None:
    """Whatever is changed, of patterns, features, columns, amounts or lookups; in force stays what it was."""
    said = [*(s for s in said if s.startswith("patterns=")), *(s for s in said if not s.startswith("patterns="))]
    if any(s.startswith("patterns=") for s in said):
        said = [s for s in said if not s.startswith("patterns.PatId3")]
    found = backtested(config, said)
    wanted = ran(config, tmp_path_factory.mktemp("draft"), said)
    in_force = stored(Pipeline.open(config))
    for each in found.differences:
        assert identities(each.draft) == [d for d in wanted if d[1] == each.pattern]
        assert identities(each.now) == [d for d in in_force if d[1] == each.pattern]


@pytest.mark.parametrize("sweep", ["PatId2.transactions=5:12:3", "PatId1.transactions_rank=0.5,0.9"])
def test_a_point_of_a_sweep_is_a_run_with_that_threshold(config: Path, tmp_path: Path, sweep: str) -> None:
    """Each point has the detections of such a run, in one fold of them all."""
    (swept,) = backtested(config, sweeps=[sweep]).sweeps
    pattern, threshold = swept.sweep.pattern, swept.sweep.threshold
    assert swept.now == (Decimal(8) if pattern == "PatId2" else Decimal("0.8"))
    for number, point in enumerate(swept.points):
        wanted = ran(config, tmp_path / str(number), [f"patterns.{pattern}.{threshold}={point.value}"])
        assert identities(point.difference.draft) == [d for d in wanted if d[1] == pattern]


def test_a_pattern_file_is_added_or_takes_the_place_of_its_id(config: Path, tmp_path: Path) -> None:
    """A new id is all additions; one in force is compared with it. Only what was named is told."""
    new, other = tmp_path / "loyal.yaml", tmp_path / "other.yaml"
    new.write_text(OWN, "utf-8")
    other.write_text(OWN.replace("Loyal", "PatId3").replace("[customer, merchant]", "customer"), "utf-8")
    other.write_text("{id: PatId3, action: A, per: merchant, when: female_customers > 3}", "utf-8")
    loyal, third = backtested(config, drafts=[str(new), str(other)]).differences
    assert (loyal.pattern, third.pattern) == ("Loyal", "PatId3")
    assert not loyal.now and loyal.added == loyal.draft and len(loyal.draft) > 10
    assert len(third.draft) > len(third.now) and not third.removed
    (swept,) = backtested(config, drafts=[str(new)], sweeps=["Loyal.share=0.5,0.9"]).sweeps
    assert swept.now is None
    assert len(swept.points[0].difference.draft) == len(loyal.draft) > len(swept.points[1].difference.draft)


def test_a_configured_pattern_can_be_looked_at_alone(config: Path) -> None:
    """By its id, with what --set says of it."""
    (only,) = backtested(config, ["patterns.PatId2.transactions=6"], ["PatId2"]).differences
    assert only.pattern == "PatId2" and only.added and only.moved and not only.removed


def test_chunks_can_be_bounded(config: Path, pipeline: Pipeline) -> None:
    """Detections before the first chunk are left out, and the fold ends with the last; state is of all rows."""
    found = backtested(config, ["patterns.PatId2.transactions=6"], first=5, last=9)
    everything = [d for d in stored(pipeline) if 5 <= d[0] <= 9]
    assert [d for each in found.differences for d in identities(each.now)] == sorted(everything, key=lambda d: d[1])
    assert (found.rows, [c.number for c in found.chunks]) == (2500, [5, 6, 7, 8, 9])
    second = found.differences[1]
    assert {d.chunk for d in second.added} <= {5, 6, 7, 8, 9}
    assert all(max(a.chunk, b.chunk) >= 5 for a, b in second.moved)


@pytest.mark.parametrize("by", ["chunk", "day", "time"])
def test_counts_add_up_however_they_are_divided(config: Path, by: By) -> None:
    """By chunk, day or time, all detections are counted once."""
    found = backtested(config, ["patterns.PatId2.transactions=6"])
    rows = counts(found, by)
    for each in found.differences:
        sums = [sum(by_pattern[each.pattern][side] for _, by_pattern in rows) for side in (0, 1)]
        assert sums == [len(each.now), len(each.draft)]
    labels = [label for label, _ in rows]
    assert len(set(labels)) == len(labels)
    assert labels[0] == {"chunk": "0", "time": "7"}.get(by, labels[0]) != "unknown"


def test_times_of_a_landing_zone_without_a_state(config: Path, tmp_path: Path) -> None:
    """Nothing but the log is needed; no day is known, and nothing is made."""
    elsewhere = [f"state={tmp_path / 'none' / 'state.db'}"]
    found = backtested(config, elsewhere)
    assert {c.day for c in found.chunks} == {None} and found.as_run
    assert [label for label, _ in counts(found, "day")] == ["unknown"]
    assert list(tmp_path.iterdir()) == []


def test_a_state_of_another_configuration_is_told(config: Path, tmp_path: Path) -> None:
    """What the configuration says was then never run."""
    copy = Path(shutil.copytree(config.parent, tmp_path / "copy")) / config.name
    copy.write_text(copy.read_text("utf-8").replace("transactions: 8", "transactions: 9"), "utf-8")
    assert not backtested(copy).as_run


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"sweeps": ["PatId9.x=1:2:1"]}, ConfigError, "no pattern 'PatId9' here; did you mean 'PatId"),
        ({"sweeps": ["PatId2.amount=1:2:1"]}, ConfigError, "no threshold 'amount'; did you mean 'avg_amount'"),
        ({"sweeps": ["PatId2.avg_amount=1:2"]}, ConfigError, "found '1:2'; expected PATTERN.THRESHOLD="),
        ({"sweeps": ["PatId2=1:2:1"]}, ConfigError, "expected PATTERN.THRESHOLD="),
        ({"sweeps": ["PatId2.avg_amount=1:2:-1"]}, ConfigError, "the step -1 does not lead from 1 to 2"),
        ({"sweeps": ["PatId2.avg_amount=1:2:inf"]}, ConfigError, "found 'inf'"),
        ({"sweeps": ["PatId2.avg_amount=0:1:0.0001"]}, ConfigError, "more than 1,000 values"),
        ({"drafts": ["PatId22"]}, PatternError, "'PatId22' is not a pattern of the catalogue"),
        ({"last": 99}, LogError, "chunk 99 is not landed; the last one is 23"),
        ({"first": 9, "last": 8}, ConfigError, "no chunks from 9 to 8"),
        ({"overrides": ["patterns.PatId2.x=1"]}, PatternError, "PatId2 has no threshold 'x'"),
    ],
)
def test_wrong_calls_are_told(
    config: Path, options: dict[str, Sequence[str]], error: type[Exception], said: str
) -> None:
    """What was found, and what is expected."""
    with pytest.raises(error, match=said):
        backtested(config, **options)  # type: ignore[arg-type]


def test_nothing_landed_is_told(config: Path, tmp_path: Path) -> None:
    """And nothing is made."""
    with pytest.raises(LogError, match="nothing is landed yet"):
        backtested(config, [f"landing={tmp_path / 'none'}"])
    assert list(tmp_path.iterdir()) == []


def detection(chunk: int, *key: str) -> Detection:
    return Detection(chunk, "P", "A", dict(zip("ab", key, strict=False)), {})


def test_a_difference_goes_by_key_and_by_how_often() -> None:
    """The second time a key is detected is compared with its second time."""
    now = [detection(0, "x"), detection(1, "y"), detection(2, "x")]
    draft = [detection(0, "x"), detection(1, "z"), detection(3, "x"), detection(4, "x")]
    found = difference("P", now, draft, 0)
    assert (found.added, found.removed) == ((draft[1], draft[3]), (now[1],))
    assert found.moved == ((now[2], draft[2]),)
    later = difference("P", now, draft, 3)
    assert (later.added, later.removed, later.moved) == ((draft[3],), (), found.moved)


def call(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["backtest", *arguments, "-c", str(config)])


DRAFT = ("--set", "patterns.PatId2.transactions=6")
SWEEP = ("--sweep", "PatId2.transactions=4:10:2")


def test_the_command_prints_tables_json_and_csv(config: Path) -> None:
    """What was asked for goes to stdout, how fast it was to stderr."""
    found = backtested(config, [DRAFT[1]], sweeps=[SWEEP[1]])
    text = call(config, *DRAFT, *SWEEP, "--by", "time")
    assert (text.exit_code, text.stderr.startswith("tillwatch: 6,000 rows in ")) == (0, True)
    second = found.differences[1]
    numbers = [len(part) for part in (second.now, second.draft, second.added, second.removed, second.moved)]
    assert ["PatId2", *map(str, numbers)] in [line.split() for line in text.stdout.splitlines()]
    assert f"… and {len(second.added) - 10} more" in text.stdout
    assert "PatId2.transactions; in force is 8" in text.stdout
    said = json.loads(call(config, *DRAFT, *SWEEP, "--format", "json").stdout)
    assert said["patterns"][1]["now"] == len(second.now)
    assert [p["detections"] for p in said["sweeps"][0]["points"]] == [
        len(p.difference.draft) for p in found.sweeps[0].points
    ]
    assert sum(c["draft"]["PatId2"] for c in said["chunks"]) == len(second.draft)
    changes = list(csv.DictReader(io.StringIO(call(config, *DRAFT, "--format", "csv").stdout)))
    assert len(changes) == len(list(change_rows(found)))
    points = list(csv.DictReader(io.StringIO(call(config, *SWEEP, "--format", "csv").stdout)))
    assert [p["value"] for p in points] == ["4", "6", "8", "10"]


def test_the_page_is_whole_and_loads_nothing(config: Path, tmp_path: Path) -> None:
    """Well-formed, with a picture a pattern and one a sweep, and no address of anything else."""
    target = tmp_path / "page.html"
    result = call(config, *DRAFT, *SWEEP, "--html", str(target))
    assert result.exit_code == 0, result.stderr
    text = target.read_text("utf-8")
    body = text[text.index("<main>") : text.index("</main>") + len("</main>")]
    root = ET.fromstring(body)
    pictures = root.findall(".//svg")
    assert len(pictures) == 3 + 1
    assert all(picture.get("aria-label") for picture in pictures)
    assert "http" not in text and "<script" not in text and "url(" not in text


def test_names_of_keys_cannot_break_the_page(tmp_path: Path) -> None:
    """Marks of HTML in the data are shown as text."""
    (tmp_path / "rows.csv").write_text("step,customer,merchant,gender,category,amount\n1,<b>&C,M,F,x,1\n", "utf-8")
    config = tmp_path / "tillwatch.yaml"
    pattern = tmp_path / "any.yaml"
    pattern.write_text("{id: Any, action: LOOK, per: customer, when: transactions > 0}", "utf-8")
    config.write_text("source: ./rows.csv\npatterns: [PatId2]\n", "utf-8")
    Pipeline.open(config).ingest(once=True)
    result = call(config, str(pattern), "--html", str(tmp_path / "page.html"))
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "&lt;b&gt;&amp;C" in text and "<b>" not in text


@pytest.fixture
def merged(config: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the pipeline whose old chunks were merged."""

    def make() -> Path:
        copy = Path(shutil.copytree(config.parent, tmp_path / "copy")) / config.name
        done = CliRunner().invoke(app, ["compact", "-c", str(copy), "--leave", "3", "--merge", "5"])
        assert done.exit_code == 0, done.stderr
        return copy

    return make


def test_merged_chunks_give_the_same(config: Path, merged: Callable[..., Path]) -> None:
    """A back-test over a compacted landing zone is that over the one before."""
    one, other = backtested(config), backtested(merged())
    assert one.differences == other.differences
    assert [(c.number, c.time) for c in one.chunks] == [(c.number, c.time) for c in other.chunks]
