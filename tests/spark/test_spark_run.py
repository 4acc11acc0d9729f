"""The Spark engine on a small data set with everything in it comes to what the embedded one comes to."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tillwatch.detect.loop import Processed
from tillwatch.errors import LogError, StateConflict
from tillwatch.pipeline import Pipeline
from tillwatch.spark import detect
from tillwatch.spark.manifest import NOTE, Manifest, from_text
from tillwatch.testing.crash import Site
from tillwatch.testing.sparks import untouched

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches a run."""
    monkeypatch.setattr(detect, "BATCH_CHUNKS", 8)


def run(site: Site, engine: str = "spark", *overrides: str) -> None:
    """Works off what is landed."""
    Pipeline.open(site.config, [f"engine={engine}", *overrides]).detect(once=True)


def hold_back(site: Site, chunks: int) -> Path:
    """Leaves so many chunks in the landing zone, the others go to the folder that is returned."""
    away = site.folder / "away"
    away.mkdir(exist_ok=True)
    for file in sorted((site.folder / "tillwatch-data/landing").iterdir())[chunks:]:
        file.rename(away / file.name)
    return away


def bring_back(site: Site, chunks: int = 1_000) -> None:
    """Lands so many of the chunks that were held back."""
    for file in sorted((site.folder / "away").iterdir())[:chunks]:
        file.rename(site.folder / "tillwatch-data/landing" / file.name)


def manifest(site: Site) -> Manifest:
    """What the state says of the executors' state."""
    with site.pipeline.opened(readonly=True) as state:
        found = from_text(state.get_meta(NOTE))
    assert found is not None
    return found


def objects(site: Site) -> set[str]:
    """The objects of the executors' state."""
    folder = site.folder / "tillwatch-data/spark"
    return {str(p.relative_to(folder)) for p in folder.glob("shards/*/*")}


def table(site: Site, name: str) -> list[tuple[object, ...]]:
    """What people read of a view."""
    with sqlite3.connect(site.folder / "tillwatch-data/state.db") as db:
        return sorted(db.execute(f"SELECT * FROM {name}"), key=repr)  # noqa: S608


def test_the_result_is_that_of_the_embedded_engine(site: Site, done: Site) -> None:
    """Detections, turns, accounts, quarantine, published files and tables are the same; only named objects are left."""
    assert untouched(done.pipeline) > 3  # patterns come true also for keys that a chunk has no row of
    run(site)
    assert site.outcome() == done.outcome()
    assert site.problems() == []
    for name in ("customer_merchant_stats", "merchant_transaction_counts", "merchant_gender_stats"):
        assert table(site, name) == table(done, name)
    assert objects(site) == manifest(site).named


def test_x_and_y_together_give_the_same(new: Site, done: Site) -> None:
    """`run --once` lands and detects side by side."""
    Pipeline.open(new.config).run(once=True)
    assert new.outcome().detections == done.outcome().detections
    assert new.problems() == []


def test_an_endless_run_keeps_up_and_stops(site: Site, done: Site) -> None:
    """Chunks that land while Spark waits are worked off; when none waits, lingering detections are published and the
    tables are saved; a stop ends it cleanly."""
    away, stop, seen, failed = hold_back(site, 4), threading.Event(), threading.Semaphore(0), []

    def observe(event: object) -> None:
        if isinstance(event, Processed):
            for _ in range(event.first, event.last + 1):
                seen.release()

    def work() -> None:
        try:
            site.pipeline.detect(stop=stop, observer=observe)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for landed in (4, 10, 10):
            for _ in range(landed):
                assert seen.acquire(timeout=60), failed
            bring_back(site, 10)
        wait_until(lambda: published(site) == len(done.outcome().detections) and tables(site) == 24)
    finally:
        stop.set()
        thread.join()
    assert not list(away.iterdir())
    assert site.outcome().differences(done.outcome()) in ([], ["published"])
    assert site.problems() == []


def published(site: Site) -> int:
    """How many detections are in files."""
    return sum(len(data.splitlines()) - 1 for data in site.objects()["detections"].values())


def tables(site: Site) -> int:
    """Before which chunk the tables hold the state."""
    with site.pipeline.opened(readonly=True) as state:
        return state.cursor().tables


def wait_until(true: Callable[[], bool]) -> None:
    """Returns when it is so."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_engines_take_turns(site: Site, done: Site) -> None:
    """Embedded, Spark, embedded, Spark on one pipeline: no gap, no double, nothing to be done in between."""
    hold_back(site, 6)
    run(site, "embedded")
    for engine in ("spark", "embedded", "spark"):
        bring_back(site, 6)
        run(site, engine)
        assert site.problems() == []
    assert site.outcome().differences(done.outcome()) == ["published"]  # each run ended with a short file


def test_other_buckets_and_lost_objects(site: Site, done: Site) -> None:
    """With another number of buckets, and when objects are missing, the state is made again from the log."""
    hold_back(site, 8)
    run(site)
    bring_back(site, 8)
    run(site, "spark", "spark.buckets=3")
    assert manifest(site).buckets == 3
    bring_back(site)
    shutil.rmtree(site.folder / "tillwatch-data/spark")
    run(site, "spark", "spark.buckets=3")
    assert site.outcome().differences(done.outcome()) == ["published"]  # each run ended with a short file
    assert site.problems() == []
    assert objects(site) == manifest(site).named


def test_a_state_that_stays_is_gone_on_from(site: Site, done: Site) -> None:
    """Runs one after the other, each with some more chunks and garbage in between; the number of buckets stays."""
    away = hold_back(site, 3)
    while True:
        run(site, "spark", "spark.buckets=null")
        assert manifest(site).buckets == 2
        garbage = site.folder / "tillwatch-data/spark/shards/00000/0.delta"
        garbage.write_bytes(b"left by a killed task")
        if not list(away.iterdir()):
            break
        bring_back(site, 12)
    assert site.outcome().differences(done.outcome()) == ["published"]  # each run ended with a short file
    assert site.problems() == []


def test_a_log_that_was_changed_is_told(site: Site) -> None:
    """When the chunks in between do not give what was committed, nothing is committed on top of it."""
    hold_back(site, 10)
    run(site, "embedded")
    with sqlite3.connect(site.folder / "tillwatch-data/state.db") as db:
        db.execute("DELETE FROM detections WHERE seq = (SELECT max(seq) FROM detections)")
    with pytest.raises(StateConflict, match="which are not the"):
        run(site)


def test_errors_of_tasks_come_as_they_are(site: Site) -> None:
    """A damaged chunk is told as the embedded engine tells it, not as Spark would."""
    chunk = site.folder / "tillwatch-data/landing/000000000012.parquet"
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-100] + bytes(100))
    with pytest.raises(LogError, match=r"000000000012\.parquet"):
        run(site)
    chunk.write_bytes(good)
    run(site)
    assert site.problems() == []


def test_a_missing_chunk_is_told(site: Site) -> None:
    """Chunks behind a gap are not judged, and the run says so."""
    (site.folder / "tillwatch-data/landing/000000000007.parquet").unlink()
    with pytest.raises(LogError, match="chunk 8 but not chunk 7"):
        run(site)
    with site.pipeline.opened(readonly=True) as state:
        assert state.cursor().chunk == 7


def test_another_meaning_of_rows_is_another_configuration(site: Site) -> None:
    """It is refused by the state, as with the embedded engine."""
    hold_back(site, 4)
    run(site)
    with pytest.raises(StateConflict, match="was made by another configuration"):
        run(site, "spark", "amounts.digits=3")
