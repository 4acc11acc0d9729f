"""(d) Peak memory of whole processes, as the system reports it when they end."""

from __future__ import annotations

from pathlib import Path

from benchmarks.child import TILLWATCH, module, run
from benchmarks.data import configured, landed
from benchmarks.plan import Plan
from benchmarks.report import MB, Section, Verdict, alternate, in_rounds, spread, table

TARGET_MB = 400

RUN, INGEST, DETECT = "`run --once`", "`ingest --once`", "`detect --once`, all chunks landed before"
FLOOR, START = "the floor: polars reads and groups both files", "import polars"


def measure(plan: Plan) -> Section:
    """The peaks of every mechanism, and of the floor for comparison."""
    data, folder = plan.standard, plan.folder / "memory"
    plan.say(f"d: peak memory on {data.name}, {plan.repeat} times")
    landing = {"landing": str(landed(plan.folder, data))}
    peaks: dict[str, list[float]] = {name: [] for name in (RUN, INGEST, DETECT, FLOOR, START)}

    def mechanism(name: str, number: int, place: Path) -> tuple[str | Path, ...]:
        word = name.split("`")[1].split()[0]
        config = configured(place / f"{word}-{number}", data, **(landing if name == DETECT else {}))
        return (*TILLWATCH, word, "--once", "-c", config)

    def contest(name: str, number: int) -> None:
        if name in (FLOOR, START):
            files = [data.transactions, data.importance] if name == FLOOR else []
            done = run(*module("floor"), *files)
        else:
            done = run(*mechanism(name, number, folder))
        peaks[name].append(done.peak / MB)

    alternate(plan.repeat, tuple(peaks), contest)
    rows = [[name, spread(values).shown("{:.0f}")] for name, values in peaks.items()]
    body = f"{data.name}, {in_rounds(plan.repeat)}.\n\n" + table(["process", "peak MB, median (least–greatest)"], rows)
    peak = spread(peaks[RUN])
    met = peak.median < TARGET_MB
    verdict = Verdict("d", "peak memory of `run --once`", f"{peak.shown('{:.0f}')} MB", f"under {TARGET_MB} MB", met)
    return Section("(d) Memory", body, (verdict,))
