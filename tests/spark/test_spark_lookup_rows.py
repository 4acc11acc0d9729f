"""Texts that lookups join to rows, and keys that are required, come to the same on Spark as in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.pipeline import Pipeline
from tillwatch.status import status
from tillwatch.testing.crash import Site
from tillwatch.testing.small import add_lookups, change_lookups

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]


def test_the_result_is_that_of_the_embedded_engine(landed: Site, tmp_path: Path) -> None:
    """Detections, turns, marked and quarantined rows are the same, and audit finds nothing wrong; a restart, too."""
    here, there = (landed.copy(tmp_path / name) for name in ("here", "there"))
    for site in (here, there):
        add_lookups(site.config)
    Pipeline.open(here.config, ["engine=embedded"]).detect(once=True)
    assert there.work("--set", "engine=embedded", "--kill-at", "state.commit.after#3", "detect") == -9
    Pipeline.open(there.config).detect(once=True)
    assert here.outcome().differences(there.outcome()) == []
    assert (here.problems(), there.problems()) == ([], [])
    now = status(there.pipeline)
    assert min(now.quarantined["shops_unknown"], now.marked["segment"], now.filtered) > 0
    assert min(now.detections[pattern] for pattern in ("Segment", "Unknown", "PatId1", "PatId2")) > 0
    joined = there.folder / "tillwatch-data/spark/joined"
    assert sorted(path.name for path in joined.rglob("*.parquet")) == ["segment.parquet", "shops.parquet"]


def test_versions_are_those_of_the_embedded_engine(landed: Site, tmp_path: Path) -> None:
    """Rows before the chunk are looked up in the old ones, also those that are folded again; later rows in the new."""
    begun = landed.copy(tmp_path / "begun")
    add_lookups(begun.config)
    assert begun.work("--set", "engine=embedded", "--kill-at", "state.commit.after#4", "detect") == -9
    change_lookups(begun.config)
    here, there = (begun.copy(tmp_path / name) for name in ("here", "there"))
    Pipeline.open(here.config, ["engine=embedded"]).detect(once=True)
    Pipeline.open(there.config).detect(once=True)
    assert here.outcome().differences(there.outcome()) == []
    assert (here.problems(), there.problems()) == ([], [])
    later = [(name, first) for name, number, first, *_ in there.outcome().lookups if number == 2]
    assert later == [("segment", 8)]
