"""The Spark engine on two cores, beside what most public programs for this work do with PySpark.

`./run python -m benchmarks.spark` prints Markdown; `--quick` is small generated data, one round; `--only` names parts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
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

Commit = tuple[int, float, float]
"""Chunks done, seconds and processor seconds of all processes since the start."""

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


def steady(commits: Sequence[Commit]) -> list[Commit]:
    """What every commit but the first added: chunks, seconds, seconds of the processors."""
    return [(b[0] - a[0], b[1] - a[1], b[2] - a[2]) for a, b in pairwise(commits)]


def ms(values: Iterable[float]) -> str:
    """Seconds, as milliseconds."""
    return spread(1000 * v for v in values).shown("{:,.0f}")


def speeds(plan: Plan, data: Data, chunks: Path) -> tuple[Section, Spread, Spread]:
    """Rows a second on waiting chunks, by how many go into a batch; and the best, also by processor time."""
    plan.say(f"spark: {data.name} with {PER_BATCH} chunks a batch, {plan.repeat} times")
    sizes = [size for size in PER_BATCH if size <= data.chunks]
    runs: dict[int, list[list[Commit]]] = {size: [] for size in sizes}
    for number in range(plan.repeat):
        order = sizes if number % 2 == 0 else sizes[::-1]
        work = [(data, chunks, [(data.chunks, size)]) for size in (DEFAULT, *order)]  # the first warms up
        for size, told in zip(order, measured(plan, f"speeds-{number}", work)[1:], strict=True):
            check(data, told["found"])
            runs[size].append(told["phases"][0])
    whole = {size: spread(data.rows / commits[-1][1] for commits in runs[size]) for size in sizes}
    rows = []
    for size in sizes:
        batches = [batch for commits in runs[size] for batch in steady(commits) or commits]
        times = [ms(taken) for taken in ([b[1] for b in batches], [b[2] for b in batches])]
        rows.append([str(size), whole[size].shown("{:,.0f}"), *times])
    head = ["chunks a batch", "rows/s, median (least–greatest)", "ms a batch", "processor ms a batch"]
    text = (
        f"{data.name}, {data.rows:,} rows that wait in {data.chunks} chunks, two buckets, {in_rounds(plan.repeat)}, "
        "each in a session that has done the same work before. Rows a second from the start of the query, which is new "
        "each time, to the last commit; milliseconds from commit to commit; processor time of all processes.\n\n"
        + table(head, rows)
    )
    processor = spread(data.rows / commits[-1][2] for commits in runs[sizes[-1]])
    return Section("Waiting chunks", text, ()), whole[sizes[-1]], processor


def check(data: Data, found: Sequence[Sequence[Any]]) -> None:
    """Raises SystemExit unless these are the expected detections, where they are known."""
    if data.expected is not None:
        wanted = [line.split(",") for line in data.expected.read_text().splitlines()[1:]]
        if sorted([c, p, who, where] for c, p, _, who, where in wanted) != sorted([str(c), *k] for c, *k in found):
            raise SystemExit(f"{len(found)} detections are not the {len(wanted)} expected")


def growth(plan: Plan, small: tuple[Data, Path], large: tuple[Data, Path]) -> Section:
    """The backlog of ten times the data; a chunk a batch at the end of both streams; chunks that come one by one."""
    rounds = max(1, plan.repeat * 3 // 5)
    plan.say(f"spark: {small[0].name} and {large[0].name}, {rounds} times")
    last = min(LAST, small[0].chunks // 3)
    phases = {
        data.name: [(data.chunks - 2 * last, DEFAULT), (data.chunks - last, 1), (data.chunks, 0)]
        for data, _ in (small, large)
    }
    runs: dict[str, list[Any]] = {data.name: [] for data, _ in (small, large)}
    for number in range(rounds):
        order = (small, large) if number % 2 == 0 else (large, small)
        work = [(data, chunks, phases[data.name]) for data, chunks in order]
        warm = [(*small, [(small[0].chunks, DEFAULT)])]
        for (data, _), told in zip(order, measured(plan, f"growth-{number}", [*warm, *work])[1:], strict=True):
            runs[data.name].append(told["phases"])
    return _grown(small[0], large[0], last, rounds, runs)


def _grown(small: Data, large: Data, last: int, rounds: int, runs: Mapping[str, Sequence[Any]]) -> Section:
    ahead = [before for before, _, _ in runs[large.name]]
    fast = spread(commits[-1][0] * CHUNK_ROWS / commits[-1][1] for commits in ahead)
    processor = spread(commits[-1][0] * CHUNK_ROWS / commits[-1][2] for commits in ahead)
    ones = {name: [b for _, ones, _ in told for b in steady(ones)] for name, told in runs.items()}
    came = {name: [c[1] for _, _, came in told for c in came] for name, told in runs.items()}
    rows = [
        [name, ms(b[1] for b in ones[name]), ms(b[2] for b in ones[name]), ms(came[name])]
        for name in (small.name, large.name)
    ]
    text = (
        f"{large.name}: {large.rows:,} rows, {TIMES} times the customers and pairs, {in_rounds(rounds)}. With up to "
        f"{DEFAULT} chunks a batch: **{fast.shown('{:,.0f}')} rows/s**, and {processor.shown('{:,.0f}')} rows for a "
        f"second of one core. At the end of each stream, when all keys are known, {last} chunks that wait are taken "
        f"one a batch, and {last} come one by one while nothing waits:\n\n"
        + table(
            ["data", "ms a batch, median (least–greatest)", "processor ms a batch", "ms from landing to commit"], rows
        )
    )
    one, ten = (spread(1000 * b[1] for b in ones[name]) for name in (small.name, large.name))
    factor = ten.median / one.median
    verdicts = [
        ("backlog, rows/s", fast.shown("{:,.0f}"), f"at least {BACKLOG_TARGET:,}", fast.median >= BACKLOG_TARGET),
        ("one chunk a batch, ms", one.shown("{:.0f}"), f"under {BATCH_TARGET:.0f}", one.median < BATCH_TARGET),
        (f"that with {TIMES}x the keys, times", f"{factor:.2f}", f"at most {GROWTH_TARGET}", factor <= GROWTH_TARGET),
    ]
    return Section("Ten times the data", text, tuple(Verdict("spark", *verdict) for verdict in verdicts))


def incumbent(plan: Plan, data: Data, chunks: Path, ours: Spread, our_processor: Spread) -> Section:
    """The usual way, on the same chunks."""
    from tillwatch.testing.servers.postgres import postgres_server

    plan.say(f"spark: the incumbent on {data.name}")
    count = data.chunks if plan.quick or plan.repeat >= ROUNDS else min(20, data.chunks)
    with postgres_server() as server:
        server.restart(fsync="on", shared_buffers="128MB")
        done = run(*module("incumbent"), chunks, data.importance, server.new_place(), str(count))
    told = json.loads(done.out.splitlines()[-1])
    if count == data.chunks:
        check(data, told["found"])
    commits = told["commits"]
    done_rows = min(count * CHUNK_ROWS, data.rows)
    speed, processor = done_rows / commits[-1][1], done_rows / commits[-1][2]
    ratio = ours.median / speed
    first, end = (spread(1000 * b[1] for b in part).median for part in (steady(commits)[:5], steady(commits)[-5:]))
    rows = [
        ["this engine", ours.shown("{:,.0f}"), our_processor.shown("{:,.0f}")],
        [
            "foreachBatch, collected groups, an upsert a row, whole tables, windows",
            f"{speed:,.0f}",
            f"{processor:,.0f}",
        ],
    ]
    text = (
        f"{data.name}. The incumbent: one round of {count} chunks, one a batch, PostgreSQL on the same machine (whose "
        f"processor time is not counted), one transaction a batch; its batches take {first:,.0f} ms at the beginning, "
        f"{end:,.0f} ms at the end.\n\n"
        + table(["way", "rows/s", "rows for a second of one core"], rows)
        + f"\n\nThat is **{ratio:.0f}** times as fast, {our_processor.median / processor:.0f} times by processor time."
    )
    target = f"at least {RATIO_TARGET:.0f}"
    verdict = Verdict("spark", "times the incumbent", f"{ratio:.0f}", target, ratio >= RATIO_TARGET)
    return Section("The incumbent", text, (verdict,))


def shards(plan: Plan, data: Data, chunks: Path) -> Section:
    """What tasks cost, and what a merchant with half of all rows does to its shard."""
    plan.say(f"spark: tasks of {data.name} on one core")
    config = configured(plan.folder / "shards", data)
    rounds: dict[int, list[Any]] = {}
    for _ in range(plan.repeat):
        for told in json.loads(run(*module("spark_shards"), config, chunks, "20", "1", "2", "4", "8").out):
            rounds.setdefault(told["buckets"], []).append(told)
    head = ["buckets", "reading", "folding, all shards", "slowest shard", "times the average", "its rows", "added up"]
    sent = rounds[1][0]["bytes"] / CHUNK_ROWS
    text = (
        f"{data.name}, 20 chunks a batch, on one core and without Spark: milliseconds of the processor a chunk, "
        f"{in_rounds(plan.repeat)}. One merchant has half of all rows, another a third. The last columns are the "
        "greatest share that a shard has of the rows, as they came and added up by key.\n\n"
        + table(head, [_shard_row(buckets, told) for buckets, told in rounds.items()])
        + f"\n\nFrom reading to folding tasks go {sent:.1f} bytes a row."
    )
    return Section("Shards and the hot merchant", text, ())


def _shard_row(buckets: int, rounds: Sequence[Any]) -> list[str]:
    fold = [spread(r["fold"][s] for r in rounds).median for s in range(len(rounds[0]["fold"]))]
    rows = rounds[0]["rows"]
    shares = [max(r[i] for r in rows) / sum(r[i] for r in rows) for i in (0, 1)]
    times = spread(r["factor"] for r in rounds).shown("{:.2f}")
    read = spread(r["read"] for r in rounds).shown("{:.1f}")
    return [str(buckets), read, f"{sum(fold):.1f}", f"{max(fold):.1f}", times, *(f"{s:.0%}" for s in shares)]


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
        assert large.rows  # counted while they are there
        large.transactions.unlink()
        sections: list[Section] = []

        def part(section: Section, others: machine.Others) -> None:
            sections.append(section)
            print(section.text())
            print(f"Other programs used {others.share():.0%} of the processors meanwhile.\n", flush=True)

        others = machine.Others()
        section, *ours = speeds(plan, data, chunks)
        part(section, others)
        for measure in (
            lambda: growth(plan, (data, chunks), (large, many)),
            lambda: incumbent(plan, data, chunks, *ours),
            lambda: shards(plan, data, chunks),
        ):
            others = machine.Others()
            part(measure(), others)
        print(f"## Targets\n\n{verdicts(sections)}")


if __name__ == "__main__":
    main()
