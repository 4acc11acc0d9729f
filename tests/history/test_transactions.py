"""Looking back at patterns with windows, and at those that are judged on each transaction."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.cli.app import app
from tillwatch.config import PatternChoice
from tillwatch.engine.dictionary import clean
from tillwatch.engine.fold import Fold
from tillwatch.engine.row_judge import RowJudge
from tillwatch.generate import generate
from tillwatch.history.backtest import backtest
from tillwatch.history.clauses import KeyView
from tillwatch.history.drafts import trial
from tillwatch.history.explain import explain
from tillwatch.history.needs import Needs
from tillwatch.history.next_row import NextRowView
from tillwatch.history.refold import slot_of
from tillwatch.history.sweep import read_sweep
from tillwatch.history.why_not import why_not
from tillwatch.model import Detection
from tillwatch.patterns.catalogue import load_patterns
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry
from tillwatch.testing.folding import Row, fold_of, pattern_text, step
from tillwatch.testing.windowed import timed_streams

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "60"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

BUSY = """\
id: Busy
action: LOOK
per: [merchant]
thresholds: {recent: 100}
features: {recent: count(*) within 5 steps}
when: recent >= :recent
"""
ODD = """\
id: Odd
action: VERIFY
per: [customer]
judge: transaction
when: transactions >= 5 and amount > avg_amount + 2 * stddev_amount and category <> 'es_food'
"""
CONFIG = """\
source: {{uri: {source}, rows: 250}}
patterns:
  FREQUENCY: {{transactions: 2}}
  OUTLIER: {{transactions: 5, deviations: 2}}
  ./busy.yaml: {{}}
  ./odd.yaml: {{}}
"""


@pytest.fixture(scope="session")
def transactions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a pipeline with such patterns that has run."""
    folder = tmp_path_factory.mktemp("transactions")
    data = generate(folder, rows=6000, customers=500, merchants=30, seed=3, faults=0.005)
    path = folder / "tillwatch.yaml"
    (folder / "busy.yaml").write_text(BUSY, "utf-8")
    (folder / "odd.yaml").write_text(ODD, "utf-8")
    path.write_text(CONFIG.format(source=data.transactions), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Pipeline.open(path).run(once=True)
    return path


@pytest.fixture
def here(transactions: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """It, opened anew in its folder."""
    monkeypatch.chdir(transactions.parent)
    return Pipeline.open(transactions)


def stored(pipeline: Pipeline, pattern: str | None = None) -> list[tuple[int, Detection]]:
    with pipeline.opened(readonly=True) as state:
        return [(s.seq, s.detection) for s in state.detections() if pattern in (None, s.detection.pattern)]


def test_a_back_test_gives_what_the_pipeline_detected(here: Pipeline, transactions: Path, retry: Retry) -> None:
    """Windows and transactions too, and a point of a sweep is the pattern in force where it has its value."""
    sweeps = [read_sweep("FREQUENCY.transactions=1:3:1"), read_sweep("Busy.recent=90,100")]
    found = backtest(trial(transactions, (), (), retry), sweeps, 0, None, retry)
    assert [d for each in found.differences for d in each.now] == [
        d for each in found.differences for _, d in stored(here, each.pattern)
    ]
    assert all(each.is_none for each in found.differences)
    assert any(each.now for each in found.differences if each.pattern == "FREQUENCY")
    frequency, busy = ([len(p.difference.draft) for p in swept.points] for swept in found.sweeps)
    assert frequency[0] > frequency[1] == len(stored(here, "FREQUENCY")) >= frequency[2]
    assert busy[0] >= busy[1] == len(stored(here, "Busy"))


@pytest.mark.parametrize("pattern", ["FREQUENCY", "OUTLIER", "Odd"])
def test_the_transactions_before_recount_to_the_evidence(here: Pipeline, retry: Retry, pattern: str) -> None:
    """The last transaction shown is the one that was judged; those before it give the values."""
    mine = stored(here, pattern)
    for seq, detection in mine[:: max(1, len(mine) // 4)]:
        found = explain(here, seq, 10_000, retry)
        *before, judged = [t.cells for t in found.newest]
        assert (found.row, found.condition.truth) == (found.newest[-1].place.row, True)
        evidence = detection.evidence
        if pattern == "FREQUENCY":
            now = int(clean(str(judged["step"])))
            assert (
                sum(now - 1 < int(clean(str(row["step"]))) <= now for row in before) == evidence["features"]["recent"]
            )
            continue
        amounts = np.array([round(float(clean(str(row["amount"]))) * 10_000) for row in before])
        assert evidence["features"]["transactions"] == len(before) == found.rows - 1
        assert evidence["features"]["avg_amount"] == amounts.sum() / (len(before) * 10_000)
        assert evidence["features"]["stddev_amount"] == pytest.approx(np.std(amounts / 10_000, ddof=1))
        assert evidence["columns"]["amount"] == float(clean(str(judged["amount"])))


def test_each_clause_of_a_transaction_has_its_values(here: Pipeline, retry: Retry) -> None:
    """Its own columns too, a text as it is."""
    seq, detection = stored(here, "Odd")[0]
    leaves = explain(here, seq, 0, retry).condition.leaves()
    assert [leaf.truth for leaf in leaves] == [True] * 3
    assert leaves[1].sides[0] == ("amount", detection.evidence["columns"]["amount"])
    assert leaves[2].sides == (("category", detection.evidence["columns"]["category"]), ("'es_food'", "es_food"))
    said = json.loads(CliRunner().invoke(app, ["explain", str(seq), "--format", "json"]).stdout)
    assert said["chunk"]["row"] == detection.evidence["row"]


def test_the_next_transaction_of_a_key_is_what_is_asked_about(here: Pipeline, retry: Retry) -> None:
    """Its columns are unknown and said to be what is needed; the values before it are known."""
    key = stored(here, "OUTLIER")[0][1].key
    now, then = (why_not(here, "OUTLIER", key, at, retry) for at in (None, 23))
    assert now.condition == then.condition and now.detected is not None and not now.holds
    assert now.condition is not None
    count, amount = now.condition.leaves()
    assert (count.truth, amount.truth, amount.sides[0]) == (True, None, ("amount", None))
    assert amount.need is not None and amount.need.text.startswith("a transaction with amount > ")
    text = CliRunner().invoke(app, ["why-not", "OUTLIER", "--customer", key["customer"]]).stdout
    assert f"needs {amount.need.text}\n" in text


def test_an_amount_can_be_part_of_a_key(here: Pipeline, transactions: Path, retry: Retry) -> None:
    """It is read as rows are: 33.130 is 33.13."""
    duplicate = Pipeline(here.settings.model_copy(update={"patterns": (PatternChoice(ref="DUPLICATE"),)}))
    assert load_patterns([PatternChoice(ref="DUPLICATE")])[0].per == ("customer", "merchant", "category", "amount")
    row = here.landing.read(0).frame.row(0, named=True)
    key = {name: clean(str(row[name])) for name in ("customer", "merchant", "category")}
    answer = why_not(duplicate, "DUPLICATE", {**key, "amount": f"{clean(row['amount'])}00"}, 0, retry)
    assert answer.condition is not None and "." not in answer.key["amount"][-1:]
    assert answer.condition.leaves()[0].sides[0][0] == "same"


def folded(text: str, chunks: list[list[Row]]) -> tuple[Fold, list[Detection]]:
    fold = fold_of([text])
    return fold, [d for n, rows in enumerate(chunks) for d in step(fold, n, rows).detections]


features = {"near": "count(*) within 3 steps", "tiny": "count(*) filter (where amount < 5) within 2 steps"}
clauses = st.builds(
    lambda name, op, n: f"{name} {op} {n}",
    st.sampled_from([*features]),
    st.sampled_from([">", ">=", "="]),
    st.sampled_from(["0", "1", "3", "4.5", "9"]),
)


@settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(clauses, timed_streams(), st.sampled_from(["chunk", "transaction"]), st.data())
def test_so_many_more_transactions_now_make_a_window_full(
    when: str, chunks: list[list[Row]], judge: str, data: st.DataObject
) -> None:
    """What a window lacks is enough when it comes now, and one fewer is not."""
    text = pattern_text(["customer", "merchant"], when, features, judge=judge)
    fold, _ = folded(text, chunks)
    key = data.draw(st.sampled_from(sorted({(row[0], row[1]) for rows in chunks for row in rows})))
    named = {"customer": key[0], "merchant": key[1]}
    slot = slot_of(fold, fold.program.plans[0], named)
    assert slot is not None
    one = fold.judges[0]
    view = NextRowView(fold, one, named, 0) if isinstance(one, RowJudge) else KeyView(one.condition, slot, 0)
    (leaf,) = Needs(view, one.plan, fold.tables, negative=True).of(view.clause(one.plan.tree)).leaves()
    if leaf.need is None or leaf.need.by is None or leaf.need.by <= 0 or not leaf.need.possible:
        return
    now = f"{(fold.windows.clock or 0) / 1e6:g}"
    rows: list[Row] = [(*key, "a", "F", "1", now)] * int(leaf.need.by)
    next_one = rows[:1] if judge == "transaction" else []
    assert true_for(text, [*chunks, [*rows, *next_one]], slot)
    if rows[1:] or next_one:
        assert not true_for(text, [*chunks, [*rows[1:], *next_one]], slot)


def true_for(text: str, chunks: list[list[Row]], slot: int) -> bool:
    """Whether the pattern holds for a key after the chunks, or for its last transaction."""
    fold, _ = folded(text, chunks)
    return bool(fold.judges[0].holding[slot])
