"""Killed at any step of a delivery, the next run delivers the rest, and every output has each detection once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tillwatch.config import Output as OutputSettings
from tillwatch.state import open_state
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit
from tillwatch.testing.crash import occurrences, writing
from tillwatch.testing.delivering import deliver
from tillwatch.testing.servers.webhook import Receiver, receiver

SECRET = "planted-hunter2"


@pytest.fixture(scope="module")
def there() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with receiver(SECRET) as known:
        os.environ["TEST_HOOK_SECRET"] = SECRET
        yield known
        del os.environ["TEST_HOOK_SECRET"]


def prepared(folder: Path) -> Path:
    """A folder with a state that has five detections in two files."""
    folder.mkdir()
    with closing(open_state(str(folder / "state.db"))) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        state.commit(commit(0, [3, 2]), 3)
        state.plan_rest(3)
    return folder


def settings(kind: str, folder: Path, there: Receiver) -> OutputSettings:
    """An output of that kind in the folder, or the receiver."""
    if kind == "webhook":
        return OutputSettings(format="webhook", uri=there.url, secret_env="TEST_HOOK_SECRET")
    return OutputSettings(format=kind, uri=str(folder / "out"))  # type: ignore[arg-type]


def seqs(kind: str, folder: Path, there: Receiver) -> list[int]:
    """What an output has, read apart from the product."""
    if kind == "webhook":
        return [record["seq"] for record in there.taken.values()]
    if kind == "jsonl":
        files = sorted((folder / "out").glob("*.jsonl"))
        return [json.loads(line)["seq"] for file in files for line in file.read_text("utf-8").splitlines()]
    if kind == "delta":
        return sorted(pl.DataFrame(DeltaTable(folder / "out").to_pyarrow_table())["seq"])
    return sorted(pl.read_parquet(f"{folder}/out/**/*.parquet")["seq"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "delta", "webhook"])
def test_killed_at_every_step(kind: str, there: Receiver, tmp_path: Path) -> None:
    """At each point that changes something, and before and after each delivery: nothing is lost or there twice."""
    there.taken.clear()
    folder, record = prepared(tmp_path / "whole"), tmp_path / "points"
    assert deliver(folder, settings(kind, folder, there), record=record) == 0
    assert seqs(kind, folder, there) == [1, 2, 3, 4, 5]
    asked = [point for point in record.read_text().split() if point.startswith("output.deliver.")]
    points = dict.fromkeys([*occurrences(writing(record), "first"), *asked])
    assert any(point.startswith("state.mark_delivered.") for point in points)
    for number, point in enumerate(points):
        there.taken.clear()
        folder = prepared(tmp_path / f"{number}")
        assert deliver(folder, settings(kind, folder, there), point) == -9, point
        assert deliver(folder, settings(kind, folder, there)) == 0, point
        assert seqs(kind, folder, there) == [1, 2, 3, 4, 5], point
        with closing(open_state(str(folder / "state.db"))) as state:
            assert state.undelivered("out") == []
