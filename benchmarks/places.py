"""The landing zone in S3 beside a local folder: what landing costs, and thousands of chunks that wait.

The S3 is an emulator on this machine (moto), a process of its own that has to share the processors: the figures say
what the product adds to a round trip, not how fast a cloud is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.alone import Alone
from benchmarks.child import ROOT, TILLWATCH, environment, module, run
from benchmarks.data import CHUNK_ROWS, Data, configured, header_only
from benchmarks.plan import Plan
from benchmarks.report import Section, alternate, in_rounds, spread, table

SMALL_ROWS = 200
"""Rows of a chunk where there are to be thousands."""

WARM_UP = 1
"""Rounds that do not count, also in a quick run: the emulator's first answers are slow."""

LOCAL, S3 = "local folder", "S3 emulator"


def measure(plan: Plan) -> Section:
    """Both places in turn, in processes that find the emulator as a user's would."""
    data = plan.standard
    plan.say(f"places: landing zone in S3 and local on {data.name}, {plan.repeat} times")
    with emulator(plan.folder) as bucket:
        places = {LOCAL: str(plan.folder / "places"), S3: bucket}
        body = f"{_landing(plan, data, places)}\n\n{_waiting(plan, data, places)}"
    return Section("Places", body, ())


def _landing(plan: Plan, data: Data, places: Mapping[str, str]) -> str:
    """`ingest --once`, with what each place needs to start taken off."""
    empty = header_only(data, plan.folder / "places-headers")
    taken: dict[str, list[float]] = {name: [] for name in places}

    def contest(name: str, number: int) -> None:
        seconds = []
        for given, part in ((empty, "start"), (data, "whole")):
            folder = plan.folder / "landing" / f"{name}-{number}-{part}"
            config = configured(folder, given, landing=f"{places[name]}/landing-{number}-{part}")
            seconds.append(run(*TILLWATCH, "ingest", "--once", "-c", config).seconds)
        if number >= WARM_UP:
            taken[name].append(seconds[1] - seconds[0])

    alternate(WARM_UP + plan.repeat, tuple(places), contest)
    ratio = spread(s / own for s, own in zip(taken[S3], taken[LOCAL], strict=True))
    rows = [
        [
            name,
            spread(data.rows / s for s in seconds).shown("{:,.0f}"),
            spread(s / data.chunks * 1000 for s in seconds).shown("{:.1f}"),
        ]
        for name, seconds in taken.items()
    ]
    return (
        f"`ingest --once` of {data.name}, {data.chunks} chunks of {CHUNK_ROWS:,} rows, {in_rounds(plan.repeat)}, "
        "start-up taken off.\n\n"
        + table(["landing zone", "rows/s, median (least–greatest)", "ms a chunk"], rows)
        + f"\n\nWith the emulator it takes {ratio.shown()} times as long."
    )


def _waiting(plan: Plan, data: Data, places: Mapping[str, str]) -> str:
    """Detecting in many small chunks that were landed before, with a new state each time."""
    small: dict[str, Any] = {"source": {"uri": str(data.transactions), "rows": SMALL_ROWS, "every": 0}}
    runs: dict[str, list[Alone]] = {name: [] for name in places}
    for name, place in places.items():
        config = configured(plan.folder / f"land-{name}", data, landing=f"{place}/waiting", **small)
        run(*TILLWATCH, "ingest", "--once", "-c", config)

    def contest(name: str, number: int) -> None:
        folder = plan.folder / "waiting" / f"{name}-{number}"
        config = configured(folder, data, landing=f"{places[name]}/waiting", **small)
        done = Alone.of(run(*module("alone"), config))
        if number >= WARM_UP:
            runs[name].append(done)

    alternate(WARM_UP + plan.repeat, tuple(places), contest)
    rows = [
        [
            name,
            f"{done[-1].chunks:,}",
            spread(d.detect / d.chunks * 1000 for d in done).shown(),
            spread(d.processor / d.chunks * 1000 for d in done).shown(),
            spread(d.rows / d.detect for d in done).shown("{:,.0f}"),
        ]
        for name, done in runs.items()
    ]
    head = ["landing zone", "chunks that wait", "ms a chunk, median (least–greatest)", "processor ms a chunk", "rows/s"]
    return (
        f"Detecting in chunks of {SMALL_ROWS} rows that wait, {in_rounds(plan.repeat)}; elsewhere 16 are read at a "
        f"time.\n\n{table(head, rows)}"
    )


@contextmanager
def emulator(home: Path) -> Iterator[str]:
    """The URI of a bucket; processes that are started meanwhile find the emulator and are let in."""
    command = [*map(str, module("places")), str(home)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        before = dict(os.environ)
        try:
            told = json.loads(process.stdout.readline())
            os.environ.update(told["environment"])
            yield told["bucket"]
        finally:
            os.environ.clear()
            os.environ.update(before)
            process.stdin.close()  # it ends when nobody holds the other end


def serve(home: str) -> None:
    """The emulator: says where it is, and goes on until its input ends."""
    from tillwatch.testing.servers.s3 import s3_server

    with s3_server() as server:
        variables = {**server.environment(), "HOME": home}
        print(json.dumps({"environment": variables, "bucket": server.make()}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
