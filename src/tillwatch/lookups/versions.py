"""The contents of lookups that were in force, kept beside the landing zone: immutable, named by their SHA-256.

An object such as `_lookups/importance/0a1b…` is Parquet, with the keys and their values, as they were aggregated. Its
name does not end as that of a chunk, so that no engine takes it for one. It is put before the commit that names it, by
whoever takes the version, and never removed: replay needs it as it needs the log.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from tillwatch.engine.lookup import Lookup
from tillwatch.errors import LogError, ObjectMissing
from tillwatch.lookups.source import LookupSource
from tillwatch.patterns.program import LookupSpec
from tillwatch.retry import Retry
from tillwatch.state.base import LookupVersion
from tillwatch.stores.base import Store, put_same

_FOLDER = "_lookups/"


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that was in force. Its values are read each time they are asked for, and held by nobody here."""

    record: LookupVersion
    spec: LookupSpec
    store: Store
    retry: Retry

    @property
    def digest(self) -> str:
        """By which versions are told apart."""
        return self.record.digest

    @property
    def first(self) -> int:
        """The first chunk that it is in force at."""
        return self.record.first

    @property
    def frame(self) -> pl.DataFrame:
        """The keys and their values. Raises LogError when the object is not there, or not what was put."""
        name = self.record.kept
        told = f"version {self.record.number} of the lookup {self.record.name}, in force from chunk {self.first} on"
        try:
            data = self.retry(lambda: self.store.get(name))
        except ObjectMissing:
            raise LogError(f"{self.store.uri}/{name} is not there: it holds {told}. Bring it back.") from None
        if _name(self.record.name, data) != name:
            raise LogError(f"{self.store.uri}/{name} is not what was put: it holds {told}. Bring that back.")
        return pl.read_parquet(io.BytesIO(data))


def keep(store: Store, lookup: Lookup, retry: Retry) -> str:
    """Sees that the values of a lookup are kept, durably; returns the name of the object."""
    data = io.BytesIO()
    lookup.frame.sort(lookup.spec.grain).write_parquet(data, compression="zstd")
    name = _name(lookup.spec.name, data.getvalue())
    retry(lambda: put_same(store, name, data.getvalue()))
    return name


def kept(records: Iterable[LookupVersion], sources: Iterable[LookupSource], store: Store, retry: Retry) -> list[Lookup]:
    """The versions that were recorded, of lookups that are configured."""
    specs = {source.name: source.spec for source in sources}
    return [Kept(record, specs[record.name], store, retry) for record in records if record.name in specs]


def _name(lookup: str, data: bytes) -> str:
    return f"{_FOLDER}{lookup}/{hashlib.sha256(data).hexdigest()}"
