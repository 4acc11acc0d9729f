"""The stores in S3, Azure Blob Storage and Google Cloud Storage keep the promises of the port."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tillwatch.errors import ObjectExists, StoreError
from tillwatch.stores import open_store
from tillwatch.stores.base import Store, put_same
from tillwatch.testing.servers.azure import ACCOUNT, AzureServer
from tillwatch.testing.servers.clouds import CloudServer, environment
from tillwatch.testing.servers.gcs import GcsServer
from tillwatch.testing.servers.moto import listening
from tillwatch.testing.servers.proxy import Fault, proxy
from tillwatch.testing.servers.s3 import S3Server
from tillwatch.testing.stores import StoreSuite

PREFIX = "a prefix/deep"


@dataclass(frozen=True)
class Bucket:
    """A new bucket of a server."""

    server: CloudServer
    uri: str


class CloudSuite(StoreSuite):
    """The suite below a prefix of a new bucket, in which there are other objects as well."""

    listings = 60

    def open(self, place: Bucket) -> Store:
        return open_store(f"{place.uri}/{PREFIX}")

    def peek(self, place: Bucket) -> dict[str, bytes]:
        objects = place.server.peek(place.uri)
        return {
            name.removeprefix(f"{PREFIX}/"): data for name, data in objects.items() if name.startswith(f"{PREFIX}/")
        }

    def plant(self, place: Bucket, name: str, data: bytes) -> None:
        place.server.plant(place.uri, f"{PREFIX}/{name}", data)

    def test_objects_beside_the_prefix_are_left_alone(self, place: Bucket) -> None:
        """A store sees nothing of the bucket but what is below its prefix."""
        beside = ("a prefix/deeper", "a prefix", "deep", f"{PREFIX}-2/object", "object")
        for name in beside:
            place.server.plant(place.uri, name, b"beside")
        store = self.open(place)
        assert [*store.list()] == []
        store.put("object", b"inside")
        assert [*store.list()] == ["object"]
        store.delete("object")
        assert place.server.peek(place.uri) == dict.fromkeys(beside, b"beside")


class TestS3Store(CloudSuite):
    """The store in a bucket of S3."""

    @pytest.fixture
    def place(self, s3: S3Server, tmp_path: Path) -> Iterator[Bucket]:
        with environment(s3.environment(), tmp_path):
            yield Bucket(s3, s3.make())


class TestAzureStore(CloudSuite):
    """The store in a container of Azure Blob Storage."""

    @pytest.fixture
    def place(self, azure: AzureServer, tmp_path: Path) -> Iterator[Bucket]:
        with environment(azure.environment(), tmp_path):
            yield Bucket(azure, azure.make())

    @pytest.mark.slow
    def test_list_goes_on_past_a_page(self, place: Bucket) -> None:
        super().test_list_goes_on_past_a_page(place)


class TestGcsStore(CloudSuite):
    """The store in a bucket of Google Cloud Storage."""

    @pytest.fixture
    def place(self, gcs: GcsServer, tmp_path: Path) -> Iterator[Bucket]:
        with environment(gcs.environment(), tmp_path):
            yield Bucket(gcs, gcs.make())


def test_a_listing_asks_for_what_is_new_only(s3: S3Server, tmp_path: Path) -> None:
    """With thousands of objects there, a listing after the last ones is one request, which starts after them."""
    uri = s3.make()
    for number in range(2500):
        s3.plant(uri, f"log/{number:012}.parquet", b"")
    with proxy(s3.url) as watched, environment(s3.environment(watched.url), tmp_path):
        store = open_store(f"{uri}/log")
        assert [*store.list(after=f"{2497:012}.parquet")] == [f"{n:012}.parquet" for n in (2498, 2499)]
        assert len(watched.requests) == 1
        assert f"start-after=log/{2497:012}.parquet" in watched.requests[0].replace("%2F", "/")


def test_who_stops_early_pays_for_one_page(s3: S3Server, tmp_path: Path) -> None:
    """A listing asks for a page when it is needed, and for none behind the names with the prefix asked for."""
    uri = s3.make()
    for number in range(2500):
        s3.plant(uri, f"log/{number:012}.parquet", b"")
    s3.plant(uri, "log/a-name", b"")
    with proxy(s3.url) as watched, environment(s3.environment(watched.url), tmp_path):
        store = open_store(f"{uri}/log")
        assert next(store.list()) == f"{0:012}.parquet"
        assert [*store.list("0000000001")] == [f"{number:012}.parquet" for number in range(100, 200)]
        assert len(watched.requests) == 2
        assert [*store.list("a-")] == ["a-name"]
        assert len(watched.requests) == 3
        assert len([*store.list()]) == 2501
        assert len(watched.requests) == 6


def test_credentials_that_change_within_a_listing_are_read_again(s3: S3Server, tmp_path: Path) -> None:
    """A listing that is refused on a later page goes on after what it has given, with credentials as they are now."""
    uri = s3.make()
    for number in range(1500):
        s3.plant(uri, f"{number:012}", b"")
    known = s3.keeper.accepted
    with environment(s3.environment(), tmp_path):
        listing = open_store(uri).list()
        first = [next(listing) for _ in range(500)]
        s3.keeper.accepted = {"Credential=AKIAROTATED/"}
        os.environ["AWS_ACCESS_KEY_ID"] = "AKIAROTATED"
        try:
            assert [*first, *listing] == [f"{number:012}" for number in range(1500)]
        finally:
            s3.keeper.accepted = known


def test_a_service_that_lists_in_another_order_is_told(s3: S3Server, tmp_path: Path) -> None:
    """Whoever reads on from a name must not lose others: a listing that is not in order ends with an error."""

    def app(env: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "application/xml")])
        entry = "<Contents><Key>{}</Key><Size>1</Size><LastModified>2026-11-20T00:00:00Z</LastModified></Contents>"
        entries = "".join(map(entry.format, ("b", "c", "a")))
        return [f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()]

    said = "cannot list s3://bucket: the service names 'a' after 'c', not in order"
    with (
        listening(app) as url,
        environment(s3.environment(url), tmp_path),
        pytest.raises(StoreError, match=said),
    ):
        list(open_store("s3://bucket").list())


def test_a_container_named_with_its_account(azure: AzureServer, tmp_path: Path) -> None:
    """abfss names the account in the URI, and the same objects are there."""
    uri = azure.make()
    azure.plant(uri, "folder/object", b"planted")
    container = uri.removeprefix("az://")
    with environment(azure.environment(), tmp_path):
        store = open_store(f"abfss://{container}@{ACCOUNT}.dfs.core.windows.net/folder")
        assert store.get("object") == b"planted"
        assert [*store.list()] == ["object"]


def test_a_repeated_create_may_find_its_own_object(s3: S3Server, tmp_path: Path) -> None:
    """When a create went through but was answered with 500, its repetition finds the name taken; put_same knows."""
    uri = s3.make()
    with proxy(s3.url, Fault("denied", "PUT")) as harmful, environment(s3.environment(harmful.url), tmp_path):
        with pytest.raises(ObjectExists):
            open_store(uri).put("object", b"data")
        assert harmful.requests == [f"PUT /{uri[5:]}/object"] * 2
        assert not put_same(open_store(uri), "object", b"data")
    assert s3.peek(uri) == {"object": b"data"}
