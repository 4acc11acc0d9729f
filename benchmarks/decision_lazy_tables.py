"""A decision, measured: the tables of running values are saved now and then, and recovered by folding the log again.

`./run python -m benchmarks.decision_lazy_tables` compares detecting as shipped with saving the touched rows in the
transaction of every commit, and times the recovery that the shipped way needs after a kill.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.alone import Alone, alone, timed
from benchmarks.child import module, run
from benchmarks.data import CHUNK_ROWS, Data, configured, generated, landed
from benchmarks.plan import workplace
from benchmarks.report import alternate, in_rounds, spread, table

CHUNKS, QUICK_CHUNKS, TOWNS = 255, 6, 4
ROUNDS = 3

LAZY, EAGER = "saved now and then, as shipped", "saved in every commit"
BATCHES = {"commits as shipped": None, "a commit for every chunk": 1}


def eager(config: str, chunks_per_commit: str | None = None) -> None:
    """Y alone, with the tables saved in the transaction of every commit."""
    from tillwatch.detect import setup as made
    from tillwatch.detect import snapshot
    from tillwatch.engine.fold import Fold
    from tillwatch.pipeline import Pipeline
    from tillwatch.state.base import Commit
    from tillwatch.state.sqlite import SqliteState

    folds: list[Fold] = []

    class KnownFold(Fold):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            folds.append(self)

    class EveryCommit(SqliteState):
        def commit(self, commit: Commit, rows_per_file: int) -> int:
            with self._transaction():
                seq = super().commit(commit, rows_per_file)
                self.save_tables(snapshot.dump(folds[0], folds[0].take_dirty()), commit.last + 1)
            return seq

        @contextmanager
        def _transaction(self) -> Iterator[None]:
            """One within another is part of it."""
            if self._db.in_transaction:
                yield
            else:
                with super()._transaction():
                    yield

    class Eager(Pipeline):
        @contextmanager
        def opened(self, *, readonly: bool = False) -> Iterator[EveryCommit]:
            state = EveryCommit(Path(self.settings.state), readonly=readonly)
            try:
                yield state
            finally:
                state.close()

    made.Fold = KnownFold  # type: ignore[misc,attr-defined,assignment]
    timed(Eager, config, chunks_per_commit)


def kill(config: str) -> None:
    """Detects a commit per chunk, and dies when the last chunk is committed and the tables are not saved."""
    from tillwatch.detect import loop
    from tillwatch.pipeline import Event, Pipeline

    loop.BATCH_CHUNKS = 1
    pipeline = Pipeline.open(config)
    last = pipeline.landing.next_number() - 1

    def watch(event: Event) -> None:
        if isinstance(event, loop.Processed) and event.last == last:
            os.kill(os.getpid(), signal.SIGKILL)

    pipeline.detect(once=True, observer=watch)


def behind(config: str) -> None:
    """Prints how many chunks the tables are behind the cursor."""
    from tillwatch.pipeline import Pipeline

    with Pipeline.open(config).opened(readonly=True) as state:
        cursor = state.cursor()
    print(cursor.chunk - cursor.tables)


def measure(folder: Path, *, quick: bool) -> str:
    """The comparison and the recovery, as Markdown."""
    chunks, rounds = (QUICK_CHUNKS, 1) if quick else (CHUNKS, ROUNDS)
    data = generated(folder, "decision", rows=chunks * CHUNK_ROWS, towns=TOWNS)
    landing = landed(folder, data)
    return (
        f"{chunks} chunks of generated data, {TOWNS} towns, {in_rounds(rounds)}: median (least–greatest).\n\n"
        + _compared(folder, data, landing, rounds)
        + "\n\n"
        + _recovered(folder, data, landing, rounds)
    )


def _compared(folder: Path, data: Data, landing: Path, rounds: int) -> str:
    ways = {f"{saving}; {batch}": (saving, per) for batch, per in BATCHES.items() for saving in (LAZY, EAGER)}
    runs: dict[str, list[Alone]] = {name: [] for name in ways}

    def contest(name: str, number: int) -> None:
        saving, per = ways[name]
        place = folder / "compared"
        program = module("alone") if saving == LAZY else (*module("decision_lazy_tables"), "eager")
        runs[name].append(alone(place, data, landing, per, program))
        shutil.rmtree(place)

    alternate(rounds, tuple(ways), contest)
    head = ["tables", "rows/s", "ms a chunk", "longest time between two commits, ms"]
    return table(head, [_row(name, done) for name, done in runs.items()])


def _row(name: str, runs: list[Alone]) -> list[str]:
    speed = spread(r.rows / r.detect for r in runs)
    chunk = spread(r.detect / r.chunks * 1000 for r in runs)
    pause = spread(max(b - a for (_, a), (_, b) in zip(r.commits, r.commits[1:], strict=False)) * 1000 for r in runs)
    return [name, speed.shown("{:,.0f}"), chunk.shown(), pause.shown("{:.0f}")]


def _recovered(folder: Path, data: Data, landing: Path, rounds: int) -> str:
    killed: list[Alone] = []
    clean: list[Alone] = []
    late = 0
    for number in range(rounds):
        config = configured(folder / f"killed-{number}", data, landing=str(landing))
        late = _killed(config)
        killed.append(_again(config))
        clean.append(_again(config))
    rows = [
        [f"after kill -9 with the tables {late} chunks behind", spread(r.detect for r in killed).shown("{:.3f}")],
        ["after a clean stop", spread(r.detect for r in clean).shown("{:.3f}")],
    ]
    return table(["a start with nothing new to detect", "seconds of detecting"], rows)


def _killed(config: Path) -> int:
    """Lets a process die on the way; how many chunks its tables are behind."""
    run(*module("decision_lazy_tables"), "kill", config, expect=-signal.SIGKILL)
    return int(run(*module("decision_lazy_tables"), "behind", config).out)


def _again(config: Path) -> Alone:
    return Alone.of(run(*module("alone"), config))


def main() -> None:
    with workplace() as folder:
        print(f"# Tables saved lazily\n\n{machine.described(folder)}\n", flush=True)
        others = machine.Others()
        print(measure(folder, quick="--quick" in sys.argv))
        print(f"\nOther programs used {others.share():.0%} of the processors meanwhile.")


CHILDREN = {"eager": eager, "kill": kill, "behind": behind}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CHILDREN:
        CHILDREN[sys.argv[1]](*sys.argv[2:])
    else:
        main()
