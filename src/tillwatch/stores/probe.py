"""Whether a store keeps the promise on which everything rests: that it creates an object once."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from tillwatch.errors import ObjectExists, StoreError
from tillwatch.stores.base import Store

PREFIX = "tillwatch-probe-"
"""How the names of probes begin: one may be left behind by a process that was killed."""

_FIRST, _SECOND = b"tillwatch: a probe, safe to delete", b"tillwatch: a probe that went wrong"


def check_creates(store: Store) -> None:
    """Proves, with an object of its own, that of two puts under one name the second fails and changes nothing.

    The object is removed again, and so is what an earlier probe left. Raises StoreError, which says what to do, when
    the store overwrites, or lacks a right that is needed: to list, to create, to read, to delete.
    """
    for left in list(store.list(PREFIX)):
        store.delete(left)
    name = f"{PREFIX}{uuid4().hex}"
    with suppress(ObjectExists):  # its own: the answer to its first request was lost
        store.put(name, _FIRST)
    try:
        refused = _is_refused(store, name)
        found = store.get(name)
    finally:
        store.delete(name)
    if not refused or found != _FIRST:
        raise StoreError(
            f"{store.uri} lets a second writer replace an object (it does not honour If-None-Match), so nothing "
            "could be exactly once there. Use a store that creates objects only if absent: Amazon S3, Azure Blob "
            "Storage, Google Cloud Storage, a recent MinIO or Ceph, or a local folder."
        )


def _is_refused(store: Store, name: str) -> bool:
    try:
        store.put(name, _SECOND)
    except ObjectExists:
        return True
    return False
