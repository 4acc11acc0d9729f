"""The Spark engine on landed chunks, several runs in one warm session on two cores; each state is new.

`python -m benchmarks.spark_alone SPEC`: SPEC is JSON, a list of [configuration, folder of chunks, phases]. A phase is
[chunks, chunks a batch]: the engine works on from where it stands until so many chunks of the folder are done.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tillwatch.pipeline import Event, Pipeline

ARRIVING = 0
"""Instead of chunks a batch: chunks come one by one, each when the one before is done and Spark waits."""

PAUSE = 0.5
"""Seconds from the end of a batch until the next chunk comes."""


def link(pipeline: Pipeline, source: Path, upto: int) -> None:
    """Lands the first chunks, as they were landed before."""
    target = Path(pipeline.settings.landing.uri)
    target.mkdir(parents=True, exist_ok=True)
    there = len(list(target.iterdir()))
    for file in sorted(source.iterdir())[there:upto]:
        os.link(file, target / file.name)


def processor() -> float:
    """Seconds of the processors that this process and all below it have used."""
    used, parents = {}, {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = place.read_text().rpartition(")")[2].split()
            pid = int(place.parent.name)
            parents[pid], used[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    return sum(ticks for pid, ticks in used.items() if _is_below(pid, parents)) / os.sysconf("SC_CLK_TCK")


def _is_below(pid: int, parents: Mapping[int, int]) -> bool:
    while pid and pid != os.getpid():
        pid = parents.get(pid, 0)
    return pid == os.getpid()


def backlog(pipeline: Pipeline, source: Path, upto: int, per_batch: int) -> list[list[float]]:
    """[chunks done, seconds, processor seconds since the start] of every commit, when all the chunks are there."""
    from tillwatch.detect.loop import Processed
    from tillwatch.spark import detect

    detect.BATCH_CHUNKS, detect.BATCH_ROWS = per_batch, 10**9
    link(pipeline, source, upto)
    commits: list[list[float]] = []
    began, used = time.perf_counter(), processor()

    def count(event: Event) -> None:
        if isinstance(event, Processed):
            commits.append([event.last + 1, time.perf_counter() - began, processor() - used])

    pipeline.detect(once=True, observer=count)
    return commits


def arriving(pipeline: Pipeline, source: Path, upto: int) -> list[list[float]]:
    """[chunks done, seconds from landing to commit] of chunks that come one by one."""
    from tillwatch.detect.loop import Processed

    stop, done, waits = threading.Event(), threading.Semaphore(0), []

    def count(event: Event) -> None:
        if isinstance(event, Processed):
            done.release()

    thread = threading.Thread(target=lambda: pipeline.detect(stop=stop, observer=count))
    there = len(list(Path(pipeline.settings.landing.uri).iterdir()))
    thread.start()
    try:
        for number in range(there + 1, upto + 1):
            time.sleep(PAUSE)
            link(pipeline, source, number)
            began = time.perf_counter()
            if not done.acquire(timeout=120):
                raise SystemExit(f"chunk {number - 1} was not taken")
            waits.append([number, time.perf_counter() - began])
    finally:
        stop.set()
        thread.join()
    return waits


def main(spec: str) -> None:
    from tillwatch.config import Spark
    from tillwatch.pipeline import Pipeline
    from tillwatch.spark.session import session

    told: list[Any] = []
    began = time.perf_counter()
    with session(Spark(master="local[2]")):
        start = time.perf_counter() - began
        for config, source, phases in json.loads(spec):
            pipeline = Pipeline.open(config)
            assert pipeline.setup.program  # the lookups are read before
            taken = [
                arriving(pipeline, Path(source), upto)
                if per_batch == ARRIVING
                else backlog(pipeline, Path(source), upto, per_batch)
                for upto, per_batch in phases
            ]
            found = pipeline.detections().select("chunk", "patternId", "customerName", "MerchantId").rows()
            told.append({"phases": taken, "detections": len(found), "found": found})
    print(json.dumps({"start": start, "runs": told}))


if __name__ == "__main__":
    main(sys.argv[1])
