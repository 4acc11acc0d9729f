"""What the state says of the executors' state: which objects it is made of, and up to which chunk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from uuid import uuid4

SHARDS = "shards/"

NOTE = "spark"
"""The fact of the state that holds the manifest."""

FORMAT = 4
"""Of the manifest and the objects that it names. Another one is not read: the state is rebuilt from the log."""

LONGEST_CHAIN = 40
"""Objects of a shard after which a snapshot is made, however small they are."""


@dataclass(frozen=True, slots=True)
class Version:
    """The state of a shard: a snapshot and the deltas after it, by name, their bytes, and the rows of each table."""

    chain: tuple[str, ...]
    snapshot: int
    deltas: int
    sizes: Mapping[str, int]

    def with_delta(self, name: str, size: int, sizes: Mapping[str, int]) -> Version:
        """The version with one more delta."""
        return Version((*self.chain, name), self.snapshot, self.deltas + size, sizes)

    def takes(self, size: int) -> bool:
        """Whether a delta of so many bytes costs less than beginning again with a snapshot."""
        return len(self.chain) < LONGEST_CHAIN and self.deltas + size <= max(self.snapshot, 1 << 16)


@dataclass(frozen=True, slots=True)
class Saved:
    """How the tables of running values were last saved: as they were before `chunk`, and with which ids.

    `ids` has, by shard and table, (first row, its id) of stretches of rows whose ids follow each other.
    """

    chunk: int = 0
    ids: Mapping[int, Mapping[str, tuple[tuple[int, int], ...]]] = field(default_factory=dict)
    sizes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def total(self, table: str) -> int:
        """How many ids of a table are taken; they are 0, 1, 2 …"""
        return sum(sizes.get(table, 0) for sizes in self.sizes.values())


@dataclass(frozen=True, slots=True)
class Manifest:
    """The executors' state before `chunk`, divided into `buckets`. `run` numbers the runs, whose objects bear it;
    `rules` names the patterns that it is of.
    """

    buckets: int
    chunk: int = 0
    run: int = 0
    shards: Mapping[int, Version] = field(default_factory=dict)
    saved: Saved = field(default_factory=Saved)
    rules: str = ""

    def after(self, chunk: int, changed: Mapping[int, Version]) -> Manifest:
        """The manifest when chunks below `chunk` are folded."""
        return replace(self, chunk=chunk, shards={**self.shards, **changed})

    @property
    def named(self) -> frozenset[str]:
        """All objects that count."""
        return frozenset(name for version in self.shards.values() for name in version.chain)


def object_name(shard: int, run: int, end: str) -> str:
    """A name for an object of a shard that nobody had before."""
    return f"{SHARDS}{shard:05d}/{run:08d}-{uuid4().hex}.{end}"


def run_of(name: str) -> int:
    """Which run has put an object.

    >>> run_of("shards/00003/00000012-0a1b.delta"), run_of("shards/00003/other")
    (12, 0)
    """
    number = name.rpartition("/")[2].partition("-")[0]
    return int(number) if number.isdigit() else 0


def to_text(manifest: Manifest) -> str:
    """The manifest as it is kept.

    >>> m = Manifest(2, 3, 1, {0: Version(("a",), 5, 0, {"merchant": 1})}, Saved(1, {0: {"merchant": ((0, 0),)}}, {}))
    >>> from_text(to_text(m)) == m
    True
    """
    return json.dumps({"format": FORMAT, **asdict(manifest)})


def from_text(text: str | None) -> Manifest | None:
    """The manifest that was kept, None when there is none, or one of another format."""
    fields = json.loads(text) if text else {}
    if fields.get("format") != FORMAT:
        return None
    shards = {int(n): Version(**{**v, "chain": tuple(v["chain"])}) for n, v in fields["shards"].items()}
    saved = fields["saved"]
    ids = {
        int(n): {table: tuple((int(a), int(b)) for a, b in runs) for table, runs in tables.items()}
        for n, tables in saved["ids"].items()
    }
    sizes = {int(n): tables for n, tables in saved["sizes"].items()}
    saved = Saved(saved["chunk"], ids, sizes)
    return Manifest(fields["buckets"], fields["chunk"], fields["run"], shards, saved, fields["rules"])
