"""Whole runs with every layout of the landing zone, every output and the reports, their places elsewhere."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tillwatch.testing.places import Data, Job, Servers
from tillwatch.testing.servers.webhook import Receiver, Trouble, receiver

SECRET = "planted-secret-of-the-receiver"
CHUNKS = {
    "dated": r"year=\d{4}/month=\d\d/day=\d\d/(\d{12})\.parquet",
    "folder": r"chunk=(\d{12})/part\.parquet",
}
OUTPUTS = """\
outputs:
  lines: {{format: jsonl, uri: '$lines'}}
  lake: {{format: parquet, uri: '$lake'}}
  table: {{format: delta, uri: '$table'}}
  hook: {{format: webhook, uri: '{url}', secret_env: HOOK_SECRET}}
"""
FIELDS = ["seq", "id", "chunk", "patternId", "ActionType", "customerName", "MerchantId", "detectionTime"]


@pytest.mark.parametrize("layout", CHUNKS)
def test_layouts_and_reports(
    layout: str, jobs: Callable[..., Job], servers: Servers, middling: Data, tmp_path: Path
) -> None:
    """Folders by day or by chunk, in a bucket, read as one table; the reports count every row."""
    places = {"landing": "s3", "quarantine": "az", "detections": "az", "reports": "gs", "state": "postgresql"}
    job = jobs(servers, tmp_path / "job", middling, places, landing=f"layout: {layout}")
    assert f"layout {layout}" in job.do("check")
    job.do("run", "--once")
    assert job.problems() == []
    landed = {name: data for name, data in servers.peek(job.places["landing"]).items() if name.endswith(".parquet")}
    numbers = [int(m[1]) for name in landed if (m := re.fullmatch(CHUNKS[layout], name))]
    assert numbers == list(range(middling.chunks))
    assert sum(pl.read_parquet(data).height for data in landed.values()) == middling.chunks * middling.rows
    assert_reported(job)
    assert job.status()["layout"] == layout


def assert_reported(job: Job) -> None:
    """The reports of the run and of its days have all rows."""
    there = job.servers.peek(job.places["reports"])
    (run,) = (json.loads(data) for name, data in there.items() if re.fullmatch(r"run/.*\.json", name))
    days = [json.loads(data) for name, data in there.items() if re.fullmatch(r"day/.*\.json", name)]
    rows = job.data.chunks * job.data.rows
    quarantined = sum(job.status()["quarantined"].values())
    assert (run["total"]["rows"], run["total"]["counted"]) == (rows, rows - quarantined)
    assert sum(day["total"]["rows"] for day in days) == rows
    assert sum(name.endswith(".html") for name in there) == 1 + len(days)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with receiver(SECRET) as running:
        yield running


@pytest.fixture
def make(
    jobs: Callable[..., Job], servers: Servers, middling: Data, hook: Receiver, tmp_path: Path
) -> Callable[..., Job]:
    """Makes a pipeline with an output of every kind, and with detection files or without."""

    def made(**files: str) -> Job:
        places = {"landing": "s3", "quarantine": "s3", "lines": "s3", "lake": "az", "table": "here", **files}
        more = OUTPUTS.format(url=hook.url)
        job = jobs(servers, tmp_path / "job", middling, {**places, "state": "postgresql"}, more)
        job.environment["HOOK_SECRET"] = SECRET
        return job

    return made


def delivered(job: Job, hook: Receiver) -> dict[str, list[Mapping[str, Any]]]:
    """What is in every output, looked at behind the product's back, in order of `seq`."""
    lines = [line for data in job.servers.peek(job.places["lines"]).values() for line in data.splitlines()]
    lake = [pl.read_parquet(io.BytesIO(data)).to_dicts() for data in job.servers.peek(job.places["lake"]).values()]
    found = {
        "lines": [json.loads(line) for line in lines],
        "lake": [record for records in lake for record in records],
        "table": pl.read_delta(job.places["table"]).to_dicts(),
        "hook": list(hook.taken.values()),
    }
    return {name: sorted(records, key=lambda r: r["seq"]) for name, records in found.items()}


def assert_delivered(job: Job, hook: Receiver) -> None:
    """Every output has every detection once; those of Parquet tell the pattern by their folder."""
    records = [json.loads(line) for line in job.do("detections", "--format", "jsonl").splitlines()]
    for name, there in delivered(job, hook).items():
        fields = [f for f in FIELDS if f != "id" and f in there[0]]
        assert {"seq", "chunk", "customerName", "MerchantId"} <= set(fields), name
        assert [[r[f] for f in fields] for r in there] == [[r[f] for f in fields] for r in records], name
        assert len({r["id"] for r in there}) == len(records), name
    assert {o["undelivered"] for o in job.status()["outputs"].values()} == {0}
    assert hook.wrong == []


def test_every_output_beside_the_files(make: Callable[..., Job], hook: Receiver) -> None:
    """JSON Lines in S3, Parquet in Azure, a Delta table and a webhook get every detection once, as the CSV files do.

    A receiver that is out of order holds nothing up but itself: what it lacks is told, and delivered by the next run.
    """
    job = make(detections="az")
    hook.troubles.extend([Trouble(204)] * 70 + [Trouble(410)])
    ran = job.call("run", "--once")
    assert ran.returncode == 1 and "output hook: " in ran.stderr, ran.stderr
    assert job.problems() == []
    undelivered = {name: o["undelivered"] for name, o in job.status()["outputs"].items()}
    files = len(job.published())
    assert undelivered == {"lines": 0, "lake": 0, "table": 0, "hook": files - 1}
    assert f"webhook, {hook.url.removesuffix('/hooks/told-to-nobody')}, {files - 1} files to be" in job.do("status")
    job.do("run", "--once")
    assert_delivered(job, hook)
    assert job.problems() == []


def test_outputs_instead_of_files(make: Callable[..., Job], hook: Receiver) -> None:
    """With `detections.format: none` there are no CSV files, none waits to be published, and audit is content."""
    job = make()
    job.do("run", "--once")
    assert_delivered(job, hook)
    now = job.status()
    assert (now["files_published"], now["files_waiting"]) == (0, 0)
    assert "none is published here" in job.do("audit")
    assert job.problems() == []
    assert not (job.folder / "tillwatch-data" / "detections").exists()
