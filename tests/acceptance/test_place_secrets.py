"""No secret is anywhere but where it was planted: not in what is printed, nor in any object, file or table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tillwatch.testing.places import Data, Job, Servers
from tillwatch.testing.servers import azure, gcs, s3
from tillwatch.testing.servers.postgres import PASSWORD
from tillwatch.testing.servers.webhook import receiver

HOOK_SECRET = "planted-secret-of-the-receiver"
WRONG = {"HOOK_SECRET": "planted-wrong-secret-of-the-receiver", "PGPASSWORD": "planted-wrong-password"}
RETRIED = "trying again in"


@pytest.fixture
def job(jobs: Callable[..., Job], servers: Servers, middling: Data, tmp_path: Path) -> Iterator[Job]:
    """A pipeline that needs a secret for every kind of place."""
    places = {"landing": "s3", "quarantine": "gs", "detections": "az", "reports": "gs", "state": "postgresql"}
    with receiver(HOOK_SECRET) as hook:
        more = f"outputs:\n  hook: {{format: webhook, uri: '{hook.url}', secret_env: HOOK_SECRET}}\n"
        made = jobs(servers, tmp_path / "job", middling, places, more)
        made.environment["HOOK_SECRET"] = HOOK_SECRET
        yield made
        assert hook.taken
        assert [s for s in planted(made) if s in json.dumps(list(hook.taken.values())).encode()] == []


def planted(job: Job) -> list[bytes]:
    """Every secret, right or wrong, and what an address has that lets people in."""
    key = job.servers.drive.key_file()["private_key"].splitlines()[5]
    servers = job.servers
    wrong = [*servers.azure.wrong({}).values(), *servers.gcs.wrong({}).values(), *servers.s3.wrong({}).values()]
    secrets = [s3.SECRET, azure.KEY, gcs.TOKEN, PASSWORD, HOOK_SECRET, key, "planted-token", "told-to-nobody"]
    return [secret.encode() for secret in (*secrets, *wrong, *WRONG.values())]


def test_no_secret_is_shown_or_kept(job: Job) -> None:
    """With every secret right, and with each of them wrong in turn, whatever is asked of the program."""
    servers, right = job.servers, job.environment
    assert job.call("run", "--once", HOOK_SECRET=WRONG["HOOK_SECRET"]).returncode == 1
    for command in (["check"], ["run", "--once"], ["status"], ["detections"], ["audit"], ["quality"], ["compact"]):
        job.do(*command)
    job.do("detections", "--format", "jsonl")
    refused = {
        "landing": servers.s3.wrong(right),
        "detections": servers.azure.wrong(right),
        "quarantine": servers.gcs.wrong(right),
        "state": right | {"PGPASSWORD": WRONG["PGPASSWORD"]},
    }
    for place, environment in refused.items():
        job.environment = environment
        assert_refused(job, place)
    job.environment = right
    servers.drive.key_ids, known = set(), servers.drive.key_ids
    try:  # audit has all that it needs in the log
        assert [job.call(*command).returncode for command in (["check"], ["run", "--once"], ["audit"])] == [2, 1, 0]
    finally:
        servers.drive.key_ids = known
    everything = job.everything()
    assert len(everything) > 1_000_000
    assert [secret for secret in planted(job) if secret in everything.replace(job.config.read_bytes(), b"")] == []


def assert_refused(job: Job, place: str) -> None:
    """What needs the place says that it is tried again, or ends with an error; what does not need it ends well."""
    codes = {command: job.call(command).returncode for command in ("check", "status", "detections")}
    expected = {"state": (2, 1, 1), "landing": (0, 1, 0)}.get(place, (0, 0, 0))
    assert tuple(codes.values()) == expected, place
    for command in ("run", "audit"):
        program = job.start(command)
        program.until(lambda p=program: RETRIED in p.said)  # type: ignore[misc]
        program.kill()
