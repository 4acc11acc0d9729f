"""Trouble on the way to every place, and a database that is restarted: the whole job gives the same, nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tillwatch.testing.places import Data, Job, Servers
from tillwatch.testing.servers.postgres import postgres_server
from tillwatch.testing.servers.proxy import HARMS, Fault, Proxy, TcpProxy, proxy, tcp_proxy

RETRIED = "trying again in"

NewJob = Callable[..., Job]

Before = Callable[[Job, ExitStack], tuple[Proxy | TcpProxy, dict[str, str]]]
"""Puts a proxy before a place; gives it, and the variables with which a program goes through it."""


def before_s3(job: Job, stack: ExitStack) -> tuple[Proxy, dict[str, str]]:
    """Three requests of ten fail: the client's own two tries more are often not enough."""
    running = stack.enter_context(proxy(job.servers.s3.url, seed=3, rate=0.3))
    return running, {"AWS_ENDPOINT_URL": running.url}


def before_azure(job: Job, stack: ExitStack) -> tuple[Proxy, dict[str, str]]:
    """As before S3."""
    running = stack.enter_context(proxy(job.servers.azure.url, seed=5, rate=0.3))
    return running, job.servers.azure.environment(running.url)


def before_gcs(job: Job, stack: ExitStack) -> tuple[Proxy, dict[str, str]]:
    """As before S3."""
    running = stack.enter_context(proxy(job.servers.gcs.url, seed=13, rate=0.3))
    return running, job.servers.gcs.environment(running.url)


def before_drive(job: Job, stack: ExitStack) -> tuple[Proxy, dict[str, str]]:
    """Few requests are made of Drive: each kind of harm comes once, some of them in a row."""
    harms = [Fault(harm, path="*alt=media*", first=1 + 2 * n) for n, harm in enumerate(HARMS)]
    harms += [Fault("503", path="*/files?*", times=2), Fault("429", path="*/files?*", first=3)]
    running = stack.enter_context(proxy(job.servers.drive.url, *harms))
    return running, {"TILLWATCH_GDRIVE_ENDPOINT": f"{running.url}/drive/v3"}


def before_postgres(job: Job, stack: ExitStack) -> tuple[TcpProxy, dict[str, str]]:
    """One piece of a hundred is late or breaks its connection off, within transactions and between them."""
    port = job.servers.postgres.port
    running = stack.enter_context(tcp_proxy(port, seed=11, rate=0.01))
    job.config.write_text(job.config.read_text("utf-8").replace(f":{port}/", f":{running.port}/"), "utf-8")
    return running, {}


def harm(running: Proxy | TcpProxy) -> int:
    """How often a proxy did harm, lateness aside where it is told apart."""
    return running.harmed if isinstance(running, Proxy) else running.harmed["reset"] + running.harmed["lost"]


@pytest.fixture
def make(jobs: NewJob, servers: Servers, middling: Data, tmp_path: Path) -> Callable[[str], Job]:
    """Makes a pipeline from Drive to one kind of object store, its state in PostgreSQL."""

    def made(kind: str) -> Job:
        places = {"landing": kind, "quarantine": kind, "detections": kind, "state": "postgresql"}
        return jobs(servers, tmp_path / "job", middling, places)

    return made


@pytest.mark.parametrize(
    ("kind", "before"),
    [("s3", before_s3), ("az", before_azure), ("gs", before_gcs), ("s3", before_drive), ("s3", before_postgres)],
    ids=["S3", "Azure", "GCS", "Drive", "PostgreSQL"],
)
def test_a_bad_way_to_one_place(kind: str, before: Before, make: Callable[[str], Job]) -> None:
    """Delays, resets, refusals, halves of answers, lost ones: the same detections, and what is tried again is told."""
    job = make(kind)
    with ExitStack() as stack:
        running, variables = before(job, stack)
        program = job.start("run", **variables)
        program.until(job.is_done)
        running.calm()
        program.stop()
        assert harm(running) > 5
        assert program.said.count(RETRIED) > 2
        assert [line for line in program.said.splitlines() if not line.startswith("tillwatch: ")] == []
        assert job.problems() == []


@pytest.fixture
def own(servers: Servers) -> Iterator[Servers]:
    """All servers, and a database server that is this test's own to stop."""
    with postgres_server() as running:
        yield replace(servers, postgres=running)


def test_the_database_is_restarted(own: Servers, jobs: NewJob, middling: Data, tmp_path: Path) -> None:
    """Stopped in the middle of `run` and killed by SIGKILL later, then started again: the run goes on by itself.

    So do a run and an audit that begin while the database is stopped.
    """
    places = {"landing": "s3", "quarantine": "s3", "detections": "az", "state": "postgresql"}
    job = jobs(own, tmp_path / "job", middling, places)
    own.postgres.stop()
    running = job.start("run")
    running.until(lambda: RETRIED in running.said)
    own.postgres.start()
    for chunk, end in ((10, own.postgres.stop), (35, own.postgres.kill)):
        running.until(lambda at=chunk: job.processed() >= at)  # type: ignore[misc]
        told = running.said.count(RETRIED)
        end()
        running.until(lambda before=told: running.said.count(RETRIED) > before)  # type: ignore[misc]
        own.postgres.start()
        assert not job.is_done()
    running.until(job.is_done)
    running.stop()
    assert job.problems() == []
    own.postgres.stop()
    audit = job.start("audit")
    audit.until(lambda: RETRIED in audit.said)
    own.postgres.start()
    audit.wait()


def test_recovery_has_patience(make: Callable[[str], Job]) -> None:
    """After a crash chunks are read again; where the store is out of order just then, it is waited for."""
    job = make("s3")
    job.die("state.save_tables.before#1", "ingest", "detect")
    with proxy(job.servers.s3.url, Fault("503", "GET", "*.parquet", times=6)) as running:
        done = job.call("detect", "--once", AWS_ENDPOINT_URL=running.url)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(RETRIED) == running.harmed / 3 == 2
    assert job.problems() == []


def test_audit_has_patience(make: Callable[[str], Job]) -> None:
    """A store that is out of order for a moment is told, and no reason to doubt what is there."""
    job = make("s3")
    job.do("run", "--once")
    with proxy(job.servers.s3.url, *(Fault("503", first=1 + 40 * n, times=6) for n in range(3))) as running:
        audited = job.call("audit", AWS_ENDPOINT_URL=running.url)
    assert audited.stdout.splitlines()[-1] == "audit: ok"
    assert audited.stderr.count(RETRIED) == running.harmed / 3 == 6
