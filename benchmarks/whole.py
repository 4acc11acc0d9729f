"""(a) The whole job, `tillwatch run --once`, against the floor; with and without what each needs to start."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from benchmarks.child import TILLWATCH, Done, module, run
from benchmarks.data import Data, configured, header_only
from benchmarks.plan import Plan
from benchmarks.report import Section, Verdict, alternate, in_rounds, spread, table

TARGET = 3.0

FLOOR, FLOOR_START = "floor", "floor, nothing to do: import polars"
RUN, RUN_START = "`run --once`", "`run --once`, nothing to do: files of one header each"
BARE = "bare: parse as text, encode, sum and group, nothing else"
CONTESTANTS = (FLOOR_START, RUN_START, FLOOR, BARE, RUN)


def measure(plan: Plan) -> Section:
    """Every contestant a process of its own, in turn, each after a round that does not count."""
    data, folder = plan.standard, plan.folder / "whole"
    empty = header_only(data, folder / "headers")
    rounds: list[dict[str, Done]] = [{} for _ in range(plan.warm_up + plan.repeat)]

    def contest(name: str, number: int) -> None:
        rounds[number][name] = _contestant(name, folder / str(number), data, empty)

    plan.say(f"a: run --once and the floor on {data.name}, {plan.repeat} times")
    alternate(len(rounds), CONTESTANTS, contest)
    return _section(data, rounds[plan.warm_up :], _exact(folder / "0" / "run" / "tillwatch.yaml", data))


def _contestant(name: str, folder: Path, data: Data, empty: Data) -> Done:
    if name in (FLOOR, BARE):
        return run(*module("floor" if name == FLOOR else "bare"), data.transactions, data.importance)
    if name == FLOOR_START:
        return run(*module("floor"))
    given, place = (data, "run") if name == RUN else (empty, "start")
    return run(*TILLWATCH, "run", "--once", "-c", configured(folder / place, given))


def _section(data: Data, rounds: list[dict[str, Done]], found: str) -> Section:
    bare = [(r[RUN].seconds - r[RUN_START].seconds, r[FLOOR].seconds - r[FLOOR_START].seconds) for r in rounds]
    ratio = spread(work / floor for work, floor in bare)
    least = spread((r[BARE].seconds - r[FLOOR_START].seconds) / f for r, (_, f) in zip(rounds, bare, strict=True))
    whole = spread(r[RUN].seconds / r[FLOOR].seconds for r in rounds)
    rows = [_row(name, [r[name] for r in rounds]) for name in CONTESTANTS]
    rows += [
        ["floor, start-up taken off", spread(floor for _, floor in bare).shown("{:.3f}"), ""],
        ["`run --once`, start-up taken off", spread(work for work, _ in bare).shown("{:.3f}"), ""],
    ]
    speed = spread(data.rows / work for work, _ in bare)
    body = (
        f"{data.name}, {data.rows:,} rows, {in_rounds(len(rounds))}, one process after the other. {found}\n\n"
        + table(["process", "seconds, median (least–greatest)", "of processor time"], rows)
        + f"\n\n`run --once` takes **{ratio.shown()}** times the floor, start-up taken off both "
        f"({speed.shown('{:,.0f}')} rows/s), and {whole.shown()} times with it. The bare calls of the same libraries "
        f"take {least.shown()} times the floor."
    )
    verdict = Verdict(
        "a", "`run --once`, times the floor", ratio.shown(), f"at most {TARGET:.0f}", ratio.median <= TARGET
    )
    return Section("(a) The whole job against the floor", body, (verdict,))


def _row(name: str, runs: list[Done]) -> list[str]:
    times = (spread(r.seconds for r in runs), spread(r.processor for r in runs))
    return [name, *(t.shown("{:.3f}") for t in times)]


def _exact(config: Path, data: Data) -> str:
    """Says how many detections came out; raises SystemExit when they are not the expected ones."""
    printed = run(*TILLWATCH, "detections", "--format", "csv", "-c", config).out
    found = [row[1:6] for row in csv.reader(io.StringIO(printed))][1:]
    if data.expected is None:
        return f"{len(found)} detections."
    with data.expected.open(newline="") as file:
        expected = list(csv.reader(file))[1:]
    if found != expected:
        raise SystemExit(f"{config}: {len(found)} detections, which are not the {len(expected)} expected ones")
    return f"{len(found)} detections, exactly the expected ones."
