"""The store in a volume of Unity Catalog keeps the promises of the port, and tells what goes wrong."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tillwatch.clock import SystemClock
from tillwatch.errors import ConfigError, ObjectExists, ObjectMissing, StoreError
from tillwatch.landing import Landing
from tillwatch.retry import Retry
from tillwatch.stores import check_creates, open_store, put_same
from tillwatch.stores.base import Store
from tillwatch.stores.volumes import VolumesStore
from tillwatch.testing.servers.clouds import environment
from tillwatch.testing.servers.databricks import CLIENT, SECRET, TOKEN, DatabricksServer, databricks_server
from tillwatch.testing.servers.proxy import Fault, Harm, proxy
from tillwatch.testing.stores import StoreSuite

PREFIX = "a prefix/deep"
PLANTED = (TOKEN, CLIENT, SECRET, "planted")
EVERY: dict[str, Callable[[Store], object]] = {
    "create": lambda store: store.put("object", b"data"),
    "read": lambda store: store.get("object"),
    "look for": lambda store: store.has("object"),
    "list": lambda store: [*store.list()],
    "delete": lambda store: store.delete("object"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[DatabricksServer]:
    with databricks_server() as workspace:
        yield workspace


@dataclass(frozen=True)
class Volume:
    """A new volume of the server."""

    server: DatabricksServer
    uri: str


class TestVolumesStore(StoreSuite):
    """The suite below a folder of a new volume, in which there are other files as well."""

    listings = 60

    @pytest.fixture
    def place(self, server: DatabricksServer, tmp_path: Path) -> Iterator[Volume]:
        with environment(server.environment(), tmp_path):
            yield Volume(server, server.make())

    def open(self, place: Volume) -> Store:
        return open_store(f"{place.uri}/{PREFIX}")

    def peek(self, place: Volume) -> dict[str, bytes]:
        start = f"{PREFIX}/"
        files = place.server.peek(place.uri)
        return {name.removeprefix(start): data for name, data in files.items() if name.startswith(start)}

    def plant(self, place: Volume, name: str, data: bytes) -> None:
        place.server.plant(place.uri, f"{PREFIX}/{name}", data)

    def test_files_beside_the_folder_are_left_alone(self, place: Volume) -> None:
        """A store sees nothing of the volume but what is below its folder."""
        beside = ("a prefix/deeper", "a prefix/x", "deep", f"{PREFIX}-2/object", "object")
        for name in beside:
            place.server.plant(place.uri, name, b"beside")
        store = self.open(place)
        assert [*store.list()] == []
        store.put("object", b"inside")
        assert [*store.list()] == ["object"]
        store.delete("object")
        assert place.server.peek(place.uri) == dict.fromkeys(beside, b"beside")

    def test_folders_in_which_nothing_is_wanted_are_not_read(self, place: Volume) -> None:
        """A listing asks for the folders of the names that it is to give only."""
        for name in ("a/1", "a/2", "b/c/1", "b/d/1", "e/1"):
            self.plant(place, name, b"")
        store = self.open(place)
        del place.server.requests[:]
        assert [*store.list("b/", after="b/c~")] == ["b/d/1"]
        assert [request.rpartition("/deep")[2] for request in place.server.requests] == ["/b", "/b/d"]

    def test_waiting_chunks_are_counted_without_a_listing(self, place: Volume) -> None:
        """As a folder can only be listed whole, the landing zone looks for the next chunks one by one."""
        for number in range(5):
            self.plant(place, f"{number:012}.parquet", b"")
        landing = Landing(self.open(place))
        landing.waiting(0, 60)  # the merged chunks are looked for once
        del place.server.requests[:]
        assert landing.waiting(1, 3) == range(1, 4)
        assert landing.waiting(3, 60) == range(3, 5)
        assert not [request for request in place.server.requests if request.startswith("GET /api/2.0/fs/dir")]


@pytest.fixture
def volume(server: DatabricksServer, tmp_path: Path) -> Iterator[str]:
    """The URI of a new volume, of which the environment knows."""
    with environment(server.environment(), tmp_path):
        yield server.make()


def told(operation: Callable[[Store], object], store: Store) -> str:
    """What the operation is refused with; no secret is in it."""
    with pytest.raises(StoreError) as caught:
        operation(store)
    text = "".join((str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(store)))
    assert not any(secret in text for secret in PLANTED)
    return str(caught.value)


@pytest.mark.parametrize("verb", EVERY)
def test_wrong_credentials(server: DatabricksServer, tmp_path: Path, verb: str) -> None:
    """A refused token, and refused client credentials, are told with what to set."""
    for said in (server.environment(), server.client_environment()):
        with environment(server.wrong(said), tmp_path):
            text = told(EVERY[verb], open_store(f"{server.make()}/folder"))
        assert "the credentials were not accepted (HTTP 401" in text
        assert "DATABRICKS_TOKEN" in text


def test_no_credentials(server: DatabricksServer, tmp_path: Path) -> None:
    """Without any, it is said which variables to set."""
    with environment({"DATABRICKS_HOST": server.url}, tmp_path):
        assert "no credentials for http://127.0.0.1" in told(EVERY["list"], open_store(server.make()))


def test_a_missing_volume(server: DatabricksServer, volume: str) -> None:
    """A volume that is not there is told when something is to be put, which is the first thing that a run does."""
    with pytest.raises(StoreError, match=r"there is no such volume \(HTTP 404 NOT_FOUND\)"):
        check_creates(open_store(f"{volume}x/landing"))


def test_a_folder_in_the_way(server: DatabricksServer, volume: str) -> None:
    """Where a folder has the name, nothing is there, and it is not taken for the object."""
    server.plant(volume, "name/inside", b"")
    store = open_store(volume)
    assert not store.has("name")
    assert "something else is there" in told(lambda s: s.put("name", b""), store)
    with pytest.raises(ObjectMissing):
        store.get_range("name", 0, 1)


def test_a_service_that_ignores_ranges(server: DatabricksServer, volume: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the whole file is sent in place of a range, the range is cut from it."""
    server.plant(volume, "object", b"0123456789")
    monkeypatch.setattr("tillwatch.testing.servers.databricks.re.fullmatch", lambda *_: None)
    assert open_store(volume).get_range("object", 3, 4) == b"3456"


def test_a_store_that_overwrites_is_refused(server: DatabricksServer, volume: str) -> None:
    """The probe finds out a service that does not heed overwrite=false."""
    server.overwrites = True
    try:
        with pytest.raises(StoreError, match="lets a second writer replace an object"):
            check_creates(open_store(volume))
    finally:
        server.overwrites = False
    assert server.peek(volume) == {}


@pytest.mark.parametrize("verb", EVERY)
def test_a_workspace_that_cannot_be_reached(server: DatabricksServer, tmp_path: Path, verb: str) -> None:
    """Where nothing listens, that is told."""
    with environment(server.environment("http://127.0.0.1:1"), tmp_path):
        assert "the workspace cannot be reached; check the network" in told(EVERY[verb], open_store(server.make()))


def test_a_workspace_that_hangs(server: DatabricksServer, tmp_path: Path) -> None:
    """A request that is not answered ends after the time-out, and that is told."""
    with (
        proxy(server.url, Fault("hang", times=99)) as harmful,
        environment(server.environment(harmful.url), tmp_path),
    ):
        assert "no answer within 0.2 s" in told(EVERY["read"], VolumesStore(server.make(), timeout=0.2))


@pytest.mark.parametrize("harm", ["429", "500", "503"])
def test_a_service_that_stays_out_of_order(server: DatabricksServer, tmp_path: Path, harm: Harm) -> None:
    """After a few tries the status is told; it is for the caller to have patience."""
    with proxy(server.url, Fault(harm, times=99)) as harmful, environment(server.environment(harmful.url), tmp_path):
        assert f"busy or out of order (HTTP {harm})" in told(EVERY["list"], open_store(server.make()))
        assert len(harmful.requests) == 3


def test_a_service_that_asks_to_be_left_alone(server: DatabricksServer, volume: str) -> None:
    """Where it says for how long, it is not asked again at once, and whoever has patience hears of it."""
    store = open_store(volume)
    del server.requests[:]
    server.busy_for = 7
    try:
        with pytest.raises(StoreError, match=r"HTTP 429 REQUEST_LIMIT_EXCEEDED") as caught:
            store.get("object")
    finally:
        server.busy_for = 0
    assert len(server.requests) == 1
    assert getattr(caught.value, "after", 0) == 7


def test_a_repeated_create_may_find_its_own_file(server: DatabricksServer, tmp_path: Path) -> None:
    """When a create went through but was answered with 500, its repetition finds the name taken; put_same knows."""
    uri = server.make()
    with proxy(server.url, Fault("denied", "PUT")) as harmful, environment(server.environment(harmful.url), tmp_path):
        with pytest.raises(ObjectExists):
            open_store(uri).put("object", b"data")
        assert not put_same(open_store(uri), "object", b"data")
    assert server.peek(uri) == {"object": b"data"}


def test_a_service_principal(server: DatabricksServer, tmp_path: Path) -> None:
    """Client credentials are exchanged for a token once, which all stores use, and again when it is refused."""
    uri, before = server.make(), server.exchanges
    with environment(server.client_environment(), tmp_path):
        open_store(uri).put("first", b"")
        open_store(f"{uri}/other").put("second", b"")
        assert server.exchanges == before + 1
        server.expire_tokens()
        assert [*open_store(uri).list()] == ["first", "other/second"]
        assert server.exchanges == before + 2


def test_a_token_that_changes(server: DatabricksServer, volume: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store at work goes on with the token that is in the environment now."""
    store = open_store(volume)
    server.tokens = {"planted-next"}
    try:
        assert "not accepted" in told(EVERY["list"], store)
        monkeypatch.setenv("DATABRICKS_TOKEN", "planted-next")
        store.put("object", b"")
    finally:
        server.tokens = {TOKEN}


@pytest.mark.parametrize("seed", [1, 2])
def test_patience_overcomes_harm(server: DatabricksServer, tmp_path: Path, seed: int) -> None:
    """With a fault in every third request, each file is created once and read back whole, and the list is right."""
    uri, reported = server.make(), list[str]()
    retry = Retry(SystemClock(), threading.Event(), reported.append, patience=60)
    objects = {f"{number:03}": b"%d " % number * 2000 for number in range(25)}
    with (
        proxy(server.url, seed=seed, rate=0.34) as harmful,
        environment(server.client_environment(harmful.url), tmp_path),
    ):
        store = open_store(f"{uri}/prefix")
        for name, data in objects.items():
            retry(lambda name=name, data=data: put_same(store, name, data))  # type: ignore[misc]
        assert retry(lambda: [*store.list()]) == [*objects]
        assert all(retry(lambda name=name: store.get(name)) == data for name, data in objects.items())  # type: ignore[misc]
        assert harmful.harmed > 10
    assert server.peek(uri) == {f"prefix/{name}": data for name, data in objects.items()}
    assert not any(secret in line for line in reported for secret in PLANTED)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("", "DATABRICKS_HOST is not set"),
        ("http://workspace.example", "without TLS"),
        ("https://workspace.example/path", "is no address of a workspace"),
        ("https://user:planted@workspace.example", "is no address of a workspace"),
        ("ftp://workspace.example", "is no address of a workspace"),
    ],
)
def test_a_host_that_cannot_be_used(tmp_path: Path, host: str, said: str) -> None:
    """What is no address of a workspace, or one without TLS, is refused and not repeated."""
    with environment({"DATABRICKS_HOST": host}, tmp_path), pytest.raises(StoreError, match=said) as caught:
        open_store("dbfs:/Volumes/main/bank/live")
    assert "planted" not in str(caught.value)


def test_a_host_without_a_scheme(tmp_path: Path) -> None:
    """The name of the host alone means https."""
    with environment({"DATABRICKS_HOST": "workspace.example"}, tmp_path):
        assert open_store("dbfs:/Volumes/main/bank/live/").uri == "dbfs:/Volumes/main/bank/live"


@pytest.mark.parametrize("uri", ["dbfs:/", "dbfs:/tmp/x", "dbfs:/Volumes/a/b", "dbfs:/Volumes/a/b/c/../d"])
def test_a_uri_that_is_wrong(uri: str) -> None:
    """What is no folder of a volume is refused."""
    with pytest.raises(ConfigError, match="expected dbfs:/Volumes/CATALOG/SCHEMA/VOLUME"):
        open_store(uri)


def test_a_mounted_volume_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Databricks the path of a mounted volume, which has no hard links, is refused with the URI to write."""
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "19.0")
    with pytest.raises(ConfigError, match="write dbfs:/Volumes/main/bank/live"):
        open_store("/Volumes/main/bank/live")


def test_the_package_that_is_missing_is_named(
    server: DatabricksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without httpx it is said how to get it."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with environment(server.environment(), tmp_path), pytest.raises(ConfigError, match=r"'tillwatch\[databricks\]'"):
        VolumesStore(server.make(), timeout=7)
