"""The driver killed by SIGKILL wherever executors' state, commit and publishing could disagree, while X lands chunks.

A killed process is one of its own, with its own Spark, and costs some ten seconds; the work is ended in this one.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tillwatch.pipeline import Event, Landed, Pipeline
from tillwatch.spark.manifest import NOTE, from_text
from tillwatch.testing.crash import Site, finish

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]

ROWS, CHUNKS = 20, 300
EVERY = 0.3
PATIENCE = 180.0

# Where a process dies: at a point of the driver, or as soon as an executor has put something into a folder.
KILLS: Mapping[str, str] = {
    "executors' state put, batch at work": "folder:spark/shards",
    "committed, not published": "point:state.commit.after#1",
    "published, not marked": "point:detections.put.after#1",
    "chunks read, executors' state not put": "folder:quarantine",
    "executors' state put, not committed": "point:state.commit.before#1",
    "within the commit": "point:state.commit.commit#1",
    "planned, not published": "point:detections.put.before#1",
    "marked": "point:state.mark_published.after#1",
    "tables saved, not noted": "point:state.save_tables.after#1",
    "garbage known, not removed": "point:shards.delete.before#1",
}


def test_killed_drivers_leave_nothing_undone(
    fine: Site, done_fine: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed again and again while chunks land: what is there once stays, and all ends as if nothing had happened."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    seen: dict[str, dict[str, bytes]] = {}
    with landing(fine, len(KILLS) + 1) as next_part:
        for name, how in KILLS.items():
            next_part()
            kill(fine, *how.split(":"))
            there = fine.objects()
            assert {r: {n: there[r].get(n) for n in files} for r, files in seen.items()} == seen, name
            assert named(fine) <= objects(fine), name
            seen = there
        next_part()
    fine.pipeline.detect(once=True)
    assert set(fine.outcome().differences(done_fine.outcome())) <= {"published"}  # by then some files were short
    assert fine.problems() == []
    assert named(fine) == objects(fine)
    assert [p.name for p in temporary.iterdir() if not p.name.startswith("pymp-")] == []  # that is of the tests


@contextmanager
def landing(site: Site, parts: int) -> Iterator[Callable[[], None]]:
    """Mechanism X at work beside; each call allows it one more part of the chunks. Returns when all are landed."""
    allowed, landed = threading.Semaphore(0), threading.Event()
    size = -(-CHUNKS // parts)

    def pace(event: Event) -> None:
        if isinstance(event, Landed):
            if (event.chunk + 1) % size == 0:
                allowed.acquire()
            landed.wait(EVERY)

    def work() -> None:
        allowed.acquire()
        site.pipeline.ingest(once=True, observer=pace)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield allowed.release
        landed.set()  # nobody is killed any more: the rest at once
    finally:
        for _ in range(parts):
            allowed.release()
        landed.set()
        thread.join()


def kill(site: Site, kind: str, where: str) -> None:
    """A driver that works until it dies there, by SIGKILL."""
    if kind == "point":
        process = site.start("--batch-chunks", "8", "--endless", "--kill-at", where, "detect")
    else:
        folder = site.folder / "tillwatch-data" / where
        before = names(folder)
        process = site.start("--batch-chunks", "8", "--endless", "detect")
        wait_for_other(folder, before, process)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    assert finish(process, PATIENCE) == -signal.SIGKILL, site.said


def wait_for_other(folder: Path, before: set[str], process: BaseProcess) -> None:
    """Returns as soon as there is an object that was not there before."""
    from watchfiles import watch

    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + PATIENCE
    for _ in watch(folder, yield_on_timeout=True, rust_timeout=100, debounce=1, step=1):
        if names(folder) - before:
            return
        assert process.is_alive() and time.monotonic() < until, "nothing was put"


def names(folder: Path) -> set[str]:
    """The objects below a folder."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")}


def objects(site: Site) -> set[str]:
    """The objects of the executors' state."""
    return {f"shards/{name}" for name in names(site.folder / "tillwatch-data/spark/shards")}


def named(site: Site) -> frozenset[str]:
    """Those that count."""
    with Pipeline.open(site.config).opened(readonly=True) as state:
        manifest = from_text(state.get_meta(NOTE))
    return manifest.named if manifest else frozenset()
