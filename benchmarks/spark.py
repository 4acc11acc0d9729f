"""The Spark engine on two cores, beside what most public programs for this work do with PySpark.

`./run python -m benchmarks.spark` prints Markdown; `--quick` is small generated data, one round; `--only` names parts.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.child import module, run
from benchmarks.data import CHUNK_ROWS, IMPORTANCE, TRANSACTIONS, Data, configured, landed, standard
from benchmarks.plan import Plan, workplace
from benchmarks.report import Section, Spread, Verdict, in_rounds, spread, table, verdicts

ROUNDS = 5
TIMES = 10
PER_BATCH = (1, 5, 20, 60)
DEFAULT = 60
LAST = 20
"""So many chunks at the end of a stream are worked off one a batch; then so many come one by one."""

BACKLOG_TARGET, RATIO_TARGET, BATCH_TARGET, GROWTH_TARGET = 250_000, 25.0, 400.0, 1.3


def tenfold(folder: Path, data: Data) -> Data:
    """Ten customers in place of each, chunk by chunk ten in place of one: ten times the rows, customers and pairs."""
    target = folder / f"{data.name}, {TIMES}x"
    target.mkdir()
    for name, column in ((TRANSACTIONS, 1), (IMPORTANCE, 0)):
        with (data.folder / name).open("rb") as source, (target / name).open("wb") as file:
            file.write(source.readline())
            for block in blocks(source):
                for turn in range(TIMES):
                    file.writelines(renamed(line, column, b"%d" % turn) for line in block)
    return Data(target.name, target)


def blocks(source: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The lines of a chunk at a time."""
    while block := [line for _, line in zip(range(CHUNK_ROWS), source, strict=False)]:
        yield block


def renamed(line: bytes, column: int, turn: bytes) -> bytes:
    """The line with a digit more in a name, within its quotes if it has any."""
    values = line.split(b",")
    name = values[column]
    values[column] = name[:-1] + turn + b"'" if name.endswith(b"'") else name + turn
    return b",".join(values)


def measured(plan: Plan, name: str, specs: Sequence[tuple[Data, Path, Sequence[tuple[int, int]]]]) -> list[Any]:
    """What one session told of runs on these data sets and chunks, in these phases."""
    spec = [
        [str(configured(plan.folder / name / str(n), data, engine="spark", spark={"buckets": 2})), str(chunks), phases]
        for n, (data, chunks, phases) in enumerate(specs)
    ]
    told: list[Any] = json.loads(run(*module("spark_alone"), json.dumps(spec)).out.splitlines()[-1])["runs"]
    return told


def steady(commits: Sequence[tuple[int, float]], last: int | None = None) -> list[float]:
    """Milliseconds of every batch but the first, or of the last so many."""
    times = [(b - a) * 1000 for (_, a), (_, b) in zip(commits, commits[1:], strict=False)]
    return times[-last:] if last else times


def speeds(plan: Plan, data: Data, chunks: Path) -> tuple[Section, Spread]:
    """Rows a second on waiting chunks, by how many go into a batch."""
    plan.say(f"spark: {data.name} with {PER_BATCH} chunks a batch, {plan.repeat} times")
    sizes = [size for size in PER_BATCH if size <= data.chunks]
    whole: dict[int, list[float]] = {size: [] for size in sizes}
    batches: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(plan.repeat):
        order = sizes if number % 2 == 0 else sizes[::-1]
        runs = [(data, chunks, [(data.chunks, size)]) for size in (DEFAULT, *order)]  # the first warms up
        for size, told in zip(order, measured(plan, f"speeds-{number}", runs)[1:], strict=True):
            check(data, told["found"])
            (commits,) = told["phases"]
            whole[size].append(data.rows / commits[-1][1])
            batches[size] += steady(commits) or [commits[-1][1] * 1000]
    rows = [[str(size), spread(whole[size]).shown("{:,.0f}"), spread(batches[size]).shown("{:,.0f}")] for size in sizes]
    text = (
        f"{data.name}, {data.rows:,} rows that wait in {data.chunks} chunks, two buckets, {in_rounds(plan.repeat)}, each "
        "in a session that has done the same work before. Rows a second from the start of the query, which is new each "
        "time, to the last commit; milliseconds from commit to commit.\n\n"
        + table(["chunks a batch", "rows/s, median (least–greatest)", "ms a batch"], rows)
    )
    return Section("Waiting chunks", text, ()), spread(whole[sizes[-1]])


def check(data: Data, found: Sequence[Sequence[Any]]) -> None:
    """Raises SystemExit unless these are the expected detections, where they are known."""
    if data.expected is not None:
        wanted = [tuple(line.split(",")) for line in data.expected.read_text().splitlines()[1:]]
        got = [(str(chunk), pattern, customer, merchant) for chunk, pattern, customer, merchant in found]
        if sorted((c, p, who, where) for c, p, _, who, where in wanted) != sorted(got):
            raise SystemExit(f"{len(got)} detections are not the {len(wanted)} expected")


def growth(plan: Plan, small: tuple[Data, Path], large: tuple[Data, Path]) -> Section:
    """The backlog of ten times the data; a chunk a batch at the end of both streams; chunks that come one by one."""
    rounds = max(1, plan.repeat * 3 // 5)
    plan.say(f"spark: {small[0].name} and {large[0].name}, {rounds} times")
    backlog: list[float] = []
    single: dict[str, list[float]] = {small[0].name: [], large[0].name: []}
    waits: dict[str, list[float]] = {small[0].name: [], large[0].name: []}
    last = min(LAST, small[0].chunks // 3)
    for number in range(rounds):
        specs = []
        for data, chunks in (small, large) if number % 2 == 0 else (large, small):
            phases = [(data.chunks - 2 * last, DEFAULT), (data.chunks - last, 1), (data.chunks, 0)]
            specs.append((data, chunks, phases))
        warm = [(small[0], small[1], [(small[0].chunks, DEFAULT)])]
        for (data, _, phases), told in zip(specs, measured(plan, f"growth-{number}", [*warm, *specs])[1:], strict=True):
            before, ones, came = told["phases"]
            if data is large[0]:
                backlog.append(phases[0][0] * CHUNK_ROWS / before[-1][1])
            single[data.name] += steady(ones)
            waits[data.name] += [seconds * 1000 for _, seconds in came]
    one, ten = (spread(single[data.name]) for data, _ in (small, large))
    factor = ten.median / one.median
    rows = [
        [d.name, spread(single[d.name]).shown("{:.0f}"), spread(waits[d.name]).shown("{:.0f}")]
        for d, _ in (small, large)
    ]
    text = (
        f"{large[0].name}: {large[0].rows:,} rows, {TIMES} times the customers and pairs, {in_rounds(rounds)}. With up to "
        f"{DEFAULT} chunks a batch: **{spread(backlog).shown('{:,.0f}')} rows/s**. At the end of each stream, when all keys "
        f"are known, {last} chunks that wait are taken one a batch, and {last} come one by one while nothing waits:\n\n"
        + table(["data", "ms a batch, median (least–greatest)", "ms from landing to commit"], rows)
    )
    met = [
        Verdict("spark", "backlog, rows/s", spread(backlog).shown("{:,.0f}"), f"at least {BACKLOG_TARGET:,}",
                spread(backlog).median >= BACKLOG_TARGET),
        Verdict("spark", "one chunk a batch, ms", one.shown("{:.0f}"), f"under {BATCH_TARGET:.0f}", one.median < BATCH_TARGET),
        Verdict("spark", f"the same with {TIMES}x the keys, times that", f"{factor:.2f}", f"at most {GROWTH_TARGET}",
                factor <= GROWTH_TARGET),
    ]  # fmt: skip
    return Section("Ten times the data", text, tuple(met))


def incumbent(plan: Plan, data: Data, chunks: Path, ours: Spread) -> Section:
    """The usual way, on the same chunks."""
    from tillwatch.testing.servers.postgres import postgres_server

    plan.say(f"spark: the incumbent on {data.name}")
    with postgres_server() as server:
        server.restart(fsync="on", shared_buffers="128MB")
        place = server.new_place()
        done = run(*module("incumbent"), chunks, data.importance, place, str(data.chunks))
    told = json.loads(done.out.splitlines()[-1])
    check(data, told["found"])
    commits = told["commits"]
    speed = data.rows / commits[-1][1]
    ratio = ours.median / speed
    thirds = [steady(commits)[:5], steady(commits)[-5:]]
    rows = [
        ["this engine, at most 60 chunks a batch", ours.shown("{:,.0f}"), ""],
        ["foreachBatch, collected groups, an upsert a row, whole tables, windows", f"{speed:,.0f}", f"{len(commits)}"],
    ]
    text = (
        f"{data.name}, both find the same detections. The incumbent: one round, a chunk a batch, PostgreSQL on the same "
        f"machine, one transaction a batch; its batches take {spread(thirds[0]).median:,.0f} ms at the beginning and "
        f"{spread(thirds[1]).median:,.0f} ms at the end of the stream.\n\n"
        + table(["way", "rows/s", "batches"], rows)
        + f"\n\nThat is **{ratio:.0f}** times as fast."
    )
    met = ratio >= RATIO_TARGET
    return Section(
        "The incumbent", text, (Verdict("spark", "times the incumbent", f"{ratio:.0f}", "at least 25", met),)
    )


def shards(plan: Plan, data: Data, chunks: Path) -> Section:
    """What tasks cost, and what a merchant with half of all rows does to its shard."""
    plan.say(f"spark: tasks of {data.name} on one core")
    config = configured(plan.folder / "shards", data)
    rounds: dict[int, list[Any]] = {}
    for _ in range(plan.repeat):
        for told in json.loads(run(*module("spark_shards"), config, chunks, "20", "1", "2", "4", "8").out):
            rounds.setdefault(told["buckets"], []).append(told)
    rows = []
    for buckets, told in rounds.items():
        fold = [spread(t["fold"][s] for t in told).median for s in range(len(told[0]["fold"]))]
        sent, added = (max(r[i] / sum(x[i] for x in told[0]["rows"]) for r in told[0]["rows"]) for i in (0, 1))
        rows.append([
            str(buckets), spread(t["read"] for t in told).shown("{:.1f}"), f"{sum(fold):.1f}", f"{max(fold):.1f}",
            spread(t["factor"] for t in told).shown("{:.2f}"), f"{sent:.0%}", f"{added:.0%}",
        ])  # fmt: skip
    head = ["buckets", "reading", "folding, all shards", "slowest shard", "times the average", "of all rows",
            "of the rows added up"]  # fmt: skip
    text = (
        f"{data.name}, 20 chunks a batch, on one core and without Spark, milliseconds a chunk, {in_rounds(plan.repeat)}. "
        "One merchant has half of all rows, another a third. The slowest shard is that of the first; the last columns are "
        f"its share of the rows.\n\n{table(head, rows)}\n\nBytes from reading to folding tasks, a row: "
        f"{rounds[1][0]['bytes'] / CHUNK_ROWS:.1f}."
    )
    return Section("Shards and the hot merchant", text, ())


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run python -m benchmarks.spark", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeat", type=int, metavar="N")
    parser.add_argument("--dir", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    repeat = given.repeat or (1 if given.quick else ROUNDS)
    with workplace(given.dir) as folder:
        plan = Plan(folder, repeat, given.quick, False)
        print(f"# Spark\n\n{machine.described(folder)}\n", flush=True)
        data = standard(folder, quick=given.quick)
        chunks = landed(folder, data)
        large = tenfold(folder, data)
        many = landed(folder, large)
        os.remove(large.transactions)
        sections: list[Section] = []

        def part(section: Section, others: machine.Others) -> None:
            sections.append(section)
            print(section.text())
            print(f"Other programs used {others.share():.0%} of the processors meanwhile.\n", flush=True)

        others = machine.Others()
        section, ours = speeds(plan, data, chunks)
        part(section, others)
        for measure in (
            lambda: growth(plan, (data, chunks), (large, many)),
            lambda: incumbent(plan, data, chunks, ours),
            lambda: shards(plan, data, chunks),
        ):
            others = machine.Others()
            part(measure(), others)
        print(f"## Targets\n\n{verdicts(sections)}")


if __name__ == "__main__":
    main()
