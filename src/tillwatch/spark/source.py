"""The landing zone as a streaming source of Spark: offsets are chunk numbers, batches are contiguous.

Spark plans on the driver and reads on the executors; both open the same stores as the rest of the product, so no jar is
needed. An offset is the number of the next chunk to be read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.types import StructType

from tillwatch.detect import quarantine
from tillwatch.engine.decode import PLAIN, Decoded, Decoder, Detail
from tillwatch.engine.joined import NO_LOOKUPS, Require, RowLookups
from tillwatch.engine.lookup import LookupData
from tillwatch.errors import TillwatchError
from tillwatch.landing import Format, Landing, LayoutName
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.patterns.derived import Derived
from tillwatch.patterns.expression import Expr
from tillwatch.patterns.program import LookupSpec
from tillwatch.retry import Retry
from tillwatch.spark.gather import gather
from tillwatch.spark.shards import Group
from tillwatch.spark.worker import COLUMNS, Record, error_record, patience, records, settle
from tillwatch.stores import Store, open_store, put_same


@dataclass(frozen=True, slots=True)
class Joined:
    """The lookups that rows are looked up in, by the names of their objects in a store."""

    store: str = ""
    names: tuple[tuple[LookupSpec, str], ...] = ()
    require: Mapping[str, Require] = field(default_factory=dict)

    def read(self, retry: Retry) -> RowLookups:
        """The lookups. Raises StoreError."""
        if not self.names:
            return NO_LOOKUPS
        store = open_store(self.store)
        data = [(spec, retry(lambda name=name: store.get(name))) for spec, name in self.names]  # type: ignore[misc]
        return RowLookups.of((LookupData(s, pl.read_parquet(io.BytesIO(d)), "") for s, d in data), self.require)


NOTHING = Joined()


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What the source is told: where it reads, from chunk `start` on, and how rows are decoded and divided.

    A batch has at most `chunks` chunks, and none reaches beyond `fence` when it begins before it. So many tasks read.
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

    def open_landing(self) -> Landing:
        """The landing zone."""
        return Landing(open_store(self.landing), self.format, self.layout)


def chunk_source(plan: ReadPlan) -> type[DataSource]:
    """The landing zone, for `readStream.format("tillwatch")`.

    The plan is the class's, not an option: Spark shows options in its plans, pages and event logs.
    """

    class ChunkSource(DataSource):
        @classmethod
        def name(cls) -> str:
            return "tillwatch"

        def schema(self) -> str:
            return COLUMNS

        def streamReader(self, schema: StructType) -> ChunkReader:
            return ChunkReader(plan)

    return ChunkSource


class Chunks(InputPartition):
    """Consecutive chunks that one task reads."""

    def __init__(self, numbers: range) -> None:
        super().__init__(None)
        self.numbers = numbers


class ChunkReader(DataSourceStreamReader):
    """Plans batches on the driver, reads chunks on executors.

    It bounds batches by what it has given itself, without Spark's admission control, which came with Spark 4.2 only.
    """

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        self._landing: Landing | None = None  # made where it is used: a reader travels to the executors
        self._given = plan.start

    def initialOffset(self) -> dict[str, int]:
        return {"chunk": self.plan.start}

    def latestOffset(self) -> dict[str, int]:  # type: ignore[override]  # asked once before each batch
        first = self._given
        most = self.plan.chunks if first >= self.plan.fence else min(self.plan.chunks, self.plan.fence - first)
        self._given = self._waiting(first, most).stop
        return {"chunk": self._given}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[Chunks]:
        numbers = range(start["chunk"], end["chunk"])
        tasks = min(self.plan.tasks, len(numbers)) or 1
        return [Chunks(numbers[i * len(numbers) // tasks : (i + 1) * len(numbers) // tasks]) for i in range(tasks)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, Chunks)
        settle()
        try:
            reading = _reading(self.plan)
            for number in partition.numbers:
                yield records(reading.read(number))
        except TillwatchError as error:
            yield records([error_record(error)])

    def _waiting(self, first: int, most: int) -> range:
        if self._landing is None:
            self._landing = self.plan.open_landing()
        return self._landing.waiting(first, most)


_latest: list[_Reading] = []
"""What this process read with last: texts that it knows need not be cleaned again, and connections stay open."""

MOST_TEXTS = 2_000_000
"""A process that knows more texts than these forgets all of them."""


def _reading(plan: ReadPlan) -> _Reading:
    """What reads by this plan, the last one if that does."""
    known = _latest.pop() if _latest else None
    if known is None or known.plan != plan or known.known_texts > MOST_TEXTS:
        known = _Reading(plan)
    _latest.append(known)
    return known


class _Reading:
    """Reads chunks in a task."""

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        self._landing = plan.open_landing()
        self._quarantine: Store = open_store(plan.quarantine)
        self._retry: Retry = patience()
        digits, optional, lookups = plan.digits, plan.optional, plan.joined.read(self._retry)
        self._decoder = Decoder(plan.columns, digits, plan.negative, optional, plan.detail, plan.where, lookups)
        self._of_lookups = self._texts

    @property
    def known_texts(self) -> int:
        """How many distinct texts its dictionaries hold beside those of lookups."""
        return self._texts - self._of_lookups

    @property
    def _texts(self) -> int:
        return sum(len(d.values) for d in self._decoder.dictionaries.values())

    def read(self, number: int) -> list[Record]:
        """What a chunk brings to each shard, and what became of its rows; rejected ones are quarantined before."""
        chunk = self._retry(lambda: self._landing.read(number, self._decoder.sources))
        (decoded,) = self._decoder.decode([chunk.frame])
        self._set_aside(chunk, decoded)
        parts = gather(number, decoded, self._decoder.dictionaries, self.plan.groups)
        return [(0, number, "chunk", _account(chunk, decoded)), *((s, number, "rows", data) for s, data in parts)]

    def _set_aside(self, chunk: Chunk, decoded: Decoded) -> None:
        if decoded.rejects:
            whole = self._retry(lambda: self._landing.read(chunk.info.number))
            data = quarantine.render(whole, decoded.rejects)
            self._retry(lambda: put_same(self._quarantine, quarantine.name(chunk.info.number), data))


def _account(chunk: Chunk, decoded: Decoded) -> bytes:
    reasons = quarantine.by_code(decoded.rejects)
    counts = {"counted": len(decoded.rows), "quarantined": reasons}
    more = {"filtered": decoded.filtered, "marked": decoded.marked}
    return json.dumps({"info": asdict(chunk.info), **counts, **more}).encode()


Account = tuple[ChunkInfo, int, dict[str, int], int, dict[str, int]]
"""A chunk's metadata, its rows counted, quarantined by reason code, filtered out, marked by lookup."""


def account_of(data: bytes) -> Account:
    """What became of a chunk, as a reading task told it."""
    told: dict[str, Any] = json.loads(data)
    info = told["info"]
    info["file"], info["position"] = SourceFile(**info["file"]), Position(**info["position"])
    return ChunkInfo(**info), told["counted"], told["quarantined"], told["filtered"], told["marked"]
