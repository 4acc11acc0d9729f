"""(e) The same with 10 and 30 times the rows and keys: what a chunk costs when there is more state.

`generate --towns n` makes n times the customers, merchants and pairs in groups of the same size. "crowded" is 30 times
the customers at the same 50 merchants, so ranks are among 30 times as many.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.alone import Alone, alone
from benchmarks.child import TILLWATCH, Done, run
from benchmarks.data import FULL_CUSTOMERS, FULL_ROWS, QUICK_ROWS, Data, configured, generated, landed
from benchmarks.plan import Plan
from benchmarks.report import MB, Section, Verdict, alternate, in_rounds, spread, table

TARGET = 1.5
CROWDED = "30×, crowded"


@dataclass(slots=True)
class Size:
    """One size: its data, and what was measured of it."""

    name: str
    data: Data
    shipped: list[Alone] = field(default_factory=list)
    each: list[Alone] = field(default_factory=list)
    whole: list[Done] = field(default_factory=list)


def measure(plan: Plan) -> Section:
    """Y alone, with commits as shipped and one per chunk; and the whole job."""
    sizes = _sizes(plan)

    def contest(name: str, number: int) -> None:
        size = sizes[name]
        plan.say(f"e: {size.data.rows:,} rows, {name}, round {number + 1}")
        folder = plan.folder / "growth" / f"{size.data.name}-{number}"
        landing = landed(plan.folder, size.data)
        size.shipped.append(alone(folder / "shipped", size.data, landing))
        size.each.append(alone(folder / "each", size.data, landing, 1))
        size.whole.append(run(*TILLWATCH, "run", "--once", "-c", configured(folder / "whole", size.data)))
        shutil.rmtree(folder)

    alternate(plan.repeat, tuple(sizes), contest)
    return _section(plan, list(sizes.values()))


def _sizes(plan: Plan) -> dict[str, Size]:
    base = QUICK_ROWS if plan.quick else FULL_ROWS
    times = (1, 10, 30) if plan.big else (1, 3) if plan.quick else (1, 10)
    sizes = {}
    for n in times:
        plan.say(f"e: making data, {n} times {base:,} rows")
        sizes[f"{n}×"] = Size(f"{n}×", generated(plan.folder, f"{n}x", rows=n * base, towns=n))
    if plan.big:
        plan.say("e: making data, 30 times the customers at the same merchants")
        data = generated(plan.folder, "crowded", rows=30 * base, customers=30 * FULL_CUSTOMERS)
        sizes[CROWDED] = Size(CROWDED, data)
    return sizes


def steady(runs: Sequence[Alone]) -> float:
    """The median time of a chunk in the last third of the stream, in ms; the median of the runs."""
    return statistics.median(statistics.median(thirds(r)) for r in runs)


def thirds(run: Alone) -> list[float]:
    """The times of the chunks of the last third."""
    times = run.per_chunk()
    return times[-max(1, len(times) // 3) :]


def overall(runs: Sequence[Alone]) -> float:
    """The whole time of detecting per chunk, in ms, saving of tables and all: the median of the runs."""
    return statistics.median(r.detect / r.chunks * 1000 for r in runs)


def _section(plan: Plan, sizes: list[Size]) -> Section:
    body = (
        f"Generated data; `n×` is n times the rows, customers, merchants and pairs. {in_rounds(plan.repeat)}, medians. "
        "Steady is the median chunk of the last third of the stream; overall is all the time of detecting, from an "
        "empty state to the last file and all tables saved, divided by the chunks; processor ms is the processor time "
        "of all threads in it.\n\n"
        + table(
            ["detecting alone", "chunks", "steady ms", "overall ms", "one commit a chunk: steady ms", "overall ms",
             "processor ms", "rows/s overall", "peak MB"],
            [_alone_row(size) for size in sizes],
        )
        + "\n\n"
        + table(["`run --once`", "rows", "seconds", "rows/s", "peak MB"], [_whole_row(size) for size in sizes])
    )  # fmt: skip
    first, last = sizes[0], sizes[2 if plan.big else -1]
    body += _crowd(sizes[-1], first) if plan.big else "\n\n30× was not measured: ask with `--full`, or name `e`."
    return Section("(e) Growth", body, (_verdict(first, last),))


def _alone_row(size: Size) -> list[str]:
    speed = statistics.median(r.rows / r.detect for r in size.shipped)
    peak = statistics.median(r.peak for r in size.shipped)
    processor = statistics.median(r.processor / r.chunks * 1000 for r in size.shipped)
    steadies = [(f"{steady(runs):.2f}", f"{overall(runs):.2f}") for runs in (size.shipped, size.each)]
    rest = (f"{processor:.2f}", f"{speed:,.0f}", f"{peak / MB:,.0f}")
    return [size.name, f"{size.shipped[0].chunks:,}", *steadies[0], *steadies[1], *rest]


def _whole_row(size: Size) -> list[str]:
    seconds = spread(done.seconds for done in size.whole)
    peak = statistics.median(done.peak for done in size.whole)
    speed = size.data.rows / seconds.median
    return [size.name, f"{size.data.rows:,}", seconds.shown(), f"{speed:,.0f}", f"{peak / MB:,.0f}"]


def _ratios(first: Size, last: Size) -> list[float]:
    pairs = ((first.shipped, last.shipped), (first.each, last.each))
    return [kind(big) / kind(small) for small, big in pairs for kind in (steady, overall)]


def _verdict(first: Size, last: Size) -> Verdict:
    """The whole time of detecting per chunk decides, with both ways of committing.

    Steady does not: at 1x the last third of so short a stream is chunks that were read ahead, and before all keys came.
    """
    ratios = _ratios(first, last)
    measured = (
        f"steady {ratios[0]:.2f}, overall {ratios[1]:.2f}; "
        f"one commit a chunk: steady {ratios[2]:.2f}, overall {ratios[3]:.2f}"
    )
    what = f"time per chunk at {last.name}, times that at 1×"
    return Verdict("e", what, measured, f"at most {TARGET} overall", max(ratios[1], ratios[3]) <= TARGET)


def _crowd(crowded: Size, first: Size) -> str:
    ratios = _ratios(first, crowded)
    return (
        "\n\nIn `crowded`, 30 times the customers go to the same 50 merchants, so ranks are among 30 times as many: "
        f"a chunk then takes {ratios[0]:.2f} times that at 1× (steady) and {ratios[1]:.2f} times (overall). "
        "No target is set for it."
    )
