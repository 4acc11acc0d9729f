"""What a restart finds: tables behind the cursor, other chunks, another configuration, no state at all."""

from __future__ import annotations

import random
import re
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tillwatch.detect.loop import Processed
from tillwatch.engine.dictionary import clean
from tillwatch.errors import LogError, PublishError, StateConflict, StateError
from tillwatch.generate import GeneratedFiles
from tillwatch.landing import Landing
from tillwatch.model import Detection
from tillwatch.pipeline import Event, Pipeline
from tillwatch.stores import LocalStore
from tillwatch.testing.crash import Site

KILLED = -signal.SIGKILL
CHUNKS = 24
MERCHANT_TRANSACTIONS = 60

NewSite = Callable[[Path], Site]


def chunk_files(site: Site) -> list[Path]:
    """The chunks in the landing zone."""
    return sorted(Path(site.pipeline.settings.landing.uri).glob("*.parquet"))


def stop_after(site: Site, commits: int, *, batch: int, save: int) -> tuple[int, int]:
    """Kills detect after so many commits; returns what its cursor and its tables have come to."""
    steps = ("--batch-chunks", str(batch), "--save-chunks", str(save))
    assert site.work(*steps, "--kill-at", f"state.commit.after#{commits}", "detect") == KILLED, site.said
    with site.pipeline.opened(readonly=True) as state:
        cursor = state.cursor()
    return cursor.chunk, cursor.tables


def assert_same(site: Site, done: Site) -> None:
    """The pipeline has come to what the whole run came to."""
    assert site.problems() == []
    assert site.outcome().differences(done.outcome()) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_stopped_anywhere_with_tables_behind(seed: int, landed: Site, done: Site, tmp_path: Path) -> None:
    """However far the tables are behind the cursor, and however often a run is killed, they are brought up to it."""
    draw, site = random.Random(seed), landed.copy(tmp_path / "site")
    chunk, behind = 0, set[int]()
    while CHUNKS - chunk > 3:
        batch, save = draw.randint(1, 3), draw.randint(1, CHUNKS)
        commits = draw.randint(1, (CHUNKS - chunk) // batch)
        chunk, tables = stop_after(site, commits, batch=batch, save=save)
        behind.add(chunk - tables)
    assert max(behind) > 1
    assert site.work("detect") == 0, site.said
    assert_same(site, done)


def test_a_run_per_chunk_gives_what_one_run_gives(landed: Site, done: Site, tmp_path: Path) -> None:
    """Detect, started anew for each chunk that lands, finds the same, only its files are shorter."""
    site = landed.copy(tmp_path / "site")
    away = [file.rename(site.folder / file.name) for file in chunk_files(site)]
    landing = Path(site.pipeline.settings.landing.uri)
    for file in away:
        file.rename(landing / file.name)
        site.pipeline.detect(once=True)
    assert site.problems() == []
    assert site.outcome().differences(done.outcome()) == ["published", "told"]


@pytest.fixture(scope="module")
def lagging(landed: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A killed pipeline: 17 chunks are committed, and its tables hold the state before chunk 10."""
    site = landed.copy(tmp_path_factory.mktemp("lagging") / "site")
    assert stop_after(site, 17, batch=1, save=10) == (17, 10)
    return site


def put_in_place(site: Site, number: int, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Puts another chunk, whole and by the rules, in the place of one that was landed."""
    chunk = site.pipeline.landing.read(number)
    frame = change(chunk.frame)
    elsewhere = site.folder / "elsewhere"
    Landing(LocalStore(elsewhere)).put(replace(chunk.info, rows=frame.height), frame)
    (elsewhere / chunk_files(site)[number].name).replace(chunk_files(site)[number])


def test_another_chunk_is_noticed_when_other_detections_come_of_it(lagging: Site, tmp_path: Path) -> None:
    """A restart that folds chunks again and does not find the detections that were committed says so, and stops."""
    site = lagging.copy(tmp_path / "site")
    before = site.outcome()
    put_in_place(site, 12, lambda frame: frame.head(1))
    with pytest.raises(StateConflict, match=r"chunk 12 of the landing zone is not the one .*tillwatch audit"):
        site.pipeline.detect(once=True)
    assert site.outcome().differences(before) == ["landed"]
    assert any("chunk 12 is not the one that was landed" in problem for problem in site.problems())


def test_another_chunk_is_noticed_when_the_same_detections_come_of_it(lagging: Site, tmp_path: Path) -> None:
    """A chunk that is not the one that was counted is noticed by its digest, also when nothing else tells."""
    site = lagging.copy(tmp_path / "site")
    put_in_place(site, 12, lambda frame: frame.with_columns(pl.lit("es_other").alias("category")))
    with pytest.raises(StateConflict, match="chunk 12"):
        site.pipeline.detect(once=True)


def test_another_chunk_is_noticed_before_it_is_counted(lagging: Site, tmp_path: Path) -> None:
    """A chunk that is not the one that ingest noted is not counted."""
    site = lagging.copy(tmp_path / "site")
    put_in_place(site, 20, lambda frame: frame.head(1))
    with pytest.raises(StateConflict, match="chunk 20"):
        site.pipeline.detect(once=True)


def test_a_damaged_chunk_is_noticed(lagging: Site, tmp_path: Path) -> None:
    """Folding again stops at a chunk whose bytes are not what its digest says."""
    site = lagging.copy(tmp_path / "site")
    file = chunk_files(site)[12]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(LogError, match=rf"{file.name} is not what was landed"):
        site.pipeline.detect(once=True)


@pytest.mark.parametrize("number", [12, 20])
def test_a_removed_chunk_is_noticed(number: int, lagging: Site, tmp_path: Path) -> None:
    """Neither folding again nor going on passes over a chunk that is not there; once it is back, all is well."""
    site = lagging.copy(tmp_path / "site")
    away = chunk_files(site)[number].rename(site.folder / "away.parquet")
    with pytest.raises(LogError, match=rf"chunk {number}\b"):
        site.pipeline.detect(once=True)
    away.rename(Path(site.pipeline.settings.landing.uri) / f"{number:012}.parquet")
    site.pipeline.detect(once=True)
    assert site.problems() == []


@pytest.mark.parametrize(
    ("override", "was", "now"),
    [
        ("amounts.digits=2", "amounts: 4 fraction digits", "amounts: 2 fraction digits"),
        ("amounts.negative=true", "negative False", "negative True"),
        ("columns.gender=age", "gender=gender", "gender=age"),
        ("lookups.importance.value=max(Weight)", r"avg\(Weight\)", r"max\(Weight\)"),
    ],
)
def test_another_configuration_is_refused(override: str, was: str, now: str, lagging: Site) -> None:
    """A configuration of other meaning is refused with what it was and what it is now, and nothing is written."""
    before = lagging.outcome()
    with pytest.raises(StateConflict) as refused:
        Pipeline.open(lagging.config, [override]).detect(once=True)
    text = str(refused.value)
    assert re.search(rf"^  was  .*{was}", text, re.MULTILINE), text
    assert re.search(rf"^  now  .*{now}", text, re.MULTILINE), text
    assert "new places for state and detections" in text
    assert lagging.outcome() == before


def test_other_content_of_a_lookup_is_a_version(lagging: Site, data: GeneratedFiles, tmp_path: Path) -> None:
    """One more row in the lookup is enough, wherever its file is; what was not committed yet is judged by it."""
    site = lagging.copy(tmp_path / "site")
    with site.pipeline.opened(readonly=True) as state:
        cursor = state.cursor().chunk
    changed = tmp_path / "importance.csv"
    changed.write_bytes(data.importance.read_bytes() + b"'C1','M1',1.0,'food',0\n")
    Pipeline.open(site.config, [f"lookups.importance.uri={changed}"]).detect(once=True)
    assert site.problems() == []
    assert [(number, first) for _, number, first, *_ in site.outcome().lookups] == [(1, 0), (2, cursor)]


def test_what_does_not_change_detections_may_change(lagging: Site, done: Site, tmp_path: Path) -> None:
    """Pace, chunk size, rows per file, linger and time zone may be others after a restart: detections are the same."""
    site = lagging.copy(tmp_path / "site")
    others = ["source.every=0", "source.rows=77", "detections.rows=5", "detections.linger=9", "detections.timezone=UTC"]
    Pipeline.open(site.config, others).run(once=True)
    assert site.problems() == []
    assert site.outcome().differences(done.outcome()) == ["published", "told"]


def test_a_removed_state_is_rebuilt_from_the_landing_zone_alone(done: Site, tmp_path: Path) -> None:
    """Without its state and without its source, a pipeline finds the same again, into a new folder."""
    site = without_state(done, tmp_path / "site")
    new = {"uri": tmp_path / "new", "cleared": tmp_path / "new cleared"}
    places = [f"source.uri={tmp_path / 'gone.csv'}", *(f"detections.{name}={place}" for name, place in new.items())]
    Pipeline.open(site.config, places).detect(once=True)
    for name, place in new.items():
        there = getattr(site.pipeline.settings.detections, name)
        shutil.rmtree(there)
        place.rename(there)
    assert site.problems() == []
    assert site.outcome().differences(done.outcome()) == ["files"]  # of source files ingest knows
    site.pipeline.ingest(once=True)
    assert_same(site, done)


def test_a_removed_state_overwrites_no_published_file(done: Site, tmp_path: Path) -> None:
    """A file that a former state published stays: the new one has other times, and publishing it is refused loudly."""
    site = without_state(done, tmp_path / "site")
    before = site.objects()["detections"]
    first = min(before)
    with pytest.raises(PublishError, match=rf"{first} is there already with other content.*state removed"):
        site.pipeline.detect(once=True)
    assert site.objects()["detections"] == before


def test_a_process_waits_for_another_one_that_makes_the_state(new_site: NewSite, tmp_path: Path) -> None:
    """X and Y that start at once on a new pipeline both want to make the state: the second waits, it does not fail."""
    site = new_site(tmp_path / "site")
    path = Path(site.pipeline.settings.state)
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, lambda: other.execute("COMMIT"))
        release.start()
        try:
            with site.pipeline.opened() as state:
                assert state.cursor().chunk == 0
        finally:
            release.join()


def test_a_state_killed_in_the_making_is_no_state_yet(new_site: NewSite, tmp_path: Path) -> None:
    """Who only reads is told that nothing has been run yet, as without the file, and the next run makes the state."""
    site = new_site(tmp_path / "site")
    assert site.work("--kill-at", "state.open.commit#1", "ingest") == KILLED
    with pytest.raises(StateError, match=r"there is no state at .* yet"), site.pipeline.opened(readonly=True):
        pass


def without_state(done: Site, folder: Path) -> Site:
    """A copy whose state was removed."""
    site = done.copy(folder)
    state = Path(site.pipeline.settings.state)
    for file in state.parent.glob(f"{state.name}*"):
        file.unlink()
    return site


def moved_by_the_cut_off(site: Site) -> list[Detection]:
    """PatId1 detections of a pair without a row in the chunk, of a merchant that was busy enough before it."""
    with site.pipeline.opened(readonly=True) as state:
        found = [s.detection for s in state.detections() if s.detection.pattern == "PatId1"]
    return [d for d in found if is_untouched(site, d)]


def is_untouched(site: Site, detection: Detection) -> bool:
    """Whether only the cut-off can have made the detection's pair fulfil the condition after its chunk."""
    frame = site.pipeline.landing.read(detection.chunk).frame
    pairs = [(clean(c or ""), clean(m or "")) for c, m in frame.select("customer", "merchant").iter_rows()]
    rows = sum(merchant == detection.merchant for _, merchant in pairs)
    before = detection.evidence["features"]["merchant.transactions"] - rows
    return (detection.customer, detection.merchant) not in pairs and before > MERCHANT_TRANSACTIONS


@pytest.mark.slow
def test_a_pair_that_the_chunk_did_not_touch_is_detected_once(landed: Site, done: Site, tmp_path: Path) -> None:
    """A pair that fulfils PatId1 since the cut-off moved is detected once, wherever a run is killed after it.

    Its own row of the tables is then as old as its last transaction: the mark must not hang on it.
    """
    moved = moved_by_the_cut_off(done)
    assert len({d.chunk for d in moved}) > 1
    for detection in moved:
        for kill_at in ("state.commit.after", "state.save_tables.after"):
            site = landed.copy(tmp_path / f"{detection.chunk} {detection.customer} {kill_at}")
            each = ("--batch-chunks", "1", "--save-chunks", "1")
            assert site.work(*each, "--kill-at", f"{kill_at}#{detection.chunk + 1}", "detect") == KILLED, site.said
            assert site.work(*each, "detect") == 0, site.said
            assert_same(site, done)


@pytest.mark.parametrize("batch", [1, 5, CHUNKS])
def test_chunks_per_commit_change_nothing(batch: int, landed: Site, done: Site, tmp_path: Path) -> None:
    """Chunks committed one by one or many at once give the same detections in the same files, times aside."""
    site = landed.copy(tmp_path / "site")
    record = tmp_path / "points"
    assert site.work("--batch-chunks", str(batch), "--record", str(record), "detect") == 0, site.said
    commits = record.read_text().count("state.commit.after#")
    assert commits == CHUNKS if batch == 1 else commits < CHUNKS // 2
    assert_same(site, done)


@pytest.mark.parametrize("every", [0.0, 0.01])
def test_detect_at_the_heels_of_ingest_changes_nothing(
    every: float, new_site: NewSite, done: Site, tmp_path: Path
) -> None:
    """Y that follows X chunk by chunk, or is behind it, gives what Y gives that comes when all is landed."""
    site, stop = new_site(tmp_path / "site"), threading.Event()
    commits = []

    def stop_at_the_end(event: Event) -> None:
        if isinstance(event, Processed):
            commits.append(event)
            if event.last == CHUNKS - 1:
                stop.set()

    pace = [f"source.every={every}", "detections.linger=60"]
    Pipeline.open(site.config, pace).run(stop=stop, observer=stop_at_the_end)
    assert len(commits) > 1
    assert_same(site, done)
