"""What the servers of object stores have in common, and the environment in which the product finds them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

_CLOUD = ("AWS_", "AZURE_", "GOOGLE_", "DATABRICKS_", "STORAGE_EMULATOR_HOST", "IDENTITY_ENDPOINT")


class CloudServer(Protocol):
    """A server of one kind of object store, and ways to look behind the back of a client."""

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:port`."""
        ...

    def environment(self, url: str = "") -> dict[str, str]:
        """The variables with which the product finds it and is let in; through a proxy at `url` if given."""
        ...

    def make(self) -> str:
        """A new empty bucket; returns its URI."""
        ...

    def peek(self, uri: str) -> dict[str, bytes]:
        """All objects of a bucket."""
        ...

    def plant(self, uri: str, name: str, data: bytes) -> None:
        """Makes an object, or replaces it."""
        ...

    def wrong(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The same environment with credentials that the server refuses."""
        ...


@contextmanager
def environment(variables: Mapping[str, str], home: Path) -> Iterator[None]:
    """This process knows no cloud but what `variables` and the files of `home` say, while the context lasts."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_CLOUD):
            del os.environ[name]
    os.environ.update({"HOME": str(home), "AZURE_CONFIG_DIR": str(home / ".azure"), **variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
