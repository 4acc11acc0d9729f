"""Columns of one's own, derived columns and filters come to the same on Spark as in one process."""

from __future__ import annotations

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


def prepared(site: Site) -> Site:
    """The landed pipeline with another configuration."""
    text = site.config.read_text("utf-8").replace("  PatId2:", "  ./ages.yaml: {}\n  ./buyers.yaml: {}\n  PatId2:")
    site.config.write_text(text + COLUMNS, "utf-8")
    for name, pattern in PATTERNS.items():
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
