"""Killed at any point, any number of times, also while it recovers: the result is that of a run that never crashed.

TILLWATCH_KILLS says how many times each of the random tests kills, 50 without it.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import pytest

from tillwatch.errors import StateError
from tillwatch.generate import GeneratedFiles
from tillwatch.testing import crash
from tillwatch.testing.crash import Outcome, Site, Which

T = TypeVar("T")

KILLS = int(os.environ.get("TILLWATCH_KILLS", "50"))
POINTS = int(os.environ.get("TILLWATCH_POINTS", "24"))
"""At how many of the points of a work it is killed, evenly spread; 0 for all of them."""
KILLED = -signal.SIGKILL
SHORT = ("published", "told")
"""What is cut into other files when a run ends on the way."""

Work = tuple[str, ...]
INGEST: Work = ("ingest",)
DETECT: Work = ("detect",)


@dataclass(frozen=True)
class Kill:
    """A process that works on a pipeline and dies at a point."""

    point: str
    work: Work


def trouble(
    site: Site,
    kills: Sequence[Kill],
    rest: Sequence[Work],
    expected: Outcome,
    apart: Sequence[str] = (),
    ingest_ends: int = 0,
) -> list[str]:
    """What is wrong after these kills, one after the other, and the work that ended it. If nothing, the site goes.

    `apart` names what may be other than expected; `ingest_ends` is the exit code of ingest, 1 with bad source files.
    """
    for kill in kills:
        code = site.work("--kill-at", kill.point, *kill.work)
        if code != KILLED:
            return [f"exit code {code} instead of a kill at {kill.point}", site.said]
    for work in rest:
        code = site.work(*work)
        if code != (ingest_ends if work == INGEST else 0):
            return [f"exit code {code} of {work} after the kill", site.said]
    found = [*site.problems(), *(set(site.outcome().differences(expected)) - set(apart))]
    if not found:
        shutil.rmtree(site.folder)
    return found


def points(site: Site, mechanism: str) -> list[str]:
    """The points that the mechanism passed in the whole run, that belong to a write, and that it passes every time.

    How often ingest notes chunks depends on the time that it takes, but it is twice at least.
    """
    passed = crash.writing(site.folder / f"{mechanism}.points")
    return [p for p in passed if not p.startswith("state.record_landed.") or p.endswith(("#1", "#2"))]


def spread(at: Sequence[T]) -> Sequence[T]:
    """As many of the points as are asked for, evenly spread."""
    return at[:: max(1, -(-len(at) // POINTS))] if POINTS else at


def kills_in_turn(base: Site, expected: Outcome, work: Work, at: Sequence[str], folder: Path) -> dict[str, list[str]]:
    """What is wrong after a kill at each of these points, each on a copy of its own."""
    found = {}
    for point in at:
        rest = [INGEST, DETECT] if work == INGEST else [work]
        found[point] = trouble(base.copy(folder / point), [Kill(point, work)], rest, expected)
    return {point: wrong for point, wrong in found.items() if wrong}


def test_the_whole_run_has_everything_in_it(landed: Site, done: Site) -> None:
    """Every pattern fires, ceases and fires again, many rows are set aside, and every write has its points."""
    outcome = done.outcome()
    fired = Counter(pattern for _, _, pattern, *_ in outcome.detections)
    assert min(fired[p] for p in ("PatId1", "PatId2", "PatId3")) > 12
    assert {holds for *_, holds in outcome.turns} == {True, False}
    again = Counter((pattern, str(key)) for _, _, pattern, _, key, *_ in outcome.detections)
    assert {pattern for (pattern, _), times in again.items() if times > 1} == {"Often", "Costly", "Dear", "Each"}
    assert len(outcome.in_shadow) > 12 and outcome.shadow_turns
    assert len(outcome.cleared) == sum(len(rows) - 1 for rows in outcome.told.values()) > 12
    assert len(outcome.quarantined) > 6
    assert len(outcome.published) > 12
    steps = {point.partition("#")[0] for point in (*points(landed, "ingest"), *points(done, "detect"))}
    roles, around = (
        ("landing", "quarantine", "detections", "cleared"),
        ("before", "open", "write", "fsync", "link", "after"),
    )
    puts = {f"{role}.put.{step}" for role in roles for step in around}
    writes = ("commit", "record_landed", "record_file", "plan_rest", "mark_published", "save_tables", "start")
    commits = {f"state.{name}.{step}" for name in writes for step in ("before", "begin-immediate", "commit", "after")}
    assert puts | commits <= steps


def test_killed_after_each_kind_of_write(landed: Site, done: Site, tmp_path: Path) -> None:
    """Killed once after each kind of write, Mechanism Y leaves nothing that a restart does not put right."""
    after = [p for p in points(done, "detect") if ".after#" in p]
    assert kills_in_turn(landed, done.outcome(), DETECT, crash.occurrences(after, "first"), tmp_path) == {}


@pytest.fixture(scope="module")
def edited(landed: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """A pipeline killed after eight chunks, whose patterns were edited then; and the same after its whole work."""
    site = landed.copy(tmp_path_factory.mktemp("edited") / "site")
    assert site.work("--kill-at", "state.commit.after#4", *DETECT) == KILLED
    text = site.config.read_text().replace("transactions: 8", "transactions: 6")
    site.config.write_text(text.replace("  PatId3: {female_customers: 3}\n", ""))
    (site.folder / "patterns" / "Costly.yaml").unlink()
    (site.folder / "patterns" / "New.yaml").write_text(
        "id: New\naction: LOOK\nper: customer\nwhen: total_amount > 300 and percent_rank(max_amount) over () > 0.5\n"
    )
    whole = site.copy(tmp_path_factory.mktemp("whole") / "site")
    assert whole.work("--record", str(whole.folder / "detect.points"), *DETECT) == 0, whole.said
    assert whole.problems() == []
    return site, whole


def test_killed_around_an_edit_of_patterns(edited: tuple[Site, Site], tmp_path: Path) -> None:
    """Killed before or after commits around an edit, a restart takes it at the same chunk, with the same outcome."""
    site, whole = edited
    with whole.pipeline.opened(readonly=True) as state:
        assert [r.first for r in state.rule_sets()] == [0, 8]
    at = [f"state.{name}.{step}#1" for name in ("commit", "save_tables") for step in ("before", "commit", "after")]
    assert kills_in_turn(site, whole.outcome(), DETECT, [*at, "state.commit.after#2"], tmp_path) == {}


@pytest.mark.slow
def test_killed_at_every_point_after_an_edit_of_patterns(edited: tuple[Site, Site], tmp_path: Path) -> None:
    """The same at every point of any write, dropped and new tables included."""
    site, whole = edited
    at = crash.occurrences(points(whole, "detect"), "first")
    assert any("drop-table" in p or "drop-" in p for p in at)
    assert kills_in_turn(site, whole.outcome(), DETECT, spread(at), tmp_path) == {}


@pytest.fixture(scope="module")
def refreshed(landed: Site, data: GeneratedFiles, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """A pipeline killed after eight chunks, whose lookup changed then; and the same after its whole work."""
    site = landed.copy(tmp_path_factory.mktemp("refreshed") / "site")
    weights = site.folder / "importance.csv"
    shutil.copy(data.importance, weights)
    site.config.write_text(site.config.read_text().replace(str(data.importance), "./importance.csv"))
    assert site.work("--kill-at", "state.commit.after#4", *DETECT) == KILLED
    header, *lines = weights.read_text().splitlines(keepends=True)
    weights.write_text(header + "".join(lines[::2]) + "".join(lines[1::4]))
    whole = site.copy(tmp_path_factory.mktemp("whole") / "site")
    assert whole.work("--record", str(whole.folder / "detect.points"), *DETECT) == 0, whole.said
    assert whole.problems() == []
    return site, whole


def test_killed_around_a_version_of_a_lookup(refreshed: tuple[Site, Site], done: Site, tmp_path: Path) -> None:
    """Killed at any point of keeping it, or before or after commits, a restart takes it at the same chunk."""
    site, whole = refreshed
    outcome = whole.outcome()
    assert [(name, number, first) for name, number, first, *_ in outcome.lookups] == [
        ("importance", 1, 0),
        ("importance", 2, 8),
    ]
    assert outcome.detections != done.outcome().detections
    at = [p for p in points(whole, "detect") if p.startswith("landing.put.")]
    assert {"write", "link"} <= {p.partition("#")[0].rpartition(".")[2] for p in at}
    at += [f"state.{name}.{step}#1" for name in ("commit", "save_tables") for step in ("before", "commit", "after")]
    assert kills_in_turn(site, outcome, DETECT, at, tmp_path) == {}


@pytest.mark.slow
def test_killed_at_every_point_after_a_version_of_a_lookup(refreshed: tuple[Site, Site], tmp_path: Path) -> None:
    """The same at every point of any write."""
    site, whole = refreshed
    at = crash.occurrences(points(whole, "detect"), "first")
    assert any("insert-lookup_versions" in p for p in at)
    assert kills_in_turn(site, whole.outcome(), DETECT, spread(at), tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_killed_at_every_point_of_ingest(
    which: Which, new_site: Callable[[Path], Site], landed: Site, done: Site, tmp_path: Path
) -> None:
    """Mechanism X, killed at any point of any write, is carried on by a restart as if nothing had been."""
    at = crash.occurrences(points(landed, "ingest"), which)
    assert kills_in_turn(new_site(tmp_path / "new"), done.outcome(), INGEST, spread(at), tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_killed_at_every_point_of_detect(which: Which, landed: Site, done: Site, tmp_path: Path) -> None:
    """Mechanism Y, killed at any point of any write, is carried on by a restart as if nothing had been."""
    at = crash.occurrences(points(done, "detect"), which)
    assert kills_in_turn(landed, done.outcome(), DETECT, spread(at), tmp_path) == {}


@pytest.mark.slow
def test_killed_at_every_point_of_ingest_of_good_and_bad_files(
    new_site: Callable[[Path], Site], data: GeneratedFiles, tmp_path: Path
) -> None:
    """Killed at any point of a folder with a broken, a repeated, a refused and two good files: all end as they do."""
    source = tmp_path / "source"
    several_files(data.transactions, source)
    new = new_site(tmp_path / "new")
    new.config.write_text(new.config.read_text().replace(str(data.transactions), str(source)))
    whole = new.copy(tmp_path / "whole")
    assert whole.work("--record", str(whole.folder / "ingest.points"), *INGEST) == 1
    assert whole.work(*DETECT) == 0
    expected = whole.outcome()
    assert [f.status for f in expected.files] == ["done", "broken", "duplicate", "refused", "done"]
    found = {}
    for point in crash.occurrences(points(whole, "ingest"), "first") + file_ends(points(whole, "ingest")):
        site = new.copy(tmp_path / point)
        found[point] = trouble(site, [Kill(point, INGEST)], [INGEST, DETECT], expected, ingest_ends=1)
    assert {point: wrong for point, wrong in found.items() if wrong} == {}


def several_files(transactions: Path, folder: Path) -> None:
    """Parts of the transactions: good, ending early, the first once more, other columns, good."""
    folder.mkdir()
    header, *lines = transactions.read_bytes().splitlines(keepends=True)
    (folder / "a.csv").write_bytes(header + b"".join(lines[:600]))
    (folder / "b.csv.gz").write_bytes(gzip.compress(header + b"".join(lines[600:1800]))[:-2000])
    (folder / "c.csv").write_bytes(header + b"".join(lines[:600]))
    (folder / "d.csv").write_bytes(b"one,two\n1,2\n")
    (folder / "e.csv").write_bytes(header + b"".join(lines[1800:2400]))


def file_ends(among: Sequence[str]) -> list[str]:
    """Every point of every note on a file."""
    return [p for p in among if p.startswith("state.record_file.") and not p.endswith("#1")]


@pytest.mark.slow
def test_killed_at_every_point_of_landing_as_csv(new_site: Callable[[Path], Site], tmp_path: Path) -> None:
    """Killed at any point of the two writes that make a CSV chunk, a restart lands the same two objects."""
    new = new_site(tmp_path / "new")
    with new.config.open("a") as config:
        config.write("landing: {uri: ./tillwatch-data/landing, format: csv}\n")
    whole = new.copy(tmp_path / "whole")
    assert [whole.work("--record", str(whole.folder / "ingest.points"), *INGEST), whole.work(*DETECT)] == [0, 0]
    puts = [p for p in points(whole, "ingest") if p.startswith("landing.put.") and p.endswith(("#7", "#8"))]
    assert kills_in_turn(new, whole.outcome(), INGEST, puts, tmp_path) == {}


@pytest.mark.slow
def test_killed_again_while_it_recovers(
    new_site: Callable[[Path], Site], landed: Site, done: Site, tmp_path: Path
) -> None:
    """The process after a killed one is killed too, at any point of its own work, and a third one ends the work."""
    new, draw = new_site(tmp_path / "new"), random.Random(7)
    first_kills = [(new, Kill(p, INGEST)) for p in around_writes(points(landed, "ingest"))]
    first_kills += [(landed, Kill(p, DETECT)) for p in around_writes(points(done, "detect"))]
    failed, expected = {}, done.outcome()
    for base, first in spread(first_kills):
        name = f"{first.point} of {first.work[0]}"
        killed = base.copy(tmp_path / name)
        assert killed.work("--kill-at", first.point, *first.work) == KILLED
        at = recovery_points(killed, first.work, tmp_path / f"{name}, recovered")
        for point in draw.sample(at, min(len(at), max(1, KILLS // len(spread(first_kills))))):
            site = killed.copy(tmp_path / f"{name}, then {point}")
            failed[site.folder.name] = trouble(site, [Kill(point, first.work)], [INGEST, DETECT], expected)
    assert {name: found for name, found in failed.items() if found} == {}


def around_writes(among: Sequence[str]) -> list[str]:
    """A point before and one after each kind of write, from the middle of the run where there are many."""
    around = [p for p in among if ".before#" in p or ".after#" in p]
    by_name = {p.partition("#")[0]: p for which in ("first", "middle") for p in crash.occurrences(around, which)}
    return list(by_name.values())


def recovery_points(killed: Site, work: Work, folder: Path) -> list[str]:
    """The first point of each name that a process passes which comes after a killed one."""
    restarted = killed.copy(folder)
    record = folder / "recovery.points"
    assert restarted.work("--record", str(record), *work) == 0, restarted.said
    return crash.occurrences(crash.writing(record), "first")


@pytest.mark.slow
def test_killed_at_the_end_of_a_run_that_was_not_the_end(
    new_site: Callable[[Path], Site], done: Site, tmp_path: Path
) -> None:
    """Killed while the short last file of a run is planned and published, and then more chunks land: no harm."""
    half = new_site(tmp_path / "half")
    assert half.work("--kill-at", "landing.put.before#13", *INGEST) == KILLED
    whole_half = half.copy(tmp_path / "whole half")
    record = whole_half.folder / "detect.points"
    assert whole_half.work("--record", str(record), *DETECT) == 0
    found = {}
    passed = crash.writing(record)
    last_commit = max(i for i, point in enumerate(passed) if point.startswith("state.commit.after#"))
    for point in crash.occurrences(passed[last_commit:], "first"):
        site = half.copy(tmp_path / point)
        found[point] = trouble(site, [Kill(point, DETECT)], [DETECT, INGEST, DETECT], done.outcome(), SHORT)
    assert {point: wrong for point, wrong in found.items() if wrong} == {}


class Witness:
    """Looks at a pipeline after each kill: what was there once stays as it is, under its name."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._seen: dict[str, dict[str, bytes]] = {}
        self._started_at: str | None = None

    def look(self) -> None:
        """Raises AssertionError when an object has changed or gone, or YStartTime is another."""
        now = self._site.objects()
        for role, seen in self._seen.items():
            assert {name: now[role].get(name) for name in seen} == seen
        self._seen = now
        started_at = self._read_started_at()
        assert self._started_at in (None, started_at)
        self._started_at = started_at

    def _read_started_at(self) -> str | None:
        try:
            with self._site.pipeline.opened(readonly=True) as state:
                return state.started_at()
        except StateError:  # killed before the state was made
            assert self._started_at is None
            return None


@pytest.mark.slow
def test_one_process_killed_at_random_times(new_site: Callable[[Path], Site], done: Site, tmp_path: Path) -> None:
    """Both mechanisms in one process, killed by SIGKILL again and again until the work is done, come to the same."""
    work = ("--set", "detections.linger=60", "run")
    draw, new, expected = random.Random(11), new_site(tmp_path / "new"), done.outcome()
    began = time.monotonic()
    assert new.copy(tmp_path / "unharmed").work(*work) == 0
    whole_time = time.monotonic() - began
    kills = pipelines = 0
    while kills < KILLS:
        pipelines += 1
        site = new.copy(tmp_path / f"{pipelines}")
        witness, code = Witness(site), KILLED
        while code == KILLED:
            process = site.start(*work)
            process.join(draw.uniform(0, whole_time * draw.choice([0.3, 0.6, 0.9])))
            process.kill()
            code = crash.finish(process)
            kills += code == KILLED
            witness.look()
        assert code == 0, site.said
        assert trouble(site, [], [], expected) == []


@pytest.mark.slow
def test_two_processes_killed_at_random_times(new_site: Callable[[Path], Site], done: Site, tmp_path: Path) -> None:
    """Paced `ingest` and `detect` side by side, one or both killed by SIGKILL again and again, come to the same."""
    draw, new, expected = random.Random(13), new_site(tmp_path / "new"), done.outcome()
    kills = pipelines = 0
    while kills < KILLS:
        pipelines += 1
        site = new.copy(tmp_path / f"{pipelines}")
        witness = Witness(site)
        at_work: dict[str, BaseProcess] = {}
        while not all_published(site, expected):
            for name in {"ingest", "detect"} - set(at_work):
                at_work[name] = site.start("--endless", "--set", "source.every=0.02", name)
            time.sleep(draw.uniform(0, 0.4))
            for name in draw.choice([["ingest"], ["detect"], ["ingest", "detect"]]):
                at_work[name].kill()
                assert crash.finish(at_work.pop(name)) == KILLED, site.said
                kills += 1
            witness.look()
        for process in at_work.values():
            process.terminate()
            assert crash.finish(process) == 0, site.said
        assert trouble(site, [], [INGEST, DETECT], expected, SHORT) == []


def all_published(site: Site, expected: Outcome) -> bool:
    """Whether all detections that will ever come are in files."""
    try:
        with site.pipeline.opened(readonly=True) as state:
            planned, found = state.files_planned(), state.cursor().seq - 1
    except StateError:  # killed before the state was made
        return False
    published = sum(p.last - p.first + 1 for p in planned if p.published_at)
    return published == found == len(expected.detections)


@pytest.mark.slow
def test_the_command_killed_at_random_times(new_site: Callable[[Path], Site], done: Site, tmp_path: Path) -> None:
    """The real `tillwatch run`, killed by SIGKILL and started again until it is done, comes to the same."""
    site, draw = new_site(tmp_path / "site"), random.Random(17)
    command = [sys.executable, "-m", "tillwatch", "run", "-c", str(site.config), "--set", "detections.linger=60"]
    for _ in range(6):
        with (tmp_path / "said").open("ab") as said:
            process = subprocess.Popen([*command, "--set", "source.every=0.05"], stdout=said, stderr=said)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.5, 2.0))
        process.kill()
        assert process.wait() == KILLED, (tmp_path / "said").read_text()
    subprocess.run([*command, "--once"], check=True, capture_output=True)
    assert trouble(site, [], [], done.outcome()) == []
