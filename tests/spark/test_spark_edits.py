"""Patterns that were edited between runs, on Spark: what the embedded engine finds, and the same state."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.pipeline import Pipeline
from tillwatch.testing.crash import Site
from tillwatch.testing.small import add_lives

EMBEDDED = "engine=embedded"


@pytest.mark.usefixtures("spark")
def test_an_edit_is_taken_by_the_next_run(landed: Site, tmp_path: Path) -> None:
    """After eight chunks thresholds are others, one pattern is gone, five are new; audit proves both; and again."""
    begun = landed.copy(tmp_path / "begun")
    assert begun.work("--set", EMBEDDED, "--kill-at", "state.commit.after#4", "detect") == -9
    text = begun.config.read_text().replace("transactions: 8", "transactions: 6")
    patterns, rest = text.split("engine: spark")
    begun.config.write_text(patterns.replace("  PatId3: {female_customers: 3}\n", ""))
    add_lives(begun.config)
    begun.config.write_text(f"{begun.config.read_text()}engine: spark{rest}")
    here, there = begun.copy(tmp_path / "here"), begun.copy(tmp_path / "there")
    Pipeline.open(here.config, [EMBEDDED]).detect(once=True)
    Pipeline.open(there.config).detect(once=True)
    assert (here.problems(), there.problems()) == ([], [])
    assert here.outcome().differences(there.outcome()) == []
    with there.pipeline.opened(readonly=True) as state:
        assert [r.first for r in state.rule_sets()] == [0, 8]
        assert (state.cursor().chunk, state.cursor().tables) == (24, 24)
