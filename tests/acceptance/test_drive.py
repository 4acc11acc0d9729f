"""The whole job on data that is elsewhere: Google Drive, S3. What comes out is what comes of the same data here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tillwatch.generate import GeneratedFiles
from tillwatch.landing import Landing
from tillwatch.pipeline import Pipeline
from tillwatch.testing.crash import Outcome, Site
from tillwatch.testing.servers.clouds import environment
from tillwatch.testing.servers.drive import EMAIL, DriveServer, Fault, drive_server
from tillwatch.testing.servers.s3 import s3_server
from tillwatch.testing.small import CONFIG, add_lives

SAME = ("detections", "turns", "quarantined", "published")
"""What does not speak of the place that the data came from."""


class Job:
    """A pipeline whose transactions are in a folder on Drive, and its lookup in a file there."""

    def __init__(self, folder: Path, drive: DriveServer, data: GeneratedFiles) -> None:
        self.site, self.drive = Site(folder), drive
        self.root = drive.folder()
        self.file = drive.put("transactions.csv", data.transactions.read_bytes(), self.root)
        self.lookup = drive.put("CustomerImportance.csv", data.importance.read_bytes())
        self.env = {**os.environ, **drive.environment(folder.parent)}
        folder.mkdir()
        config = CONFIG.format(source=f"gdrive://{self.root}", importance=f"gdrive://{self.lookup}")
        self.site.config.write_text(config, "utf-8")
        add_lives(self.site.config)

    def call(self, *arguments: str, module: str = "tillwatch") -> subprocess.CompletedProcess[str]:
        """A command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.env,
            cwd=self.site.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def outcome(self, monkeypatch: pytest.MonkeyPatch) -> Outcome:
        """What the pipeline has come to; audit finds nothing."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        assert self.site.problems() == []
        return self.site.outcome()


@pytest.fixture
def job(tmp_path: Path, data: GeneratedFiles) -> Iterator[Job]:
    """A pipeline on Drive that has not run yet."""
    with drive_server() as drive:
        yield Job(tmp_path / "site", drive, data)


def differences(found: Outcome, expected: Outcome) -> list[str]:
    """The names of what should be the same and is not."""
    return [name for name in SAME if getattr(found, name) != getattr(expected, name)]


def shown(called: Sequence[subprocess.CompletedProcess[str]], folder: Path) -> bytes:
    """All that commands have printed, and all that is in files below the folder."""
    printed = "".join(c.stdout + c.stderr for c in called).encode()
    return printed + b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_whole_job(job: Job, done: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions and lookup on Drive give the detections of the same files here, each fetched once a run."""
    size = len(job.drive.files[job.file].content)
    ran = job.call("run", "--once")
    assert ran.returncode == 0, ran.stderr
    assert job.drive.served.bytes_of(job.file) == size
    assert job.drive.served.bytes_of(job.lookup) == len(job.drive.files[job.lookup].content)
    assert differences(job.outcome(monkeypatch), done.outcome()) == []
    again = job.call("run", "--once")
    assert again.returncode == 0, again.stderr
    assert job.drive.served.bytes_of(job.file) == size


def test_bad_line(job: Job, done: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With refusals and broken answers on the way nothing is lost and nothing is there twice."""
    job.drive.faults += [
        Fault("about", 429, "rateLimitExceeded", "1"),
        Fault("list", 403, "userRateLimitExceeded"),
        Fault("media", after_bytes=10_000),
        Fault("media", status=0),
        Fault("about", 500),
        Fault("media", 503),
    ]
    ran = job.call("run", "--once")
    assert ran.returncode == 0, ran.stderr
    assert differences(job.outcome(monkeypatch), done.outcome()) == []
    assert not job.drive.faults


def test_killed_within_a_file(job: Job, done: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `kill -9` within a file the next run fetches its head and what is not landed, no more."""
    crash = ("--config", str(job.site.config), "--kill-at", "landing.put.after#12", "ingest")
    killed = job.call(*crash, module="tillwatch.testing.crash")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with monkeypatch.context() as context:
        for name, value in job.env.items():
            context.setenv(name, value)
        landing: Landing = job.site.pipeline.landing
        offset = landing.info(landing.next_number() - 1).position.offset
    job.drive.served.ranges.clear()
    ran = job.call("run", "--once")
    assert ran.returncode == 0, ran.stderr
    first, *rest = [(start, length) for file, start, length in job.drive.served.ranges if file == job.file]
    assert first == (0, 64 << 10)
    assert rest[0][0] == offset > sum(first)
    assert sum(length for _, length in rest) == len(job.drive.files[job.file].content) - offset
    assert differences(job.outcome(monkeypatch), done.outcome()) == []


def test_not_shared(job: Job) -> None:
    """`check` and `run` say which file is to be shared with whom."""
    job.drive.files[job.root].shared = False
    for command in (("check",), ("run", "--once")):
        called = job.call(*command)
        assert called.returncode == (2 if command == ("check",) else 1)
        assert (
            f"gdrive://{job.root} is not there, or not shared with {EMAIL}: share it" in called.stdout + called.stderr
        )


def test_no_secret_is_shown(job: Job) -> None:
    """Neither the key nor a token is in what commands print, in the state, or in any file; also when all fails."""
    secrets = [b"planted-token", job.drive.key_file()["private_key"].splitlines()[5].encode()]
    called = [job.call("check"), job.call("run", "--once"), job.call("status"), job.call("audit")]
    assert [c.returncode for c in called] == [0, 0, 0, 0], called
    job.drive.key_ids = set()
    job.drive.expire_tokens()
    called += [job.call("check"), job.call("run", "--once")]
    job.drive.key_ids = {"key1"}
    job.drive.faults += [Fault("about", 403, "insufficientFilePermissions")]
    called += [job.call("run", "--once")]
    assert [c.returncode for c in called[4:]] == [2, 1, 1], called[4:]
    everything = shown(called, job.site.folder)
    assert len(everything) > 100_000
    assert [secret for secret in secrets if secret in everything] == []


def test_source_and_lookup_in_s3(tmp_path: Path, data: GeneratedFiles, done: Site) -> None:
    """The same with objects: a prefix for the transactions, one object for the lookup."""
    with s3_server() as server, environment(server.environment() | {"XDG_CACHE_HOME": str(tmp_path)}, tmp_path):
        bucket = server.make()
        server.plant(bucket, "in/transactions.csv", data.transactions.read_bytes())
        server.plant(bucket, "lookups/importance.csv", data.importance.read_bytes())
        site = Site(tmp_path / "site")
        site.folder.mkdir()
        config = CONFIG.format(source=f"{bucket}/in", importance=f"{bucket}/lookups/importance.csv")
        site.config.write_text(config, "utf-8")
        add_lives(site.config)
        Pipeline.open(site.config).run(once=True)
        assert site.problems() == []
        assert differences(site.outcome(), done.outcome()) == []
