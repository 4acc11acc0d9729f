"""Mechanism Y alone on landed chunks, in a process of its own; the state is new every time."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.child import Done, module, run
from benchmarks.data import Data, configured

if TYPE_CHECKING:
    from tillwatch.pipeline import Event, Pipeline

BEGAN = time.perf_counter()


@dataclass(frozen=True, slots=True)
class Alone:
    """One run, in seconds: the whole process, imports, lookups, detecting, and the processor time of detecting.

    `commits` are (chunks done, seconds).
    """

    process: float
    imports: float
    lookups: float
    detect: float
    processor: float
    peak: int
    rows: int
    detections: int
    commits: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, done: Done) -> Alone:
        """What a process told."""
        told: dict[str, Any] = json.loads(done.out)
        commits = tuple((chunks, seconds) for chunks, seconds in told.pop("commits"))
        return cls(process=done.seconds, peak=done.peak, commits=commits, **told)

    @property
    def chunks(self) -> int:
        return self.commits[-1][0]

    def per_chunk(self) -> list[float]:
        """Milliseconds for every chunk; chunks committed together share their time."""
        out: list[float] = []
        for (done, at), (now, then) in zip(self.commits, self.commits[1:], strict=False):
            out += [(then - at) / (now - done) * 1000] * (now - done)
        return out


def alone(
    folder: Path,
    data: Data,
    landing: Path,
    chunks_per_commit: int | None = None,
    program: tuple[str, ...] = module("alone"),
) -> Alone:
    """Detects in all landed chunks; commits as the product does, or every so many chunks."""
    config = configured(folder, data, landing=str(landing))
    return Alone.of(run(*program, config, *([] if chunks_per_commit is None else [str(chunks_per_commit)])))


def timed(kind: type[Pipeline], config: str, chunks_per_commit: str | None) -> None:
    """Detects in this process, and prints how long it took."""
    from tillwatch.detect import loop

    if chunks_per_commit is not None:
        loop.BATCH_CHUNKS = int(chunks_per_commit)
    imported = time.perf_counter()
    pipeline = kind.open(config)
    assert pipeline.setup.program  # the lookups are read here
    ready = time.perf_counter()
    commits, rows, detections = [(0, 0.0)], 0, 0

    def count(event: Event) -> None:
        nonlocal rows, detections
        if isinstance(event, loop.Processed):
            commits.append((event.last + 1, time.perf_counter() - ready))
            rows += event.counted + event.quarantined
            detections += sum(event.detections.values())

    processor = -time.process_time()
    pipeline.detect(once=True, observer=count)
    processor += time.process_time()
    told = {"imports": imported - BEGAN, "lookups": ready - imported, "detect": time.perf_counter() - ready}
    counts = {"rows": rows, "detections": detections, "commits": commits}
    print(json.dumps(told | counts | {"processor": processor}))


def main(config: str, chunks_per_commit: str | None = None) -> None:
    from tillwatch.pipeline import Pipeline

    timed(Pipeline, config, chunks_per_commit)


if __name__ == "__main__":
    main(*sys.argv[1:])
