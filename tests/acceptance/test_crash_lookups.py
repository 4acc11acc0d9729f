"""Killed while rows are looked up, set aside and marked: the result is that of a run that never crashed."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tillwatch.testing import crash
from tillwatch.testing.crash import Site
from tillwatch.testing.small import add_lookups, change_lookups


@pytest.fixture(scope="module")
def sites(landed: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """A landed pipeline with lookups of customers and shops; and the same after its whole work."""
    site = landed.copy(tmp_path_factory.mktemp("looked") / "site")
    add_lookups(site.config)
    whole = site.copy(tmp_path_factory.mktemp("whole") / "site")
    assert whole.work("--record", str(whole.folder / "detect.points"), "detect") == 0, whole.said
    assert whole.problems() == []
    return site, whole


def test_the_whole_run_has_everything_in_it(sites: tuple[Site, Site]) -> None:
    """Rows of all three kinds in most chunks, and detections by texts, also by the one that is not known."""
    outcome = sites[1].outcome()
    assert outcome.marked["segment"] > 100
    assert sum((c.filtered or 0) > 0 for c in outcome.chunks) > 20
    assert len(outcome.quarantined) > 20
    keys = [key for _, _, pattern, _, key, *_ in outcome.detections if pattern == "Segment"]
    assert {key["segment"] for key in keys} == {"", "new"}  # type: ignore[index]
    assert {pattern for _, _, pattern, *_ in outcome.detections} >= {"Segment", "Unknown"}
    with closing(sqlite3.connect(sites[1].folder / "tillwatch-data/state.db")) as db:
        assert db.execute("SELECT count(*) FROM marked").fetchone()[0] > 20


@pytest.mark.parametrize("which", ["first", pytest.param("middle", marks=pytest.mark.slow)])
def test_killed_around_each_chunk_that_has_marked_rows(
    sites: tuple[Site, Site], which: crash.Which, tmp_path: Path
) -> None:
    """At the statement that notes marked rows, at those around it, and when rows are set aside."""
    site, whole = sites
    passed = crash.occurrences(crash.writing(whole.folder / "detect.points"), which)
    at = [p for p in passed if p.startswith(("state.commit.", "quarantine.put."))]
    assert any("insert-marked" in point for point in at)
    chosen = [
        p for p in at if any(step in p for step in ("marked", ".after", ".link", "insert-quarantine", "commit.c"))
    ]
    for point in chosen:
        killed = site.copy(tmp_path / point)
        assert killed.work("--kill-at", point, "detect") == -signal.SIGKILL, (point, killed.said)
        assert killed.work("detect") == 0, killed.said
        assert killed.problems() == []
        assert killed.outcome().differences(whole.outcome()) == [], point


@pytest.fixture(scope="module")
def refreshed(sites: tuple[Site, Site], tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """A pipeline killed on the way, whose lookups of rows changed then; and the same after its whole work."""
    site = sites[0].copy(tmp_path_factory.mktemp("changed") / "site")
    assert site.work("--kill-at", "state.commit.after#4", "detect") == -signal.SIGKILL, site.said
    change_lookups(site.config)
    whole = site.copy(tmp_path_factory.mktemp("changed") / "whole")
    assert whole.work("--record", str(whole.folder / "detect.points"), "detect") == 0, whole.said
    assert whole.problems() == []
    return site, whole


def test_killed_around_versions_of_lookups_of_rows(
    refreshed: tuple[Site, Site], sites: tuple[Site, Site], tmp_path: Path
) -> None:
    """Where they are kept and recorded, and where rows are marked and set aside by them, a restart does the same."""
    site, whole = refreshed
    outcome, before = whole.outcome(), sites[1].outcome()
    versions = {(name, number): first for name, number, first, *_ in outcome.lookups}
    assert versions.keys() == {(n, 1) for n in ("segment", "shops", "importance")} | {("segment", 2)}
    assert versions["segment", 2] > 0
    assert outcome.marked != before.marked
    assert outcome.quarantined == before.quarantined
    assert outcome.detections != before.detections
    at = crash.occurrences(crash.writing(whole.folder / "detect.points"), "first")
    steps = ("landing.put.", "lookup_versions", "insert-marked", "insert-quarantine", "quarantine.put.", "commit.after")
    chosen = [point for point in at if any(step in point for step in steps)]
    for step in steps[:5]:
        assert any(step in point for point in chosen), step
    for point in chosen:
        killed = site.copy(tmp_path / point)
        assert killed.work("--kill-at", point, "detect") == -signal.SIGKILL, (point, killed.said)
        assert killed.work("detect") == 0, killed.said
        assert killed.problems() == []
        assert killed.outcome().differences(outcome) == [], point
