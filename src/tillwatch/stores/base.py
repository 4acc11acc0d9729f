"""The one port to bytes elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tillwatch.errors import ObjectConflict, ObjectExists


class Store(Protocol):
    """Named immutable objects below one place. Names are relative, with forward slashes.

    Obligations of every adapter: `put` is atomic and durable when it returns, and creates or fails,
    so that of many racers exactly one wins; `list` yields complete objects only, in code point order.
    """

    @property
    def uri(self) -> str:
        """Where the store is, fit to be shown: no secrets."""
        ...

    @property
    def remote(self) -> bool:
        """Whether each request travels."""
        ...

    @property
    def resumes(self) -> bool:
        """Whether `list` costs only what follows `after`: then many `has` cost more. If not, it costs the folder."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Creates the object, durably, whole or not at all. Raises ObjectExists when the name is taken."""
        ...

    def get(self, name: str) -> bytes:
        """The object's bytes. Raises ObjectMissing."""
        ...

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on: fewer, or none, where the object ends. Raises ObjectMissing."""
        ...

    def has(self, name: str) -> bool:
        """Whether the object is there."""
        ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Names that start with `prefix` and sort after `after`, in code point order."""
        ...

    def delete(self, name: str) -> None:
        """Removes the object, durably; it is fine when there is none."""
        ...


def put_same(store: Store, name: str, data: bytes) -> bool:
    """Makes sure that the object is there with these bytes; returns whether this call created it.

    Present with the same bytes is success (an earlier try got through). Raises ObjectConflict when it is
    there with other bytes: two writers disagree, and neither may win silently.
    """
    try:
        store.put(name, data)
    except ObjectExists:
        if store.get(name) == data:
            return False
        raise ObjectConflict(
            f"{store.uri}/{name} exists already with other content; nothing was overwritten. "
            "Find out who wrote it before you go on."
        ) from None
    return True
