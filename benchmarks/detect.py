"""(b) Mechanism Y alone on landed chunks, every commit durable."""

from __future__ import annotations

from benchmarks.alone import Alone, alone
from benchmarks.data import landed
from benchmarks.plan import Plan
from benchmarks.report import Section, Verdict, alternate, in_rounds, spread, table

TARGET = 1_000_000
PEERS = "The best hand-written durable peer does 290,000 rows/s of this work, the usual PySpark one 8,800."

SHIPPED, EACH = "as shipped: chunks that wait are committed together", "a commit for every chunk"
CHUNKS_PER_COMMIT = {SHIPPED: None, EACH: 1}


def measure(plan: Plan) -> Section:
    """Y with a new state each time, on chunks that X has landed once."""
    data, folder = plan.standard, plan.folder / "detect"
    plan.say(f"b: detect alone on {data.name}, {plan.repeat} times")
    landing = landed(plan.folder, data)
    runs: dict[str, list[Alone]] = {name: [] for name in CHUNKS_PER_COMMIT}

    def contest(name: str, number: int) -> None:
        place = folder / f"{number}-{CHUNKS_PER_COMMIT[name] or 'shipped'}"
        runs[name].append(alone(place, data, landing, CHUNKS_PER_COMMIT[name]))

    alternate(plan.warm_up + plan.repeat, tuple(runs), contest)
    counted = {name: done[plan.warm_up :] for name, done in runs.items()}
    speed = spread(r.rows / r.detect for r in counted[SHIPPED])
    head = [
        "commits",
        "rows/s, median (least–greatest)",
        "ms a chunk",
        "processor ms a chunk",
        "commits made",
        "detections",
    ]
    body = (
        f"{data.name}, {data.chunks} chunks landed before, {in_rounds(plan.repeat)}. The time is that of "
        "detecting alone, from an empty state to the last file published.\n\n"
        + table(head, [_row(name, done) for name, done in counted.items()])
        + "\n\n"
        + _apart(counted[SHIPPED])
        + f"\n\n{PEERS}"
    )
    met = speed.median >= TARGET
    verdict = Verdict("b", "detect alone, rows/s", speed.shown("{:,.0f}"), f"at least {TARGET:,}", met)
    return Section("(b) Detecting alone", body, (verdict,))


def _row(name: str, runs: list[Alone]) -> list[str]:
    speed = spread(r.rows / r.detect for r in runs)
    chunk = spread(r.detect / r.chunks * 1000 for r in runs)
    processor = spread(r.processor / r.chunks * 1000 for r in runs)
    last = runs[-1]
    return [
        name,
        speed.shown("{:,.0f}"),
        chunk.shown(),
        processor.shown(),
        str(len(last.commits) - 1),
        str(last.detections),
    ]


def _apart(runs: list[Alone]) -> str:
    """What the figure leaves out: the rest of the process."""
    rest = spread(r.process - r.imports - r.lookups - r.detect for r in runs)
    rows = [
        ["start and end of Python", rest.shown("{:.3f}")],
        ["imports", spread(r.imports for r in runs).shown("{:.3f}")],
        ["configuration, patterns, lookups", spread(r.lookups for r in runs).shown("{:.3f}")],
        ["detecting", spread(r.detect for r in runs).shown("{:.3f}")],
        ["the whole process", spread(r.process for r in runs).shown("{:.3f}")],
    ]
    return table(["the process as shipped", "seconds"], rows)
