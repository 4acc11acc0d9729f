"""A back-test of the three patterns over a landed history, alone and with sweeps of ten values.

`./run python -m benchmarks.backtest` prints Markdown; `--quick` is small generated data. Each is a process of its own,
from its start to its end, beside one that detects in the same chunks with a new state.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.child import TILLWATCH, Done, run
from benchmarks.data import Data, configured, landed, standard
from benchmarks.plan import workplace
from benchmarks.report import alternate, in_rounds, spread, table

ROUNDS = 7
DETECT = "`detect --once`, for comparison"
CALLS: dict[str, tuple[str, ...]] = {
    "`backtest` of the patterns in force": (),
    "and PatId2 at ten values": ("--sweep", "PatId2.transactions=20:110:10"),
    "and PatId1 at ten values": ("--sweep", "PatId1.transactions_rank=0.5:0.95:0.05"),
    "and PatId3 at ten values": ("--sweep", "PatId3.female_customers=20:200:20"),
}


def measured(folder: Path, data: Data, rounds: int) -> str:
    """All of them in turn, after a round that does not count."""
    landing = str(landed(folder, data))
    config = configured(folder / "backtest", data, landing=landing)
    taken: dict[str, list[Done]] = {name: [] for name in (DETECT, *CALLS)}

    def contest(name: str, number: int) -> None:
        if name == DETECT:
            fresh = configured(folder / f"detect-{number}", data, landing=landing)
            done = run(*TILLWATCH, "detect", "--once", "-c", fresh)
        else:
            done = run(*TILLWATCH, "backtest", "-c", config, "--format", "csv", *CALLS[name])
        if number:
            taken[name].append(done)

    alternate(rounds + 1, tuple(taken), contest)
    head = ["", "seconds, median (least–greatest)", "processor seconds", "peak MB"]
    return (
        f"{data.name}, {data.rows:,} rows in {data.chunks} chunks landed before, three patterns, {in_rounds(rounds)}. "
        "Each figure is of the whole process, its imports and the lookup too.\n\n"
        + table(head, [_row(name, done) for name, done in taken.items()])
        + f"\n\n{_found(config)}"
    )


def _row(name: str, done: list[Done]) -> list[str]:
    seconds, processor = (spread(getattr(d, kind) for d in done) for kind in ("seconds", "processor"))
    return [name, seconds.shown(), processor.shown(), f"{max(d.peak for d in done) / 1e6:,.0f}"]


def _found(config: Path) -> str:
    """What the widest sweep found, so that the figures are of work that was done."""
    out = run(*TILLWATCH, "backtest", "-c", config, "--format", "json", *CALLS["and PatId2 at ten values"]).out
    said, _ = json.JSONDecoder().raw_decode(out, out.index("{"))
    counts = ", ".join(f"{p['value']}: {p['detections']:,}" for p in said["sweeps"][0]["points"])
    in_force = ", ".join(f"{p['patternId']} {p['now']}" for p in said["patterns"])
    return f"In force: {in_force}. Detections of PatId2 by `transactions`: {counts}."


def main() -> None:
    quick = "--quick" in sys.argv
    with workplace() as folder:
        print(f"# Back-test\n\n{machine.described(folder)}\n", flush=True)
        others = machine.Others()
        data = standard(folder, quick=quick)
        print(f"{measured(folder, data, 1 if quick else ROUNDS)}\n")
        print(f"Other programs used {others.share():.0%} of the processors meanwhile.")


if __name__ == "__main__":
    main()
