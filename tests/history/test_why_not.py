"""Why a pattern does not hold for a key, now and then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tillwatch.cli.app import app
from tillwatch.errors import ConfigError, LogError, StateConflict, StateMissing
from tillwatch.history.why_not import Answer, why_not
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry

LAST = 23


def pairs(pipeline: Pipeline) -> list[tuple[dict[str, str], int, float]]:
    """Every pair with its transactions and average at the end, as the state's view has them."""
    with pipeline.opened(readonly=True) as state:
        from tillwatch.detect.snapshot import shapes

        shape = next(s for s in shapes(pipeline.setup.program) if s.name == "customer_merchant")
        rows = state.load_table(shape).columns
    keys = [{"customer": c, "merchant": m} for c, m in zip(rows["customer"], rows["merchant"], strict=True)]
    averages = [s / (n * 10_000) for s, n in zip(rows["sum_amount"], rows["transactions"], strict=True)]
    return list(zip(keys, rows["transactions"], averages, strict=True))


def test_each_clause_has_its_value_and_what_it_lacks(pipeline: Pipeline, retry: Retry) -> None:
    """Of PatId2 (8 transactions, below 25 on average): counts and averages are the state's, gaps are exact."""
    few = [p for p in pairs(pipeline) if p[1] < 8 and p[2] >= 25][:3]
    assert few
    for key, count, average in few:
        answer = why_not(pipeline, "PatId2", key, None, retry)
        assert (answer.chunk, answer.holds, answer.detected) == (LAST, False, None)
        assert answer.condition is not None
        first, second = answer.condition.leaves()
        assert (first.text, first.truth, first.sides[0]) == ("transactions >= 8", False, ("transactions", count))
        assert (second.text, second.truth, second.sides[0]) == ("avg_amount < 25", False, ("avg_amount", average))
        assert first.need is not None and second.need is not None
        more = 8 - count
        assert (first.need.by, first.need.text) == (more, f"{more} more transaction{'' if more == 1 else 's'}")
        assert second.need.by == pytest.approx(25 - average)
        assert second.need.text.startswith("avg_amount ")


def same_condition(one: Answer, other: Answer) -> bool:
    return (one.condition, one.holds, one.key) == (other.condition, other.holds, other.key)


@pytest.mark.parametrize("pattern", ["PatId1", "PatId2", "PatId3"])
def test_the_state_and_the_log_give_the_same_answer(pipeline: Pipeline, retry: Retry, pattern: str) -> None:
    """What the saved tables say now is what folding up to the last chunk gives, detections and all."""
    for key, _, _ in pairs(pipeline)[::200]:
        given = key if pattern != "PatId3" else {"merchant": key["merchant"]}
        now, then = (why_not(pipeline, pattern, given, at, retry) for at in (None, LAST))
        assert same_condition(now, then)
        assert (now.detected and now.detected.chunk) == (then.detected and then.detected.chunk)


def test_an_earlier_chunk_is_looked_at_as_it_was(pipeline: Pipeline, retry: Retry) -> None:
    """Before the chunk of its detection a key did not hold; after it it did."""
    with pipeline.opened(readonly=True) as state:
        stored = next(s for s in list(state.detections()) if s.detection.pattern == "PatId2" and s.detection.chunk > 3)
    d = stored.detection
    before, after = (why_not(pipeline, "PatId2", d.key, at, retry) for at in (d.chunk - 1, d.chunk))
    assert (before.holds, before.detected) == (False, None)
    assert after.holds and after.detected is not None and after.detected.chunk == d.chunk
    now = why_not(pipeline, "PatId2", d.key, None, retry)
    assert now.detected is not None and now.detected.seq == stored.seq


def test_keys_are_cleaned_as_rows_are(pipeline: Pipeline, retry: Retry) -> None:
    """White space and quotes around what was typed do not matter."""
    key, _, _ = pairs(pipeline)[0]
    typed = {name: f" '{text}' " for name, text in key.items()}
    assert same_condition(
        why_not(pipeline, "PatId2", typed, None, retry), why_not(pipeline, "PatId2", key, None, retry)
    )


def test_a_key_that_never_came_is_told(pipeline: Pipeline, retry: Retry) -> None:
    """Which of its parts never came either is told too."""
    key, _, _ = pairs(pipeline)[0]
    answer = why_not(pipeline, "PatId2", {**key, "customer": "nobody"}, None, retry)
    assert (answer.condition, answer.holds, answer.unseen) == (None, False, ("customer",))
    assert why_not(pipeline, "PatId2", {**key, "customer": "nobody"}, 3, retry).condition is None


@pytest.mark.parametrize(
    ("pattern", "key", "at", "said"),
    [
        ("Pat2", {"merchant": "M"}, None, "no pattern 'Pat2' in this configuration; did you mean 'PatId2'"),
        ("PatId2", {"merchant": "M"}, None, "PatId2 is per customer, merchant; say which customer"),
        ("PatId3", {"merchant": "M", "gender": "F"}, None, "PatId3 is per merchant; 'gender' is not one of its keys"),
        ("PatId3", {"merchant": " '' "}, None, "merchant is empty"),
        ("PatId3", {"merchant": "M"}, 99, "chunk 99 is not landed; the last one is 23"),
    ],
)
def test_wrong_questions_are_told(
    pipeline: Pipeline, retry: Retry, pattern: str, key: Mapping[str, str], at: int | None, said: str
) -> None:
    """What is wrong is said before anything is answered."""
    with pytest.raises((ConfigError, LogError), match=said):
        why_not(pipeline, pattern, key, at, retry)


def test_other_thresholds_can_be_asked_about_from_the_log_alone(config: Path, retry: Retry) -> None:
    """The state is of other ones, and says so; the log is of none."""
    other = Pipeline.open(config, ["patterns.PatId2.transactions=50"])
    key, count, _ = pairs(Pipeline.open(config))[0]
    with pytest.raises(StateConflict, match="made by another configuration"):
        why_not(other, "PatId2", key, None, retry)
    answer = why_not(other, "PatId2", key, LAST, retry)
    assert answer.condition is not None
    need = answer.condition.leaves()[0].need
    assert need is not None and need.by == 50 - count


def test_without_a_run_there_is_no_answer(config: Path, tmp_path: Path, retry: Retry) -> None:
    """Nothing is made by asking."""
    copy = Path(shutil.copy(config, tmp_path))
    with pytest.raises(StateMissing):
        why_not(Pipeline.open(copy), "PatId3", {"merchant": "M"}, None, retry)
    assert list(tmp_path.iterdir()) == [copy]


def ask(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["why-not", *arguments, "-c", str(config)])


def test_the_command_says_it_for_people_and_programs(config: Path, pipeline: Pipeline, retry: Retry) -> None:
    """Values and needs stand below their clauses; the JSON is what the library says."""
    key, count, _ = next(p for p in pairs(pipeline) if p[1] < 7)
    options = ["PatId2", "--customer", key["customer"], "--key", f"merchant={key['merchant']}"]
    text = ask(config, *options)
    assert (text.exit_code, text.stderr) == (0, "")
    assert f"  false    transactions >= 8\n             transactions is {count}\n" in text.stdout
    assert f"needs {8 - count} more transactions\n" in text.stdout
    said = json.loads(ask(config, *options, "--format", "json").stdout)
    assert said == json.loads(json.dumps(why_not(pipeline, "PatId2", key, None, retry).as_json()))
    assert said["condition"]["parts"][0]["need"]["by"] == 8 - count
    unknown = ask(config, "PatId2", "--customer", "nobody", "--merchant", key["merchant"])
    assert unknown.exit_code == 0 and "customer nobody never came at all" in unknown.stdout
    assert ask(config, "PatId2", "--key", "merchant").exit_code == 2


def test_a_key_that_is_detected_is_told_with_its_number(config: Path, pipeline: Pipeline) -> None:
    """And how to have it explained."""
    with pipeline.opened(readonly=True) as state:
        stored = next(iter(list(state.detections(5, 5))))
    d = stored.detection
    options = [word for name, text in d.key.items() for word in ("--key", f"{name}={text}")]
    said = ask(config, d.pattern, *options).stdout
    assert f"it was detected already, at chunk {d.chunk}: seq 5 (tillwatch explain 5)" in said
