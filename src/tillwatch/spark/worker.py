"""What folding tasks do: bring a shard to where it stood, fold the batch's chunks, put its new version.

Runs on executors. Every argument is data, so that Spark can send it; the cache is this module's, so that it lives as
long as the Python worker does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import polars as pl
import pyarrow as pa

from tillwatch.engine.fold import Outcome
from tillwatch.errors import TillwatchError
from tillwatch.patterns.program import LookupSpec
from tillwatch.retry import Retry
from tillwatch.spark.manifest import Version, object_name
from tillwatch.spark.reading import ReadPlan, reading_of
from tillwatch.spark.records import Record, error_record, patience, records, settle
from tillwatch.spark.shard import Shard
from tillwatch.spark.shards import Group, Part
from tillwatch.stores import Store, open_store, put_same


@dataclass(frozen=True, slots=True)
class Job:
    """What folding tasks are told: the groups, where each shard stands, and where the objects are.

    Chunks below `chunk` are folded already. `run` is that of the manifest. `lookups` are the parts of the lookups, by
    shard. `reading` says how chunks were read, where their accounts are to be settled.
    """

    groups: tuple[Group, ...]
    chunk: int
    run: int
    versions: Mapping[int, Version]
    store: str
    lookups: Mapping[int, tuple[Part, ...]]
    reading: ReadPlan | None = None

    def group(self, shard: int) -> Group:
        """The group of a shard."""
        return next(g for g in self.groups if shard in g.shards)


_cache: dict[tuple[str, int], tuple[str, Shard]] = {}
"""Shards that this process holds, by store and number, each with the name of its last object."""


Sent = tuple[int, str, bytes]
"""What a chunk brings to a shard: its number; account or rows; the data."""


def fold_shards(job: Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The body of a folding task: rows in, what was found and the new versions out; other records pass."""
    settle()
    shards: dict[int, list[Sent]] = {}
    for batch in batches:
        passing = []
        for shard, chunk, kind, data in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            if kind not in ("rows", "account"):
                passing.append((shard, chunk, kind, data))
            elif chunk >= job.chunk:
                shards.setdefault(shard, []).append((chunk, kind, data))
        if passing:
            yield records(passing)
    for shard, sent in shards.items():
        yield records(_guarded(job, shard, sorted(sent)))


def _guarded(job: Job, number: int, sent: Sequence[Sent]) -> list[Record]:
    try:
        return list(_fold(job, number, sent))
    except TillwatchError as error:
        return [error_record(error)]


def _fold(job: Job, number: int, sent: Sequence[Sent]) -> Iterator[Record]:
    """Chunk by chunk; an account comes before the rows, and is settled by the clock before them."""
    store, retry = open_store(job.store), patience()
    shard = opened(job, number, store, retry)
    for chunk, kind, data in sent:
        if kind == "account":
            assert job.reading is not None
            yield reading_of(job.reading).settled(chunk, data, shard.clock)
            continue
        found = shard.step(chunk, data)
        if found.detections or found.turns:
            yield (number, chunk, "found", _outcome(found))
    if any(kind == "rows" for _, kind, _ in sent):
        version = _put(job, number, shard, store, retry)
        yield (number, sent[-1][0], "version", json.dumps(asdict(version)).encode())
    else:
        keep(job, number, shard)


def _outcome(found: Outcome) -> bytes:
    detections = [(d.chunk, d.pattern, d.action, d.key, d.evidence, d.occasion, d.shadow) for d in found.detections]
    turns = [(t.chunk, t.pattern, t.key, t.holds, t.cleared, t.shadow) for t in found.turns]
    return json.dumps({"detections": detections, "turns": turns}).encode()


def _put(job: Job, number: int, shard: Shard, store: Store, retry: Retry) -> Version:
    """Puts what changed, or all of it when that is due, under a name that nobody had; keeps the shard."""
    before = job.versions.get(number)
    data = shard.delta(job.chunk) if before else b""
    whole = before is None or not before.takes(len(data))
    name = object_name(number, job.run, "snapshot" if whole else "delta")
    if whole:
        data = shard.snapshot()
    retry(lambda: put_same(store, name, data))
    _cache[job.store, number] = (name, shard)
    if before is None or whole:
        return Version((name,), len(data), 0, shard.sizes)
    return before.with_delta(name, len(data), shard.sizes)


def opened(job: Job, number: int, store: Store, retry: Retry) -> Shard:
    """The shard as the manifest has it: from this process's cache, brought forward, or from its objects.

    It is taken out of the cache; who keeps it unchanged puts it back.
    """
    version = job.versions.get(number)
    chain = version.chain if version else ()
    group = job.group(number)
    lookups = {p: _Joined(group.program.lookups[p.lookup], p, store, retry) for p in job.lookups.get(number, ())}
    tip, shard = _cache.pop((job.store, number), (None, None))
    if shard is None or tip not in chain or not shard.expects_only(lookups):
        shard, todo = Shard(group), chain
    else:
        todo = chain[chain.index(tip) + 1 :]
    moved = shard.begin(lookups, job.chunk)
    for name in todo:
        shard.load(retry(lambda name=name: store.get(name)), f"{store.uri}/{name}")  # type: ignore[misc]
    if todo or moved:
        shard.refresh()
    return shard


def forget() -> None:
    """Lets go of all shards that this process holds."""
    _cache.clear()


def keep(job: Job, number: int, shard: Shard) -> None:
    """Keeps a shard that was opened and is unchanged."""
    if version := job.versions.get(number):
        _cache[job.store, number] = (version.chain[-1], shard)


@dataclass(frozen=True, slots=True)
class _Joined:
    """A version of a lookup, as far as a shard needs it; read when it comes into force."""

    spec: LookupSpec
    part: Part
    store: Store
    retry: Retry
    digest: str = ""

    @property
    def first(self) -> int:
        return self.part.first

    @property
    def frame(self) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(self.retry(lambda: self.store.get(self.part.name))))
