"""The published BankSim data gives exactly the detections found by brute force, however the work is cut up."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tillwatch.audit import audit
from tillwatch.detect import loop
from tillwatch.errors import StateMissing
from tillwatch.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]
BANKSIM = Path(os.environ.get("TILLWATCH_BANKSIM", ROOT.parent / "shared" / "data" / "banksim"))
NEEDED = ("transactions.csv.gz", "CustomerImportance.csv.gz", "expected.csv")

pytestmark = [
    pytest.mark.skipif(not all((BANKSIM / n).exists() for n in NEEDED), reason="the BankSim data is not here"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files, unpacked."""
    folder = tmp_path_factory.mktemp("banksim")
    for name in NEEDED[:2]:
        with gzip.open(BANKSIM / name) as packed, (folder / name.removesuffix(".gz")).open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    return folder


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    """The smallest configuration, in a folder of its own."""
    file = tmp_path / "tillwatch.yaml"
    file.write_text(
        f"source: {{uri: {data}/transactions.csv, every: 0.01s}}\n"
        f"lookups: {{importance: {data}/CustomerImportance.csv}}\n"
    )
    return file


def expected() -> list[str]:
    """chunk,patternId,ActionType,customerName,MerchantId of every detection, in order."""
    return (BANKSIM / "expected.csv").read_text().splitlines()[1:]


def found(config: Path) -> list[str]:
    """The same of what the pipeline detected."""
    columns = ("chunk", "patternId", "ActionType", "customerName", "MerchantId")
    return [",".join(map(str, row)) for row in Pipeline.open(config).detections().select(columns).iter_rows()]


def assert_right(config: Path) -> None:
    """The expected detections, and everything accounted for."""
    assert found(config) == expected()
    assert [c for c in audit(Pipeline.open(config)) if not c.ok] == []


def test_once_gives_exactly_the_expected_detections(config: Path, engine: str) -> None:
    """`run --once` finds the 160 detections, chunk included, with either engine; audit finds no problem."""
    Pipeline.open(config, [engine]).run(once=True)
    assert len(expected()) == 160
    assert_right(config)
    files = sorted((config.parent / "tillwatch-data/detections").iterdir())
    assert [len(f.read_text().splitlines()) - 1 for f in files] == [50, 50, 50, 10]


@pytest.mark.parametrize("chunks", [1, 2, 7, 60])
def test_every_grouping_of_commits_gives_the_same(config: Path, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many chunks go into one commit, the detections are the same."""
    pipeline = Pipeline.open(config)
    pipeline.ingest(once=True)
    monkeypatch.setattr(loop, "BATCH_CHUNKS", chunks)
    pipeline.detect(once=True)
    assert_right(config)


def test_compressed_source_and_lookup_give_the_same(tmp_path: Path) -> None:
    """The packed files are read as they are."""
    file = tmp_path / "tillwatch.yaml"
    file.write_text(
        f"source: {BANKSIM}/transactions.csv.gz\nlookups: {{importance: {BANKSIM}/CustomerImportance.csv.gz}}\n"
    )
    Pipeline.open(file).run(once=True)
    assert_right(file)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Started programs, ended at the end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def tillwatch(config: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The program at work."""
    command = [sys.executable, "-m", "tillwatch", *arguments, "-c", str(config)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def wait_for_chunks(config: Path, count: int, processes: list[subprocess.Popen[bytes]]) -> None:
    """Returns when so many chunks are processed."""
    from watchfiles import watch

    state = config.parent / "tillwatch-data"
    state.mkdir(exist_ok=True)
    for _ in watch(state, recursive=False, yield_on_timeout=True, rust_timeout=200, debounce=50, step=20):
        assert all(p.poll() is None for p in processes), "a process ended early"
        if (state / "state.db").exists():
            with suppress(StateMissing), Pipeline.open(config).opened(readonly=True) as opened:  # being made
                if opened.totals().processed >= count:
                    return


def test_two_processes_at_a_fast_pace_give_the_same(config: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    """Detect started before ingest, both stopped by SIGTERM when all is processed: the same detections."""
    processes += [tillwatch(config, "detect"), tillwatch(config, "ingest")]
    wait_for_chunks(config, 60, processes)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [p.wait(30) for p in processes] == [0, 0]
    assert_right(config)


def test_kills_on_the_way_change_nothing(config: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    """Both mechanisms killed by SIGKILL after 10, 25 and 45 chunks, and started again: the same detections."""
    for chunks in (10, 25, 45):
        working = [tillwatch(config, "detect"), tillwatch(config, "ingest")]
        processes += working
        wait_for_chunks(config, chunks, working)
        for process in working:
            process.kill()
            process.wait()
    Pipeline.open(config).run(once=True)
    assert_right(config)
