"""The objects of the executors' state, as the driver sees them: lookups put there, what is missing, what is garbage."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from tillwatch.engine.lookup import Lookup
from tillwatch.errors import ObjectExists
from tillwatch.patterns.program import LookupSpec
from tillwatch.retry import Retry
from tillwatch.spark.manifest import SHARDS, Manifest, run_of
from tillwatch.spark.shards import Group, Part, joins, lookup_parts
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
        self, groups: Sequence[Group], lookups: Sequence[Lookup], fingerprint: str, chunk: int = 0
    ) -> Mapping[int, tuple[Part, ...]]:
        """Sees that the lookups are there, divided as the groups are, as they were before a chunk and are from it on.

        Returns the parts by shard; others are removed.
        """
        there = set(self._names(_LOOKUPS))
        found: dict[int, tuple[Part, ...]] = {}
        for version in _needed(lookups, chunk):
            for group in (g for g in groups if joins(g, version.spec.name)):
                place = f"{_LOOKUPS}{fingerprint[:16]}-{len(groups)}-{group.count}"
                end = f"{version.spec.name}-{version.digest[:16]}.parquet"
                wanted = {n: f"{place}/{n:05d}/{end}" for n in group.shards}
                if not there.issuperset(wanted.values()):
                    self._put_parts(wanted, lookup_parts(group, version.frame))
                for number, name in wanted.items():
                    found[number] = (*found.get(number, ()), Part(version.spec.name, version.first, name))
        self._remove(there - {part.name for mine in found.values() for part in mine})
        return found

    def put_joined(self, lookups: Sequence[Lookup], chunk: int = 0) -> tuple[tuple[LookupSpec, str, int], ...]:
        """Sees that lookups that rows are looked up in are there, each whole, as they are from a chunk on.

        Returns their versions by the names of objects, with their first chunks.
        """
        there, names = set(self._names(_JOINED)), []
        for lookup in _needed(lookups, chunk):
            data = io.BytesIO()
            lookup.frame.sort(*lookup.spec.grain).write_parquet(data, compression="zstd")
            name = f"{_JOINED}{hashlib.sha256(data.getvalue()).hexdigest()[:32]}/{lookup.spec.name}.parquet"
            if name not in there:
                self._retry(lambda name=name, data=data: self._put(name, data.getvalue()))  # type: ignore[misc]
            names.append((lookup.spec, name, lookup.first))
        self._remove(there - {name for _, name, _ in names})
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


def _needed(lookups: Sequence[Lookup], chunk: int) -> list[Lookup]:
    """Of each lookup the version in force before a chunk, and those from it on; the first one always was."""
    before = {version.spec.name: version for version in lookups if version.first < max(chunk, 1)}
    return [*before.values(), *(version for version in lookups if version.first >= max(chunk, 1))]
