"""A store that is known by its name in the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tillwatch.errors import StoreError
from tillwatch.stores.base import Store


class Named:
    """Passes everything on to a store; errors that it raises say which place failed, by its name."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name

    @property
    def uri(self) -> str:
        return self._store.uri

    @property
    def remote(self) -> bool:
        return self._store.remote

    @property
    def resumes(self) -> bool:
        return self._store.resumes

    def put(self, name: str, data: bytes) -> None:
        with self._naming():
            self._store.put(name, data)

    def get(self, name: str) -> bytes:
        with self._naming():
            return self._store.get(name)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        with self._naming():
            return self._store.get_range(name, start, length)

    def has(self, name: str) -> bool:
        with self._naming():
            return self._store.has(name)

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        with self._naming():
            yield from self._store.list(prefix, after)

    def delete(self, name: str) -> None:
        with self._naming():
            self._store.delete(name)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            error.place = self._name
            raise
