"""Killed at any point, any number of times, also while it recovers: the result is that of a run that never crashed.

TILLWATCH_KILLS says how many times the random tests kill, 50 without it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tillwatch.pipeline import Pipeline
from tillwatch.state import open_state
from tillwatch.testing import crash
from tillwatch.testing.crash import Outcome

KILLS = int(os.environ.get("TILLWATCH_KILLS", "50"))
SMALL_STEPS = ("--batch-chunks", "2", "--save-chunks", "6")


@dataclass(frozen=True)
class Site:
    """A pipeline in a folder of its own, on which processes work."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "tillwatch.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "processes.log"

    def start(self, *arguments: str) -> BaseProcess:
        return crash.start(self.log, "--config", str(self.config), *SMALL_STEPS, *arguments)

    def work(self, *arguments: str) -> int:
        return crash.finish(self.start(*arguments))

    def wrong(self, expected: Outcome) -> list[str]:
        """What is wrong with the pipeline, now that its work is done."""
        different = crash.outcome(self.config).differences(expected)
        return [*crash.problems(self.config), *(f"{name} differ from those of the whole run" for name in different)]

    def copy(self, folder: Path) -> Site:
        shutil.copytree(self.folder, folder)
        return Site(folder)


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed: its pipeline before it, with all landed, the points that it passed, its outcome."""

    new: Site
    landed: Site
    ingest: list[str]
    detect: list[str]
    outcome: Outcome


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, configure: Callable[[Path], Path]) -> Whole:
    """The run that all others are compared with."""
    folder = tmp_path_factory.mktemp("whole")
    new = Site(configure(folder / "new").parent)
    landed = new.copy(folder / "landed")
    assert landed.work("--record", str(folder / "ingest"), "ingest") == 0, landed.log.read_text()
    done = landed.copy(folder / "done")
    assert done.work("--record", str(folder / "detect"), "detect") == 0, done.log.read_text()
    assert crash.problems(done.config) == []
    ingest, detect = (crash.writing(folder / name) for name in ("ingest", "detect"))
    return Whole(new, landed, ingest, detect, crash.outcome(done.config))


Work = tuple[str, ...]
INGEST, DETECT = ("ingest",), ("detect",)


def after_kills(site: Site, kills: Sequence[tuple[str, Work]], rest: Sequence[Work], whole: Whole) -> list[str]:
    """What is wrong after processes were killed one after the other, each at a point of its work, and others ended it.

    A process that came to its end without passing its point, since timing is not always the same, is wrong too.
    """
    for point, work in kills:
        code = site.work("--kill-at", point, *work)
        if code != -signal.SIGKILL:
            return [f"exit code {code} instead of a kill at {point}", site.log.read_text()[-2000:]]
    for work in rest:
        code = site.work(*work)
        if code != 0:
            return [f"exit code {code} of {work} after the kill", site.log.read_text()[-2000:]]
    return site.wrong(whole.outcome)


def test_the_whole_run_has_everything_in_it(whole: Whole) -> None:
    """The data make every pattern fire, cease and fire again, rows go to the quarantine, and every write has points."""
    fired = Counter(pattern for _, _, pattern, *_ in whole.outcome.detections)
    assert min(fired[p] for p in ("PatId1", "PatId2", "PatId3")) > 12
    assert {holds for *_, holds in whole.outcome.turns} == {True, False}
    assert whole.outcome.quarantined
    steps = {point.partition("#")[0] for point in (*whole.ingest, *whole.detect)}
    puts = {f"{role}.put.{s}" for role in ("landing", "quarantine", "detections") for s in ("before", "link", "after")}
    writes = ("commit", "record_landed", "record_file", "plan_rest", "mark_published", "save_tables", "start")
    commits = {f"state.{name}.{step}" for name in writes for step in ("before", "begin-immediate", "commit", "after")}
    assert puts | commits <= steps


def test_killed_after_each_kind_of_write(whole: Whole, tmp_path: Path) -> None:
    """Real processes, killed once after each kind of write, leave nothing that a restart does not put right."""
    failed: dict[str, list[str]] = {}
    for point in crash.occurrences([p for p in whole.detect if ".after#" in p], "first"):
        found = after_kills(whole.landed.copy(tmp_path / point), [(point, DETECT)], [DETECT], whole)
        failed |= {point: found} if found else {}
    assert failed == {}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_killed_at_every_point_of_ingest(which: crash.Which, whole: Whole, tmp_path: Path) -> None:
    """Mechanism X, killed at any point of any write, is carried on by a restart as if nothing had been."""
    failed: dict[str, list[str]] = {}
    for point in crash.occurrences(whole.ingest, which):
        found = after_kills(whole.new.copy(tmp_path / point), [(point, INGEST)], [INGEST, DETECT], whole)
        failed |= {point: found} if found else {}
    assert failed == {}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_killed_at_every_point_of_detect(which: crash.Which, whole: Whole, tmp_path: Path) -> None:
    """Mechanism Y, killed at any point of any write, is carried on by a restart as if nothing had been."""
    failed: dict[str, list[str]] = {}
    for point in crash.occurrences(whole.detect, which):
        found = after_kills(whole.landed.copy(tmp_path / point), [(point, DETECT)], [DETECT], whole)
        failed |= {point: found} if found else {}
    assert failed == {}


@pytest.mark.slow
def test_killed_again_while_it_recovers(whole: Whole, tmp_path: Path) -> None:
    """A process that comes after a killed one can be killed at any point of its own work, and a third one ends it."""
    failed: dict[str, list[str]] = {}
    draw = random.Random(7)
    begun = [(p, whole.new, INGEST) for p in around_writes(whole.ingest)]
    begun += [(p, whole.landed, DETECT) for p in around_writes(whole.detect)]
    for first, before, work in begun:
        killed = before.copy(tmp_path / f"{first} of {work[0]}")
        assert killed.work("--kill-at", first, *work) == -signal.SIGKILL
        points = recovery_points(killed, work, tmp_path / f"{first} of {work[0]}, again")
        for second in draw.sample(points, min(len(points), 2 * KILLS // len(begun))):
            name = f"{first} of {work[0]}, then {second}"
            found = after_kills(killed.copy(tmp_path / name), [(second, work)], [INGEST, DETECT], whole)
            failed |= {name: found} if found else {}
    assert failed == {}


def around_writes(points: Sequence[str]) -> list[str]:
    """A point before and one after each kind of write, in the middle of the run when there are many."""
    around = [p for p in points if p.partition("#")[0].endswith((".before", ".after"))]
    middle = crash.occurrences(around, "middle")
    names = {p.partition("#")[0] for p in middle}
    return middle + [p for p in crash.occurrences(around, "first") if p.partition("#")[0] not in names]


def recovery_points(killed: Site, work: Work, folder: Path) -> list[str]:
    """The first point of each name that a process passes which comes after a killed one."""
    restarted = killed.copy(folder)
    assert restarted.work("--record", str(folder / "points"), *work) == 0, restarted.log.read_text()
    return crash.occurrences(crash.writing(folder / "points"), "first")


class Witness:
    """Looks at a pipeline after each kill: what was there once stays as it is, under its name."""

    def __init__(self, site: Site) -> None:
        settings = Pipeline.open(site.config).settings
        self._folders = [Path(uri) for uri in (settings.landing.uri, settings.detections.uri, settings.quarantine)]
        self._state = Path(settings.state)
        self._seen: dict[tuple[Path, str], bytes] = {}
        self._started_at: str | None = None

    def look(self) -> None:
        now = {(folder, name): data for folder in self._folders for name, data in crash.objects(folder).items()}
        assert {key: now.get(key) for key in self._seen} == self._seen
        self._seen = now
        if self._state.exists():
            with closing(open_state(str(self._state), readonly=True)) as state:
                assert self._started_at in (None, state.started_at())
                self._started_at = state.started_at()


@pytest.mark.slow
def test_one_process_killed_at_random_times(whole: Whole, tmp_path: Path) -> None:
    """`run`, killed by SIGKILL again and again until the work is done, comes to what one run comes to."""
    draw = random.Random(11)
    began = time.monotonic()
    assert whole.new.copy(tmp_path / "unharmed").work("run") == 0
    whole_time = time.monotonic() - began
    kills = pipelines = 0
    while kills < KILLS // 2:
        pipelines += 1
        site = whole.new.copy(tmp_path / f"{pipelines}")
        witness = Witness(site)
        while True:
            process = site.start("run")
            process.join(draw.uniform(0, whole_time * draw.choice([0.3, 0.6, 0.9])))
            process.kill()
            code = crash.finish(process)
            witness.look()
            if code == 0:
                break
            assert code == -signal.SIGKILL, site.log.read_text()
            kills += 1
        assert site.wrong(whole.outcome) == []


@pytest.mark.slow
def test_two_processes_killed_at_random_times(whole: Whole, tmp_path: Path) -> None:
    """Endless `ingest` and `detect` side by side, one or both killed by SIGKILL again and again, come to the same."""
    draw = random.Random(13)
    kills = pipelines = 0
    while kills < KILLS // 2:
        pipelines += 1
        site = whole.new.copy(tmp_path / f"{pipelines}")
        witness = Witness(site)
        at_work: dict[str, BaseProcess] = {}
        while not is_done(site, whole):
            for name in {"ingest", "detect"} - set(at_work):
                at_work[name] = site.start("--endless", "--set", "source.every=0.02", name)
            time.sleep(draw.uniform(0, 0.4))
            for name in draw.choice([["ingest"], ["detect"], ["ingest", "detect"]]):
                at_work[name].kill()
                assert crash.finish(at_work.pop(name)) == -signal.SIGKILL, site.log.read_text()
                kills += 1
            witness.look()
        for process in at_work.values():
            process.terminate()
            assert crash.finish(process) == 0, site.log.read_text()
        assert [site.work(*INGEST), site.work(*DETECT)] == [0, 0], site.log.read_text()
        assert site.wrong(whole.outcome) == []


def is_done(site: Site, whole: Whole) -> bool:
    """Whether every chunk is processed and every detection that can come has been published."""
    state_file = Path(Pipeline.open(site.config).settings.state)
    if not state_file.exists():
        return False
    with closing(open_state(str(state_file), readonly=True)) as state:
        detections = len(whole.outcome.detections)
        return state.cursor().seq > detections and not state.unplanned() and not state.unpublished()
