"""Reading chunks on executors: rows decoded and divided among the shards, those that are not valid quarantined.

Where late rows are quarantined, a reading task does not know which are: that depends on the chunks before, which others
read. It sends the account of a chunk to the folding task of a shard, which hears the clock of every chunk in order.
That one settles the account: it quarantines what was rejected, and reads the chunk again when rows of it are late.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from tillwatch.detect import quarantine
from tillwatch.engine.decode import PLAIN, Decoded, Decoder, Detail
from tillwatch.engine.joined import NO_LOOKUPS, Require, RowLookups
from tillwatch.engine.late import Lateness, set_aside
from tillwatch.engine.lookup import LookupData
from tillwatch.landing import Format, Landing, LayoutName
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.patterns.derived import Derived
from tillwatch.patterns.expression import Expr
from tillwatch.patterns.program import LookupSpec
from tillwatch.retry import Retry
from tillwatch.spark.gather import gather
from tillwatch.spark.records import Record, patience
from tillwatch.spark.shards import Group
from tillwatch.stores import Store, open_store, put_same


@dataclass(frozen=True, slots=True)
class Joined:
    """The lookups that rows are looked up in: of each version its object in a store, and its first chunk."""

    store: str = ""
    names: tuple[tuple[LookupSpec, str, int], ...] = ()
    require: Mapping[str, Require] = field(default_factory=dict)

    def read(self, retry: Retry) -> RowLookups:
        """The lookups. Raises StoreError."""
        if not self.names:
            return NO_LOOKUPS
        store = open_store(self.store)
        found = []
        for spec, name, first in self.names:
            data = retry(lambda name=name: store.get(name))  # type: ignore[misc]
            found.append(LookupData(spec, pl.read_parquet(io.BytesIO(data)), name, first))
        return RowLookups.of(found, self.require)


NOTHING = Joined()


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What the source is told: where it reads, from chunk `start` on, and how rows are decoded and divided.

    A batch has at most `chunks` chunks, and none reaches beyond `fence` when it begins before it. So many `tasks` read.
    """

    landing: str
    format: Format
    layout: LayoutName
    quarantine: str
    columns: Mapping[str, str | Derived]
    digits: int
    negative: bool
    optional: frozenset[str]
    where: Expr | None
    groups: tuple[Group, ...]
    start: int
    fence: int
    chunks: int
    tasks: int
    detail: Detail = PLAIN
    joined: Joined = NOTHING

    @property
    def lateness(self) -> Lateness:
        """What becomes of late rows; it is the same in all groups."""
        return self.groups[0].lateness

    def open_landing(self) -> Landing:
        """The landing zone."""
        return Landing(open_store(self.landing), self.format, self.layout)


_latest: list[Reading] = []
"""What this process read with last: texts that it knows need not be cleaned again, and connections stay open."""

MOST_TEXTS = 2_000_000
"""A process that knows more texts than these forgets all of them."""


def reading_of(plan: ReadPlan) -> Reading:
    """What reads by this plan, the last one if that does."""
    known = _latest.pop() if _latest else None
    if known is None or known.plan != plan or known.known_texts > MOST_TEXTS:
        known = Reading(plan)
    _latest.append(known)
    return known


class Reading:
    """Reads chunks in a task."""

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        self._landing = plan.open_landing()
        self._quarantine: Store = open_store(plan.quarantine)
        self._retry: Retry = patience()
        digits, optional, lookups = plan.digits, plan.optional, plan.joined.read(self._retry)
        self._decoder = Decoder(plan.columns, digits, plan.negative, optional, plan.detail, plan.where, lookups)

    @property
    def known_texts(self) -> int:
        """How many distinct texts its dictionaries hold beside those of lookups."""
        return self._decoder.own_texts

    def read(self, number: int) -> list[Record]:
        """What a chunk brings to each shard, and what became of its rows; rejected ones are quarantined before."""
        chunk, decoded = self._decoded(number)
        parts = gather(number, decoded, self._decoder.dictionaries, self.plan.groups)
        return [self._account(chunk, decoded), *((shard, number, "rows", data) for shard, data in parts)]

    def settled(self, number: int, unsettled: bytes, clock: int | None) -> Record:
        """What became of a chunk's rows, given what `read` has told and the clock before the chunk."""
        told = json.loads(unsettled)
        if told["least"] is None or clock is None or told["least"] >= clock - self.plan.lateness.size:
            if told["rejected"]:
                self._put(number, told["rejected"].encode())
            return (0, number, "chunk", told["account"].encode())
        chunk, decoded = self._decoded(number)
        admitted = set_aside(decoded, clock, self.plan.lateness, str(self.plan.columns["time"]))
        self._put(number, self._rendered(chunk, admitted))
        return (0, number, "chunk", _account(chunk, admitted).encode())

    def _decoded(self, number: int) -> tuple[Chunk, Decoded]:
        chunk = self._retry(lambda: self._landing.read(number, self._decoder.sources))
        (decoded,) = self._decoder.decode([chunk.frame], [number])
        return chunk, decoded

    def _account(self, chunk: Chunk, decoded: Decoded) -> Record:
        """The account of a chunk, or what a shard needs to settle it."""
        number, account = chunk.info.number, _account(chunk, decoded)
        rejected = self._rendered(chunk, decoded) if decoded.rejects else b""
        if not self.plan.lateness.quarantine:
            if rejected:
                self._put(number, rejected)
            return (0, number, "chunk", account.encode())
        times = decoded.times
        least = int(times.min()) if times is not None and len(times) else None
        unsettled = {"account": account, "least": least, "rejected": rejected.decode()}
        shards = self.plan.groups[-1].shards.stop
        return (number % shards, number, "account", json.dumps(unsettled).encode())

    def _rendered(self, chunk: Chunk, decoded: Decoded) -> bytes:
        whole = self._retry(lambda: self._landing.read(chunk.info.number))
        return quarantine.render(whole, decoded.rejects)

    def _put(self, number: int, data: bytes) -> None:
        self._retry(lambda: put_same(self._quarantine, quarantine.name(number), data))


def _account(chunk: Chunk, decoded: Decoded) -> str:
    reasons = quarantine.by_code(decoded.rejects)
    counts = {"counted": len(decoded.rows), "quarantined": reasons}
    more = {"filtered": decoded.filtered, "marked": decoded.marked}
    return json.dumps({"info": asdict(chunk.info), **counts, **more})


Account = tuple[ChunkInfo, int, dict[str, int], int, dict[str, int]]
"""A chunk's metadata, its rows counted, quarantined by reason code, filtered out, marked by lookup."""


def account_of(data: bytes) -> Account:
    """What became of a chunk, as a reading task told it."""
    told: dict[str, Any] = json.loads(data)
    info = told["info"]
    info["file"], info["position"] = SourceFile(**info["file"]), Position(**info["position"])
    return ChunkInfo(**info), told["counted"], told["quarantined"], told["filtered"], told["marked"]
