"""The servers of object stores that the contract tests need: started when first asked for, one of each per process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tillwatch.testing.servers.azure import AzureServer, azure_server
from tillwatch.testing.servers.gcs import GcsServer, gcs_server
from tillwatch.testing.servers.s3 import S3Server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsServer]:
    with gcs_server() as server:
        yield server


@pytest.fixture(scope="session")
def azure() -> Iterator[AzureServer]:
    with azure_server() as server:
        yield server
