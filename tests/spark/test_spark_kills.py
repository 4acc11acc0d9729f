"""The driver killed by SIGKILL wherever state, commit, Spark's checkpoint and publishing could disagree.

A killed process is one of its own, with its own Spark; the work is ended in this one.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tillwatch.testing.crash import Site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]

KILLED = -signal.SIGKILL


def assert_right(site: Site, done: Site) -> None:
    """After the work is ended: all is as if nothing had happened."""
    site.pipeline.detect(once=True)
    assert site.outcome() == done.outcome()
    assert site.problems() == []


@pytest.mark.parametrize(
    "points",
    [
        ("state.commit.before#2",),
        ("state.commit.after#2",),
        ("state.commit.before#1", "state.commit.before#1"),
        ("state.commit.commit#2", "detections.put.link#1"),
        ("state.save_tables.after#1",),
    ],
    ids=["state written, not committed", "committed, no checkpoint", "twice in a row", "within", "tables saved"],
)
def test_a_killed_driver_leaves_nothing_undone(site: Site, done: Site, points: tuple[str, ...]) -> None:
    """Killed between the executors' state and the commit, between the commit and Spark's checkpoint, twice in a row,
    within the commit's transaction, while publishing, between the saving of tables and the note of it."""
    for point in points:
        assert site.work("--batch-chunks", "6", "--kill-at", point, "detect") == KILLED, site.said
    assert_right(site, done)


def test_a_driver_killed_inside_a_batch_leaves_nothing_undone(site: Site, done: Site) -> None:
    """Killed twice as soon as an executor has put the state of a shard, wherever the driver is then."""
    shards = site.folder / "tillwatch-data/spark/shards"
    for _ in range(2):
        before = objects(shards)
        process = site.start("--batch-chunks", "4", "detect")
        wait_for_other(shards, before)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert_right(site, done)


def objects(folder: Path) -> set[str]:
    """The names below a folder."""
    return {p.name for p in folder.glob("*/*") if not p.name.startswith(".")}


def wait_for_other(folder: Path, before: set[str], seconds: float = 90.0) -> None:
    """Returns as soon as there is an object that was not there before."""
    from watchfiles import watch

    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    for _ in watch(folder, yield_on_timeout=True, rust_timeout=100, debounce=1, step=1):
        if objects(folder) - before:
            return
        assert time.monotonic() < until, "no shard was put"
