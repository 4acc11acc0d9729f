"""Columns of one's own, derived columns and filters come to the same on Spark as in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tillwatch.pipeline import Pipeline
from tillwatch.status import status
from tillwatch.testing.crash import Site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]

COLUMNS = """
columns:
  age: age
  basket: {sql: "case when amount > 40 then 'large' else 'small' end || '-' || lower(gender)"}
  amount: {sql: amount * 1.21 / 2}
where: category <> 'transport' or amount > 10
"""
PATTERNS = {
    "ages.yaml": """
id: Ages
action: LOOK
per: [age, basket]
where: gender = 'F'
features: {shops: count(distinct merchant)}
when: percent_rank(total_amount) over () >= 0.5 and shops >= 5 and percent_rank(transactions) over basket <= 0.7
""",
    "buyers.yaml": """
id: Buyers
action: SEE
per: [merchant, age]
features: {baskets: count(distinct basket)}
when: baskets >= 3 and transactions >= percentile_cont(0.8, transactions) over merchant and age.transactions > 10
""",
}


WINDOWED = {
    "quick.yaml": """
id: Quick
action: LOOK
per: [age, basket]
where: gender = 'F'
features: {few: count(*) within 20 steps}
when: few >= 12 and age.transactions > 40
emit: on_enter
cleared: true
""",
    "again.yaml": """
id: Again
action: SEE
per: [merchant, age, amount]
judge: transaction
where: basket <> 'large-m'
features: {same: count(*) within 100 steps, baskets: count(distinct basket) within 100}
when: same >= 1 and age.baskets >= 2
""",
}


def prepared(site: Site, patterns: Mapping[str, str] = PATTERNS) -> Site:
    """The landed pipeline with another configuration."""
    names = "".join(f"  ./{name}: {{}}\n" for name in patterns)
    text = site.config.read_text("utf-8").replace("  PatId2:", f"{names}  PatId2:")
    site.config.write_text(text + COLUMNS, "utf-8")
    for name, pattern in patterns.items():
        (site.folder / name).write_text(pattern, "utf-8")
    return site


def test_the_result_is_that_of_the_embedded_engine(landed: Site, tmp_path: Path) -> None:
    """Detections, turns, accounts and quarantine are the same, and audit finds nothing wrong."""
    here, there = (prepared(landed.copy(tmp_path / name)) for name in ("here", "there"))
    Pipeline.open(here.config, ["engine=embedded"]).detect(once=True)
    Pipeline.open(there.config).detect(once=True)
    assert there.outcome() == here.outcome()
    assert there.problems() == []
    now = status(there.pipeline)
    assert now.filtered == status(here.pipeline).filtered > 0
    assert min(now.detections[pattern] for pattern in ("Ages", "Buyers", "PatId2")) > 0


def test_windows_and_an_edited_filter_come_to_the_same(landed: Site, tmp_path: Path) -> None:
    """The embedded engine begins; then filters of patterns are others, and either engine goes on."""
    begun = prepared(landed.copy(tmp_path / "begun"), WINDOWED)
    assert begun.work("--set", "engine=embedded", "--kill-at", "state.commit.after#4", "detect") == -9
    for name, old, new in (("quick.yaml", "= 'F'", "<> 'F'"), ("again.yaml", "large-m", "small-f")):
        (begun.folder / name).write_text(WINDOWED[name].replace(old, new), "utf-8")
    here, there = begun.copy(tmp_path / "here"), begun.copy(tmp_path / "there")
    Pipeline.open(here.config, ["engine=embedded"]).detect(once=True)
    Pipeline.open(there.config).detect(once=True)
    assert (here.problems(), there.problems()) == ([], [])
    assert here.outcome().differences(there.outcome()) == []
    now = status(there.pipeline)
    assert min(now.detections[pattern] for pattern in ("Quick", "Again", "PatId2")) > 0
    with there.pipeline.opened(readonly=True) as state:
        assert len(state.rule_sets()) == 2
        assert any(state.cleared())
