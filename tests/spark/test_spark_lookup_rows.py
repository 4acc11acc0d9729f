"""Texts that lookups join to rows, and keys that are required, come to the same on Spark as in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.pipeline import Pipeline
from tillwatch.status import status
from tillwatch.testing.crash import Site
from tillwatch.testing.small import add_lookups

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
