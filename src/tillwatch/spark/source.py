"""The landing zone as a streaming source of Spark: offsets are chunk numbers, batches are contiguous.

Spark plans on the driver and reads on the executors; both open the same stores as the rest of the product, so no jar is
needed. An offset is the number of the next chunk to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.types import StructType

from tillwatch.errors import TillwatchError
from tillwatch.landing import Landing
from tillwatch.spark.reading import ReadPlan, reading_of
from tillwatch.spark.records import COLUMNS, error_record, records, settle


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
            reading = reading_of(self.plan)
            for number in partition.numbers:
                yield records(reading.read(number))
        except TillwatchError as error:
            yield records([error_record(error)])

    def _waiting(self, first: int, most: int) -> range:
        if self._landing is None:
            self._landing = self.plan.open_landing()
        return self._landing.waiting(first, most)
