"""The landing zone as a streaming source of Spark: offsets are chunk numbers, batches are contiguous.

Spark plans on the driver and reads on the executors; both open the same stores as the rest of the product, so no jar is
needed. An offset is the number of the next chunk to be read.
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxFiles, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from tillwatch.detect import quarantine
from tillwatch.engine.decode import Decoded, Decoder
from tillwatch.errors import TillwatchError
from tillwatch.landing import Format, Landing, LayoutName
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.retry import Retry
from tillwatch.spark.gather import gather
from tillwatch.spark.shards import Group
from tillwatch.spark.worker import COLUMNS, Record, error_record, patience, records
from tillwatch.stores import Store, open_store, put_same

_ALL = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What the source is told: where it reads, from chunk `start` on, and how rows are decoded and divided.

    A batch has at most `chunks` chunks, and none reaches beyond `fence` when it begins before it. So many tasks read.
    """

    landing: str
    format: Format
    layout: LayoutName
    quarantine: str
    columns: Mapping[str, str]
    digits: int
    negative: bool
    optional: frozenset[str]
    groups: tuple[Group, ...]
    start: int
    fence: int
    chunks: int
    tasks: int

    def to_option(self) -> str:
        """The plan as an option of the source; it holds no secret."""
        return base64.b64encode(pickle.dumps(self)).decode()

    def open_landing(self) -> Landing:
        """The landing zone."""
        return Landing(open_store(self.landing), self.format, self.layout)


class ChunkSource(DataSource):
    """The landing zone, for `readStream.format("tillwatch")`; its one option is a `ReadPlan`."""

    @classmethod
    def name(cls) -> str:
        return "tillwatch"

    def schema(self) -> str:
        return COLUMNS

    def streamReader(self, schema: StructType) -> ChunkReader:
        return ChunkReader(pickle.loads(base64.b64decode(self.options["plan"])))


class Chunks(InputPartition):
    """Consecutive chunks that one task reads."""

    def __init__(self, numbers: range) -> None:
        super().__init__(None)
        self.numbers = numbers


class ChunkReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Plans batches on the driver, reads chunks on executors."""

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        self._landing: Landing | None = None  # made where it is used: a reader travels to the executors
        self._end: int | None = None

    def initialOffset(self) -> dict[str, int]:
        return {"chunk": self.plan.start}

    def getDefaultReadLimit(self) -> ReadLimit:
        return ReadMaxFiles(self.plan.chunks)

    def prepareForTriggerAvailableNow(self) -> None:
        self._end = self._waiting(self.plan.start, _ALL).stop

    def latestOffset(self, start: dict[str, int], limit: ReadLimit) -> dict[str, int]:
        first = start["chunk"]
        most = self.plan.chunks if first >= self.plan.fence else min(self.plan.chunks, self.plan.fence - first)
        if self._end is not None:
            most = min(most, self._end - first)
        return {"chunk": self._waiting(first, most).stop}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[Chunks]:
        numbers = range(start["chunk"], end["chunk"])
        tasks = min(self.plan.tasks, len(numbers)) or 1
        return [Chunks(numbers[i * len(numbers) // tasks : (i + 1) * len(numbers) // tasks]) for i in range(tasks)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, Chunks)
        reading = _Reading(self.plan)
        for number in partition.numbers:
            try:
                yield records(reading.read(number))
            except TillwatchError as error:
                yield records([error_record(error)])
                return

    def _waiting(self, first: int, most: int) -> range:
        if self._landing is None:
            self._landing = self.plan.open_landing()
        return self._landing.waiting(first, most)


class _Reading:
    """A reading task."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._landing = plan.open_landing()
        self._quarantine: Store = open_store(plan.quarantine)
        self._decoder = Decoder(plan.columns, plan.digits, plan.negative, plan.optional)
        self._retry: Retry = patience()

    def read(self, number: int) -> list[Record]:
        """What a chunk brings to each shard, and what became of its rows; rejected ones are quarantined before."""
        columns = list(self._plan.columns.values())
        chunk = self._retry(lambda: self._landing.read(number, columns))
        (decoded,) = self._decoder.decode([chunk.frame])
        self._set_aside(chunk, decoded)
        parts = gather(number, decoded.rows, self._decoder.dictionaries, self._plan.groups)
        return [(0, number, "chunk", _account(chunk, decoded)), *((s, number, "rows", data) for s, data in parts)]

    def _set_aside(self, chunk: Chunk, decoded: Decoded) -> None:
        if decoded.rejects:
            whole = self._retry(lambda: self._landing.read(chunk.info.number))
            data = quarantine.render(whole, decoded.rejects)
            self._retry(lambda: put_same(self._quarantine, quarantine.name(chunk.info.number), data))


def _account(chunk: Chunk, decoded: Decoded) -> bytes:
    counts = {"counted": len(decoded.rows), "quarantined": quarantine.by_code(decoded.rejects)}
    return json.dumps({"info": asdict(chunk.info), **counts}).encode()


def account_of(data: bytes) -> tuple[ChunkInfo, int, dict[str, int]]:
    """A chunk's metadata, its rows counted, and those quarantined by reason code, as a reading task told them."""
    told: dict[str, Any] = json.loads(data)
    info = told["info"]
    info["file"], info["position"] = SourceFile(**info["file"]), Position(**info["position"])
    return ChunkInfo(**info), told["counted"], told["quarantined"]
