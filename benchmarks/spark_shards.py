"""What the tasks of the Spark engine cost, on one core and without Spark: reading a chunk, and folding each shard.

`python -m benchmarks.spark_shards CONFIG LANDED BATCH BUCKETS …` prints JSON, for each number of buckets.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def main(config: str, landed: str, batch: str, *buckets: str) -> None:
    from tillwatch.landing import Landing
    from tillwatch.pipeline import Pipeline
    from tillwatch.stores import open_store

    pipeline = Pipeline.open(config)
    landing = Landing(open_store(landed))
    numbers = list(landing.numbers())
    batches = [numbers[at : at + int(batch)] for at in range(0, len(numbers), int(batch))]
    print(json.dumps([measured(pipeline, landing, batches, int(n)) for n in buckets]))


def measured(pipeline: Any, landing: Any, batches: Sequence[Sequence[int]], buckets: int) -> dict[str, Any]:
    """Milliseconds a chunk of reading tasks and of each shard; the rows that each shard gets, landed and added up."""
    from tillwatch.spark.shards import groups_of

    setup = pipeline.setup
    groups = groups_of(setup.program, buckets)
    read, folded, rows = [], {}, {}
    chunks = sum(map(len, batches))
    with tempfile.TemporaryDirectory() as folder:
        tasks = Tasks(pipeline, groups, Path(folder), landing)
        for batch in batches:
            records, seconds = tasks.read(batch)
            read.append(seconds)
            for shard, taken, sent in tasks.fold(records):
                folded[shard] = folded.get(shard, 0.0) + taken
                rows[shard] = [a + b for a, b in zip(rows.get(shard, (0, 0)), sent, strict=True)]
    per_chunk = [1000 * folded[s] / chunks for s in sorted(folded)]
    return {
        "buckets": buckets,
        "read": 1000 * sum(read) / chunks,
        "fold": per_chunk,
        "factor": max(per_chunk) / (sum(per_chunk) / len(per_chunk)),
        "rows": [rows[s] for s in sorted(rows)],
        "bytes": tasks.bytes / (chunks or 1),
    }


class Tasks:
    """The bodies of both kinds of task, called one after the other."""

    def __init__(self, pipeline: Any, groups: Any, folder: Path, landing: Any) -> None:
        import threading

        from tillwatch.clock import SystemClock
        from tillwatch.retry import Retry
        from tillwatch.spark.manifest import Manifest
        from tillwatch.spark.objects import Objects
        from tillwatch.stores import open_store

        setup = pipeline.setup
        self.program, self.groups, self.landing, self.setup = setup.program, groups, landing, setup
        self.decoder = setup.decoder()
        self.store = open_store(str(folder))
        objects = Objects(self.store, Retry(SystemClock(), threading.Event(), lambda text: None, 0))
        self.lookups = objects.put_lookups(groups, setup.lookups, "0" * 16)
        self.manifest = Manifest(groups[-1].shards.stop)
        self.bytes = 0

    def read(self, numbers: Sequence[int]) -> tuple[list[tuple[int, int, str, bytes]], float]:
        """The records that reading tasks send, and how long that took."""
        from tillwatch.spark.gather import gather

        began, found = time.process_time(), []
        for number in numbers:
            chunk = self.landing.read(number, self.decoder.sources)
            (decoded,) = self.decoder.decode([chunk.frame])
            found += [
                (s, number, "rows", d) for s, d in gather(number, decoded, self.decoder.dictionaries, self.groups)
            ]
        self.bytes += sum(len(record[3]) for record in found)
        return found, time.process_time() - began

    def fold(self, sent: Sequence[tuple[int, int, str, bytes]]) -> Iterator[tuple[int, float, tuple[int, int]]]:
        """Each shard, how long its task took, and its rows: as they were landed, and added up."""
        from tillwatch.spark.arrays import unpack
        from tillwatch.spark.batch import told_by
        from tillwatch.spark.worker import Job, fold_shards, records

        told: list[Any] = []
        for shard in sorted({record[0] for record in sent}):
            mine = [record for record in sent if record[0] == shard]
            times = [unpack(record[3], "a record")["_times"] for record in mine]
            m = self.manifest
            job = Job(self.groups, m.chunk, m.run, m.shards, self.store.uri, self.lookups)
            began = time.process_time()
            out = list(fold_shards(job, [records(mine)]))
            yield shard, time.process_time() - began, (int(sum(t.sum() for t in times)), sum(map(len, times)))
            told += [r for b in out for r in zip(*(c.to_pylist() for c in b.columns), strict=True)]
        versions = told_by([(r[0], r[2], r[3]) for r in told], self.program).versions
        self.manifest = self.manifest.after(sent[-1][1] + 1, versions)


if __name__ == "__main__":
    main(*sys.argv[1:])
