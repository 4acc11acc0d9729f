"""Late rows quarantined by the tasks of the Spark engine, without Spark: however chunks are divided among tasks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tillwatch.pipeline import Pipeline
from tillwatch.spark import worker
from tillwatch.spark.batch import Told, told_by
from tillwatch.spark.detect import Places
from tillwatch.spark.manifest import Manifest
from tillwatch.spark.reading import Account, Reading
from tillwatch.spark.records import records
from tillwatch.spark.shards import groups_of
from tillwatch.spark.worker import Job, fold_shards
from tillwatch.stores import open_store

CONFIG = """\
source: {uri: rows.csv, rows: 7, every: 0}
time: {late: quarantine, lateness: 2}
where: category <> 'test'
quarantine: ./quarantine
landing: ./landing
state: ./state.db
spark: {state: ./spark}
patterns: [WINDOWS]
"""
PAIRS = "PatId2: {transactions: 3, avg_amount: 5}"


def site(folder: Path, patterns: str) -> Pipeline:
    """A pipeline with 20 chunks landed, with rows that are late, not valid, filtered out; a chunk has no valid one."""
    draw, lines = random.Random(5), ["step,customer,merchant,gender,category,amount"]
    for number in range(140):
        step = number // 6 - draw.choice([0, 0, 0, 1, 2, 3, 9])
        amount = "x" if draw.random() < 0.1 or 42 <= number < 49 else draw.choice("12345")
        where = draw.choice(["food", "food", "test"])
        lines.append(f"{step},C{draw.randrange(4)},M{draw.randrange(3)},F,{where},{amount}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "tillwatch.yaml").write_text(CONFIG.replace("WINDOWS", patterns))
    pipeline = Pipeline.open(folder / "tillwatch.yaml")
    pipeline.ingest(once=True)
    return pipeline


def tasks(pipeline: Pipeline, chunks: int) -> Iterator[Told]:
    """What Spark's tasks tell of each batch of so many chunks, each read by a task of its own, the last one first."""
    setup = pipeline.setup
    store = open_store(pipeline.settings.spark.state)
    groups = groups_of(setup.program, 3, setup.lateness)
    plan = Places(pipeline.settings).plan(setup, groups, 0, 0, 1)
    manifest, numbers = Manifest(3), list(pipeline.landing.numbers())
    for start in range(0, len(numbers), chunks):
        batch = numbers[start : start + chunks]
        sent = [records(Reading(plan).read(number)) for number in reversed(batch)]
        job = Job(groups, manifest.chunk, 0, manifest.shards, store.uri, {}, plan)
        for _ in range(2):  # as when a task is run once more
            worker.forget()
            out = [batch.to_pylist() for batch in fold_shards(job, sent)]
        told = told_by([(r["shard"], r["kind"], r["data"]) for some in out for r in some], setup.program)
        manifest = manifest.after(batch[-1] + 1, told.versions)
        yield told


@pytest.mark.parametrize("patterns", ["FREQUENCY: {transactions: 1}", PAIRS])
@pytest.mark.parametrize("chunks", [1, 3, 20])
def test_accounts_and_quarantine_are_those_of_the_embedded_engine(tmp_path: Path, patterns: str, chunks: int) -> None:
    """With windows and without: rows counted, quarantined by reason and filtered out of every chunk, what was found,
    and the quarantine's files, byte by byte."""
    pipeline = site(tmp_path, patterns)
    told = list(tasks(pipeline, chunks))
    ours = files(tmp_path / "quarantine")
    for file in (tmp_path / "quarantine").iterdir():
        file.unlink()
    pipeline.detect(once=True)
    assert ours == files(tmp_path / "quarantine")
    accounts = [account for each in told for account in each.chunks]
    with pipeline.opened(readonly=True) as state:
        noted = [(c.number, c.counted, c.quarantined, c.filtered) for c in state.chunks()]
        assert [(i.number, n, sum(why.values()), out) for i, n, why, out, _ in accounts] == noted
        assert reasons_of(accounts) == state.quarantined()
        assert min(state.quarantined()[code] for code in ("late", "amount_not_a_number")) > 5
        found = [s.detection for s in state.detections()]
    assert [d for each in told for d in each.detections] == found != []


def reasons_of(accounts: Sequence[Account]) -> dict[str, int]:
    """Rows quarantined by reason."""
    counts: dict[str, int] = {}
    for _, _, reasons, _, _ in accounts:
        for reason, rows in reasons.items():
            counts[reason] = counts.get(reason, 0) + rows
    return dict(sorted(counts.items()))


def files(folder: Path) -> dict[str, bytes]:
    """The content of every file."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
