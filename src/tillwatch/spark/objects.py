"""The objects of the executors' state, as the driver sees them: lookups put there, what is missing, what is garbage."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from tillwatch.engine.lookup import LookupData
from tillwatch.errors import ObjectExists
from tillwatch.patterns.program import LookupSpec
from tillwatch.retry import Retry
from tillwatch.spark.manifest import SHARDS, Manifest, run_of
from tillwatch.spark.shards import Group, lookup_parts
from tillwatch.stores.base import Store

_LOOKUPS = "lookups/"
_JOINED = "joined/"


class Objects:
    """The store of the executors' state."""

    def __init__(self, store: Store, retry: Retry) -> None:
        self._store, self._retry = store, retry

    def missing(self, manifest: Manifest) -> bool:
        """Whether an object that counts is not there."""
        return not manifest.named <= set(self._names(SHARDS))

    def last_run(self) -> int:
        """The greatest number of a run that has put an object which is there, 0 when there is none."""
        return max(map(run_of, self._names(SHARDS)), default=0)

    def put_lookups(
        self, groups: Sequence[Group], lookups: Iterable[LookupData], fingerprint: str
    ) -> Mapping[int, tuple[str, ...]]:
        """Sees that the lookups are there, divided as the groups are. Returns the names of the parts by shard."""
        there = set(self._names(_LOOKUPS))
        names: dict[int, tuple[str, ...]] = {}
        for data in lookups:
            for group in groups:
                if not any(data.spec.name in t.lookups for t in group.program.tables):
                    continue
                folder = f"{_LOOKUPS}{fingerprint[:16]}-{len(groups)}-{group.count}"
                wanted = {n: f"{folder}/{n:05d}/{data.spec.name}.parquet" for n in group.shards}
                if not there.issuperset(wanted.values()):
                    self._put_parts(wanted, lookup_parts(group, data))
                for number, name in wanted.items():
                    names[number] = (*names.get(number, ()), name)
        self._remove(there - {name for mine in names.values() for name in mine})
        return names

    def put_joined(self, lookups: Iterable[LookupData]) -> tuple[tuple[LookupSpec, str], ...]:
        """Sees that lookups that rows are looked up in are there, each whole. Returns them by the names of objects."""
        there, names = set(self._names(_JOINED)), []
        for lookup in lookups:
            data = io.BytesIO()
            lookup.frame.sort(*lookup.spec.grain).write_parquet(data, compression="zstd")
            name = f"{_JOINED}{hashlib.sha256(data.getvalue()).hexdigest()[:32]}/{lookup.spec.name}.parquet"
            if name not in there:
                self._retry(lambda name=name, data=data: self._put(name, data.getvalue()))  # type: ignore[misc]
            names.append((lookup.spec, name))
        self._remove(there - {name for _, name in names})
        return tuple(names)

    def _put_parts(self, names: Mapping[int, str], parts: Mapping[int, pl.DataFrame]) -> None:
        for number, name in names.items():
            data = io.BytesIO()
            parts[number].write_parquet(data, compression="zstd")
            self._retry(lambda name=name, data=data: self._put(name, data.getvalue()))  # type: ignore[misc]

    def _put(self, name: str, data: bytes) -> None:
        try:
            self._store.put(name, data)
        except ObjectExists:
            return  # the same rows, perhaps in another order: the name says of which lookup

    def collect(self, manifest: Manifest) -> None:
        """Removes what runs before that of the manifest have put and it does not name.

        What is of a later run stays: this one has then lost its lease without knowing it yet.
        """
        garbage = set(self._names(SHARDS)) - manifest.named
        self._remove(name for name in garbage if run_of(name) < manifest.run)

    def replaced(self, before: Manifest, now: Manifest) -> None:
        """Removes what was named before and is not any more."""
        self._remove(before.named - now.named)

    def _names(self, prefix: str) -> list[str]:
        return self._retry(lambda: list(self._store.list(prefix)))

    def _remove(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self._retry(lambda name=name: self._store.delete(name))  # type: ignore[misc]
