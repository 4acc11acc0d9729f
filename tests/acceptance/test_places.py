"""The whole job where everything is elsewhere: Drive, an object store, PostgreSQL. It gives what it gives here.

With generated data, and, marked as slow, with BankSim where it is found.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tillwatch.testing.places import Data, Job, Servers

ROOT = Path(__file__).resolve().parents[2]
BANKSIM = Path(os.environ.get("TILLWATCH_BANKSIM", ROOT.parent / "shared" / "data" / "banksim"))

NewJob = Callable[..., Job]

ROUTES = {
    "S3 to S3": {"landing": "s3", "detections": "s3"},
    "S3 to Azure": {"landing": "s3", "detections": "az"},
    "GCS to GCS": {"landing": "gs", "detections": "gs"},
}
MARKS = {"S3 to S3": pytest.mark.slow}  # that to Azure has all of it but the detections


@pytest.fixture(scope="session")
def banksim(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The published data with what is to be found in it."""
    names = ("transactions.csv", "CustomerImportance.csv")
    if not all((BANKSIM / name).exists() for name in (*(f"{n}.gz" for n in names), "expected.csv")):
        pytest.skip("the BankSim data is not here")
    folder = tmp_path_factory.mktemp("banksim")
    for name in names:
        with gzip.open(BANKSIM / f"{name}.gz") as packed, (folder / name).open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    expected = (BANKSIM / "expected.csv").read_text().splitlines()[1:]
    return Data(folder / names[0], folder / names[1], 10_000, 60, "", expected)


@pytest.fixture(params=["generated", pytest.param("BankSim", marks=pytest.mark.slow)])
def data(request: pytest.FixtureRequest) -> Data:
    """Transactions, and what is to be found in them."""
    found: Data = request.getfixturevalue("middling" if request.param == "generated" else "banksim")
    return found


@pytest.fixture(params=[pytest.param(ROUTES[name], marks=MARKS.get(name, ()), id=name) for name in ROUTES])
def job(request: pytest.FixtureRequest, jobs: NewJob, servers: Servers, data: Data, tmp_path: Path) -> Job:
    """A pipeline from Drive to object stores with its state in PostgreSQL, which has not run yet."""
    places = {**request.param, "quarantine": request.param["landing"], "state": "postgresql"}
    return jobs(servers, tmp_path / "job", data, places)


def test_run_once(job: Job) -> None:
    """One call works everything off, into files of 50; a second finds nothing to do and changes nothing."""
    job.do("check")
    job.do("run", "--once", "--set", "detections.linger=60")
    assert job.problems() == []
    before = job.published()
    assert [len(rows) for rows in before.values()][:-1] == [50] * (len(before) - 1)
    job.do("run", "--once")
    assert (job.published(), job.problems()) == (before, [])


def test_two_processes(job: Job) -> None:
    """X and Y on their own, Y first, both stopped by SIGTERM when all is published."""
    detect, ingest = job.start("detect"), job.start("ingest")
    detect.until(job.is_done)
    ingest.stop()
    detect.stop()
    assert job.problems() == []


def test_killed_and_started_again(job: Job, request: pytest.FixtureRequest) -> None:
    """X and Y killed by SIGKILL in the middle three times, and started again: nothing is lost or there twice."""
    draw = random.Random(request.node.name)
    begun = set()
    for chunk in sorted(draw.sample(range(3, 50), 3)):
        detect, ingest = job.start("detect"), job.start("ingest")
        detect.until(lambda at=chunk: job.processed() >= at)  # type: ignore[misc]
        both = [detect, ingest]
        draw.shuffle(both)
        for process in both:
            process.kill()
        assert not job.is_done()
        begun.add(job.status()["started_at"])
    detect, ingest = job.start("detect"), job.start("ingest")
    detect.until(job.is_done)
    ingest.stop()
    detect.stop()
    assert begun == {job.status()["started_at"]}
    assert job.problems() == []
