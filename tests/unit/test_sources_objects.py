"""Objects of S3, Azure Blob Storage and Google Cloud Storage as files of a source."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tillwatch.errors import ConfigError, SourceUnavailable
from tillwatch.ingest import IngestSettings, ingest
from tillwatch.landing import Landing
from tillwatch.retry import Retry
from tillwatch.sources import Source, open_source
from tillwatch.sources.base import FileChanged, FileIgnored, Found, RangeReader, Remote, at_once
from tillwatch.state import open_state
from tillwatch.testing.clocks import ScriptedClock
from tillwatch.testing.servers.azure import azure_server
from tillwatch.testing.servers.clouds import CloudServer, environment
from tillwatch.testing.servers.gcs import gcs_server
from tillwatch.testing.servers.s3 import s3_server
from tillwatch.testing.stores import MemoryStore


@pytest.fixture(scope="module", params=["s3", "az", "gs"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudServer]:
    """A server of a cloud, which the environment names."""
    with ExitStack() as stack:
        server = stack.enter_context({"s3": s3_server, "az": azure_server, "gs": gcs_server}[request.param]())
        home = tmp_path_factory.mktemp("home")
        stack.enter_context(environment(server.environment() | {"XDG_CACHE_HOME": str(home)}, home))
        yield server


def read(source: Source, found: Found, start: int = 0) -> bytes:
    """The file's bytes from `start` on."""
    file = source.file(found, at_once)
    assert isinstance(file, Remote)
    reader = RangeReader(file)
    reader.seek(start)
    return b"".join(iter(lambda: reader.read(1 << 20), b""))


def test_objects_below_a_prefix(cloud: CloudServer) -> None:
    """All objects below the prefix are files, save hidden and unfinished ones and markers of folders."""
    uri = cloud.make()
    for name in ("in/a.csv", "in/2026/b c+%.csv", "in/_tmp/c.csv", "in/.d.csv", "in/e.csv.part", "into/f.csv", "g.csv"):
        cloud.plant(uri, name, name.encode())
    cloud.plant(uri, "in/2026/", b"")
    source = open_source(f"{uri}/in")
    seen = source.look()
    assert {f.name: read(source, f) for f in seen.files} == {
        "a.csv": b"in/a.csv",
        "2026/b c+%.csv": b"in/2026/b c+%.csv",
    }
    assert (seen.lone, seen.ignored) == (False, [])
    assert sorted(f.name for f in open_source(uri).look().files) == [
        "g.csv",
        "in/2026/b c+%.csv",
        "in/a.csv",
        "into/f.csv",
    ]


def test_one_object(cloud: CloudServer) -> None:
    """The URI of an object is a source of one file."""
    uri = cloud.make()
    cloud.plant(uri, "in/a.csv", b"a\n1\n")
    source = open_source(f"{uri}/in/a.csv")
    seen = source.look()
    (found,) = seen.files
    assert (seen.lone, found.name, read(source, found), source.unchanged(found)) == (True, "a.csv", b"a\n1\n", True)


def test_nothing_there_yet(cloud: CloudServer) -> None:
    """A prefix without objects is said to hold none; a bucket that is missing is told, and worth another try."""
    uri = cloud.make()
    seen = open_source(f"{uri}/in").look()
    assert (seen.files, seen.ignored) == ([], [FileIgnored(f"{uri}/in", "holds no object yet", False)])
    with pytest.raises(SourceUnavailable, match="there is no such bucket or container"):
        open_source(f"{uri}x/in").look()


def test_reading_from_the_middle(cloud: CloudServer) -> None:
    """A file is read by ranges, from any offset on."""
    uri = cloud.make()
    content = random.Random(5).randbytes(300_000)
    cloud.plant(uri, "a.csv", content)
    source = open_source(f"{uri}/a.csv")
    (found,) = source.look().files
    assert read(source, found) == content
    assert read(source, found, 250_000) == content[250_000:]


@pytest.mark.parametrize("how", ["changed", "shorter"])
def test_changed_while_it_is_read(cloud: CloudServer, how: str) -> None:
    """No byte of another revision is taken for one of the revision that was found."""
    uri = cloud.make()
    cloud.plant(uri, "a.csv", bytes(1000))
    source = open_source(uri)
    (found,) = source.look().files
    file = source.file(found, at_once)
    assert isinstance(file, Remote)
    assert file.fetch(0, 500) == bytes(500)
    cloud.plant(uri, "a.csv", b"x" * (1000 if how == "changed" else 10))
    with pytest.raises(FileChanged):
        file.fetch(500, 500)
    assert not source.unchanged(found)


def test_checksums(cloud: CloudServer) -> None:
    """Copies have one checksum where the service's tag is made from the content, and never one by chance."""
    uri = cloud.make()
    for name, content in (("a.csv", b"a\n1\n"), ("b.csv", b"a\n1\n"), ("c.csv", b"a\n2\n")):
        cloud.plant(uri, name, content)
    sums = {f.name: f.checksum for f in open_source(uri).look().files}
    assert len(set(sums.values())) == (2 if uri.startswith("s3") else 3)


def test_refused_credentials(cloud: CloudServer, tmp_path: Path) -> None:
    """Credentials that are refused are told without being shown, and read again when they are others."""
    uri = cloud.make()
    cloud.plant(uri, "a.csv", b"a\n1\n")
    right = cloud.environment()
    with environment(cloud.wrong(right), tmp_path):
        source = open_source(uri)
        with pytest.raises(SourceUnavailable, match="the credentials were not accepted") as caught:
            source.look()
        assert not any(value in str(caught.value) for name, value in cloud.wrong(right).items() if "KEY" in name)
    assert len(source.look().files) == 1


def test_wrong_uri() -> None:
    """What is no URI of a cloud is refused, and not repeated."""
    with pytest.raises(ConfigError) as caught:
        open_source("s3://key:secret@bucket/in")
    assert "secret" not in str(caught.value)


def test_ingest(cloud: CloudServer, tmp_path: Path) -> None:
    """Ingest stops within an object and goes on; a second run finds nothing, a changed object is told."""
    uri = cloud.make()
    cloud.plant(uri, "in/a.csv", b"a\n" + b"".join(b"%d\n" % n for n in range(10)))
    store, chunks = MemoryStore(), []

    def run(limit: int) -> tuple[str, ...]:
        stop, clock = threading.Event(), ScriptedClock(*[lambda: None] * 20)
        chunks.clear()

        def heard(event: object) -> None:
            chunks.append(event)
            if len(chunks) > limit:
                stop.set()

        state = open_state(str(tmp_path / "state.db"))
        settings = IngestSettings(f"{uri}/in", 2, 1.0, "auto", ",", {})
        retry = Retry(clock, stop, chunks.append, 1.0)
        try:
            return ingest(settings, Landing(store), state, clock, stop, limit > 5, heard, retry).problems
        finally:
            state.close()

    assert run(2) == ()
    assert 0 < len(store.objects) < 5
    assert run(99) == ()
    landing = Landing(store)
    assert [a for n in range(5) for a in landing.read(n).frame["a"]] == [str(n) for n in range(10)]
    assert (run(99), chunks) == ((), [])
    cloud.plant(uri, "in/a.csv", b"a\n1\n")
    (problem,) = run(99)
    assert problem.startswith("a.csv has changed after it was taken")
