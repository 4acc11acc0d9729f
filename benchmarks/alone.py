"""Mechanism Y alone on landed chunks, in a process of its own; the state is new every time."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import module, run
from benchmarks.data import Data, configured


@dataclass(frozen=True, slots=True)
class Alone:
    """One run, in seconds: the whole process, imports, lookups, detecting. `commits` are (chunks done, seconds)."""

    process: float
    imports: float
    lookups: float
    detect: float
    peak: int
    rows: int
    detections: int
    commits: tuple[tuple[int, float], ...]

    @property
    def chunks(self) -> int:
        return self.commits[-1][0]

    def per_chunk(self) -> list[float]:
        """Milliseconds for every chunk; chunks committed together share their time."""
        out: list[float] = []
        for (done, at), (now, then) in zip(self.commits, self.commits[1:], strict=False):
            out += [(then - at) / (now - done) * 1000] * (now - done)
        return out


def alone(folder: Path, data: Data, landing: Path, chunks_per_commit: int | None = None) -> Alone:
    """Detects in all landed chunks; commits as the product does, or every so many chunks."""
    config = configured(folder, data, landing=str(landing))
    done = run(*module("alone"), config, *([] if chunks_per_commit is None else [str(chunks_per_commit)]))
    told: dict[str, Any] = json.loads(done.out)
    commits = tuple((chunks, seconds) for chunks, seconds in told.pop("commits"))
    return Alone(process=done.seconds, peak=done.peak, commits=commits, **told)


def main(config: str, chunks_per_commit: str | None = None) -> None:
    began = time.perf_counter()
    from tillwatch.detect import loop
    from tillwatch.pipeline import Event, Pipeline

    imported = time.perf_counter()
    if chunks_per_commit is not None:
        loop.BATCH_CHUNKS = int(chunks_per_commit)
    pipeline = Pipeline.open(config)
    assert pipeline.setup.program  # the lookups are read here
    ready = time.perf_counter()
    commits, rows, detections = [(0, 0.0)], 0, 0

    def count(event: Event) -> None:
        nonlocal rows, detections
        assert isinstance(event, loop.Processed), event
        commits.append((event.last + 1, time.perf_counter() - ready))
        rows += event.counted + event.quarantined
        detections += sum(event.detections.values())

    pipeline.detect(once=True, observer=count)
    told = {"imports": imported - began, "lookups": ready - imported, "detect": time.perf_counter() - ready}
    print(json.dumps(told | {"rows": rows, "detections": detections, "commits": commits}))


if __name__ == "__main__":
    main(*sys.argv[1:])
