"""(c) From a chunk's landing to its detections durable in a file, while chunks come at a pace.

A chunk has landed when its file has its name (the file's ctime, the time of the last change of its links). A detection
is durable when the put of its file has returned, flushed. Thresholds are low, so that nearly every chunk detects.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import TILLWATCH, check, module, spawn, stopped
from benchmarks.data import CHUNK_ROWS, Data, configured, generated
from benchmarks.plan import Plan
from benchmarks.report import Section, Verdict, alternate, in_rounds, spread, table

TARGET_MS = 50
EVERY_SECONDS = 0.1

TOGETHER = "`run`: X and Y in one process"
APART = "`ingest` and `detect`: a process each"


@dataclass(frozen=True, slots=True)
class Pace:
    """How many chunks come, how many at first do not count (processes start), and PatId2's threshold."""

    chunks: int
    warm_up: int
    transactions: int


FULL, QUICK = Pace(170, 15, 40), Pace(24, 8, 10)


def measure(plan: Plan) -> Section:
    """X at pace, Y beside it: in one process, and in two."""
    pace = QUICK if plan.quick else FULL
    data = generated(plan.folder, "paced", rows=pace.chunks * CHUNK_ROWS)
    plan.say(f"c: latency, {pace.chunks} chunks, one every {EVERY_SECONDS} s, {plan.repeat} times each way")
    found: dict[str, list[list[float]]] = {TOGETHER: [], APART: []}

    def contest(name: str, number: int) -> None:
        folder = plan.folder / "latency" / f"{'together' if name == TOGETHER else 'apart'}-{number}"
        found[name].append(_latencies(name, folder, data, pace))

    alternate(plan.repeat, tuple(found), contest)
    return _section(found, pace)


def _latencies(name: str, folder: Path, data: Data, pace: Pace) -> list[float]:
    """Milliseconds for every chunk after the warm-up that brought a detection."""
    config = configured(
        folder,
        data,
        source={"uri": str(data.transactions), "rows": CHUNK_ROWS, "every": f"{EVERY_SECONDS * 1000:.0f}ms"},
        detections={"uri": str(folder / "detections"), "linger": 0},
        patterns={"PatId1": {}, "PatId2": {"transactions": pace.transactions, "avg_amount": 1_000_000}, "PatId3": {}},
    )
    told = _watched(name, config, pace.chunks)
    out = []
    for chunk, files in told.items():
        if int(chunk) >= pace.warm_up:
            landed = (folder / "tillwatch-data" / "landing" / f"{int(chunk):012}.parquet").stat().st_ctime_ns
            out.append((max(files) - landed) / 1e6)
    return out


def _watched(name: str, config: Path, chunks: int) -> Mapping[str, list[int]]:
    """Runs the mechanisms until the last chunk is done. For each chunk that detected, when its files were durable."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as beside:
        watched = spawn((*module("latency"), "run" if name == TOGETHER else "detect", config, str(chunks)), out)
        ingest = spawn((*TILLWATCH, "ingest", "-c", config), beside) if name == APART else None
        try:
            watched.wait()
        finally:
            for process in (watched, ingest):
                if process is not None and process.poll() is None:
                    stopped(process)
        out.seek(0)
        text = out.read().decode()
        check(watched, text)
    told: Mapping[str, list[int]] = json.loads(text)
    return told


def _section(found: Mapping[str, list[list[float]]], pace: Pace) -> Section:
    head = ["processes", "p50 ms, median (least–greatest)", "p99 ms", "greatest ms", "chunks that detected"]
    rows, verdicts = [], []
    for name, runs in found.items():
        p50, p99, top = (spread(percentile(run, p) for run in runs) for p in (50, 99, 100))
        detected = f"{sum(map(len, runs)) / len(runs):.0f} of {pace.chunks - pace.warm_up}"
        rows.append([name, p50.shown("{:.1f}"), p99.shown("{:.1f}"), top.shown("{:.1f}"), detected])
        what = f"landing to durable detection, p99, {name}"
        met = p99.median < TARGET_MS
        verdicts.append(Verdict("c", what, f"{p99.shown('{:.1f}')} ms", f"under {TARGET_MS} ms", met))
    body = (
        f"{pace.chunks} chunks of {CHUNK_ROWS:,} generated rows, one every {EVERY_SECONDS * 1000:.0f} ms, "
        f"{in_rounds(len(found[TOGETHER]))}; the first {pace.warm_up} chunks do not count, while processes start. "
        f"`linger` is 0. PatId2 asks for {pace.transactions} transactions at any amount, so that nearly every chunk "
        "detects.\n\n"
    )
    return Section("(c) From landing to a durable detection", body + table(head, rows), tuple(verdicts))


def percentile(values: Sequence[float], p: float) -> float:
    """The least value that p percent of the values do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50)
    2.0
    """
    return sorted(values)[max(0, math.ceil(len(values) * p / 100) - 1)]


class TimedStore:
    """A store that notes when each put has returned, in nanoseconds since 1970."""

    def __init__(self, store: Any, puts: dict[str, int]) -> None:
        self._store = store
        self._puts = puts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, name: str, data: bytes) -> None:
        self._store.put(name, data)
        self._puts[name] = time.time_ns()


def main(mechanism: str, config: str, chunks: str) -> None:
    """Runs a mechanism until that many chunks are processed; prints chunk -> when its files were durable."""
    from tillwatch.detect.loop import Processed
    from tillwatch.pipeline import Event, Pipeline

    puts: dict[str, int] = {}
    stop = threading.Event()

    class Timed(Pipeline):
        def store(self, uri: str) -> Any:
            return TimedStore(super().store(uri), puts)

    def watch(event: Event) -> None:
        if isinstance(event, Processed) and event.last >= int(chunks) - 1:
            stop.set()

    pipeline = Timed.open(config)
    {"run": pipeline.run, "detect": pipeline.detect}[mechanism](stop=stop, observer=watch)
    durable: dict[str, list[int]] = {}
    for chunk, file in pipeline.detections().select("chunk", "file").unique().iter_rows():
        durable.setdefault(str(chunk), []).append(puts[file])
    print(json.dumps(durable))


if __name__ == "__main__":
    main(*sys.argv[1:])
