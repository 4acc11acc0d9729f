"""The real program, on a small pipeline: what it prints where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from watchfiles import watch

from tillwatch.cli.app import app
from tillwatch.generate import generate
from tillwatch.testing.terminals import on_terminal

CONFIG = """\
source: {{uri: {source}, rows: 200}}
lookups: {{importance: {importance}}}
detections: {{rows: 7, linger: 0.05}}
patterns:
  PatId1: {{merchant_transactions: 250, transactions_rank: 0.8, importance_rank: 0.3}}
  PatId2: {{transactions: 10, avg_amount: 25}}
  PatId3: {{female_customers: 3}}
"""

Configure = Callable[[Path], Path]
Done = subprocess.CompletedProcess[str]
Row = dict[str, str]

PROGRAM = (sys.executable, "-m", "tillwatch")
HEADER = "seq,chunk,patternId,ActionType,customerName,MerchantId,detectionTime,file"
PATTERNS = ("PatId1", "PatId2", "PatId3")
WHAT = ("seq", "chunk", "patternId", "ActionType", "customerName", "MerchantId")
SUMMARY = re.compile(
    r"tillwatch: landed (\S+) chunks?, (\S+) rows?; processed (\S+); (\S+) detections?(?: \((.*)\))?; "
    r"(\S+) quarantined; \d+\.\d s, [\d,]+ rows/s"
)


def call(*arguments: str | Path, code: int = 0, folder: Path | None = None) -> Done:
    """Runs the program to its end; `code` is the exit code it must end with."""
    command = [*PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    return done


def look(*arguments: str | Path, code: int = 0) -> Result:
    """The same in this process, which is faster."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.stderr
    return done


def detections(config: Path, *options: str) -> list[Row]:
    return list(csv.DictReader(io.StringIO(look("detections", "-c", config, *options).stdout)))


def status(config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(look("status", "-c", config, "--format", "json").stdout)
    return found


def summary(said: str) -> tuple[str, ...]:
    """The numbers of the last line: chunks and rows landed, chunks processed, detections, by pattern, quarantined."""
    found = SUMMARY.fullmatch(said.splitlines()[-1])
    assert found is not None, said
    return found.groups()


def what(rows: list[Row]) -> list[tuple[str, ...]]:
    """The detections without what depends on time."""
    return [tuple(row[column] for column in WHAT) for row in rows]


@pytest.fixture(scope="module")
def configure(tmp_path_factory: pytest.TempPathFactory) -> Configure:
    """Makes a folder with the configuration of a pipeline that has not run yet: 30 chunks are to be landed."""
    made = generate(tmp_path_factory.mktemp("data"), rows=6000, customers=150, merchants=30, seed=3, faults=0.02)

    def write(folder: Path) -> Path:
        folder.mkdir()
        config = folder / "tillwatch.yaml"
        config.write_text(CONFIG.format(source=made.transactions, importance=made.importance), "utf-8")
        return config

    return write


@pytest.fixture(scope="module")
def ran(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A configuration that was run to its end, and what the program said."""
    config = configure(tmp_path_factory.mktemp("ran") / "pipeline")
    return config, call("run", "--once", "-c", config)


@pytest.fixture(scope="module")
def worked_off(ran: tuple[Path, Done]) -> Path:
    """The configuration of a pipeline that has worked off its source. Tests leave it as it is."""
    return ran[0]


@pytest.fixture
def copy(worked_off: Path, tmp_path: Path) -> Path:
    """The configuration of a copy of that pipeline, to be changed."""
    return Path(shutil.copytree(worked_off.parent, tmp_path / "copy")) / worked_off.name


# Work


def test_run_once_works_off_the_source_and_says_what_it_did(ran: tuple[Path, Done]) -> None:
    """Exit code 0, nothing on stdout, and one line on stderr whose numbers are those of the pipeline."""
    config, done = ran
    said = summary(done.stderr)
    assert done.stdout == ""
    found = Counter(row["patternId"] for row in detections(config))
    assert said[:5] == (
        "30",
        "6,000",
        "30",
        str(found.total()),
        ", ".join(f"{pattern} {found[pattern]}" for pattern in PATTERNS),
    )
    assert int(said[5]) == sum(status(config)["quarantined"].values()) > 0


def test_ingest_and_detect_on_their_own_give_what_run_gives(
    worked_off: Path, configure: Configure, tmp_path: Path
) -> None:
    """X to its end, then Y to its end; each says only what it did itself."""
    config = configure(tmp_path / "pipeline")
    landed = call("ingest", "--once", "-c", config).stderr.splitlines()[-1]
    assert re.fullmatch(r"tillwatch: landed 30 chunks, 6,000 rows; \S+ s, \S+ rows/s", landed)
    processed = call("detect", "--once", "-c", config).stderr.splitlines()[-1]
    assert processed.startswith("tillwatch: processed 30 chunks, 6,000 rows; ")
    assert what(detections(config)) == what(detections(worked_off))


def test_run_again_finds_nothing_to_do(copy: Path) -> None:
    """A second run lands and processes nothing, and what is published stays."""
    before = what(detections(copy))
    assert summary(call("run", "--once", "-c", copy).stderr)[:4] == ("0", "0", "0", "0")
    assert what(detections(copy)) == before


def test_the_configuration_is_the_one_in_the_folder(worked_off: Path) -> None:
    """Without -c it is ./tillwatch.yaml."""
    assert call("detections", folder=worked_off.parent).stdout.startswith(HEADER)


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*PROGRAM, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path: Path, below: Path) -> None:
    """Waits for a file, by what the file system tells."""
    looks = watch(below, rust_timeout=200, yield_on_timeout=True, debounce=50, step=10)
    for _ in zip(range(300), looks, strict=False):
        if path.exists():
            return
    raise AssertionError(f"{path} did not come")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_cleanly(
    number: signal.Signals, worked_off: Path, configure: Configure, tmp_path: Path
) -> None:
    """Exit code 0 after the chunk in hand, every landed chunk processed; another run goes on to the same end."""
    config = configure(tmp_path / "pipeline")
    with started("run", "-c", config, "--set", "source.every=300ms") as process:
        wait_for(config.parent / "tillwatch-data" / "landing" / "000000000002.parquet", tmp_path)
        process.send_signal(number)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert "tillwatch: stopping after the chunk in hand …" in said
    assert 3 <= int(summary(said)[0]) < 30
    look("run", "--once", "-c", config)
    assert what(detections(config)) == what(detections(worked_off))
    assert look("audit", "-c", config).stdout.endswith("audit: ok\n")


def test_a_second_instance_says_so_and_leaves(copy: Path) -> None:
    """While one detect is at work, another ends with exit code 1 and says who is at work."""
    locked = copy.parent / "tillwatch-data" / "state.db.detect.holder"
    locked.unlink()
    with started("detect", "-c", copy) as process:
        wait_for(locked, copy.parent)
        second = call("detect", "--once", "-c", copy, code=1)
        assert f"detect is at work on this pipeline already: process {process.pid} " in second.stderr
        assert len(second.stderr.splitlines()) == 1


def test_set_reaches_a_threshold(worked_off: Path, configure: Configure, tmp_path: Path) -> None:
    """With a lower threshold more is found, and the patterns that it does not touch find the same."""
    config = configure(tmp_path / "pipeline")
    call("run", "--once", "-c", config, "--set", "patterns.PatId2.transactions=5")
    changed = ("--set", "patterns.PatId2.transactions=5")
    lower, usual = what(detections(config, *changed)), what(detections(worked_off))

    def keys(rows: list[tuple[str, ...]], pattern: str) -> set[tuple[str, ...]]:
        return {row[4:] for row in rows if row[2] == pattern}

    assert keys(lower, "PatId2") > keys(usual, "PatId2")
    assert keys(lower, "PatId1") == keys(usual, "PatId1")
    assert keys(lower, "PatId3") == keys(usual, "PatId3")


def test_other_digits_on_the_same_state_are_refused(copy: Path) -> None:
    """A state whose numbers were made in another way is not gone on with."""
    said = look("run", "--once", "-c", copy, "--set", "amounts.digits=2", code=1).stderr
    assert "was made by another configuration" in said
    assert "  was  amounts: 4" in said and "  now  amounts: 2" in said
    assert "Traceback" not in said


def test_a_file_that_cannot_be_read_makes_the_run_fail_at_its_end(tmp_path: Path) -> None:
    """The other files are worked off, the notice names the file, the exit code is 1."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.csv").write_text("who,cost\nC1,5\n")
    (source / "b.csv").write_text("step,customer,merchant,gender,category,amount\n0,C1,M1,F,food,5.00\n")
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./in\npatterns: [PatId2]\n")
    said = call("run", "--once", "-c", config, code=1).stderr
    assert "landed 1 chunk, 1 row; processed 1;" in said
    assert "a.csv" in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["run", "status", "audit"])
def test_a_wrong_configuration_is_told_with_its_place(command: str, worked_off: Path, tmp_path: Path) -> None:
    """Exit code 2, every mistake with file, line and column, and nothing is made."""
    config = tmp_path / "wrong.yaml"
    config.write_text(f"{worked_off.read_text()}engine: steam\nlandnig: ./x\n")
    lines = len(worked_off.read_text().splitlines())
    done = look(command, "-c", config, code=2)
    assert done.stdout == ""
    assert f"tillwatch: {config}:{lines + 1}:9: engine: found 'steam'" in done.stderr
    assert f"{config}:{lines + 2}:1: landnig: unknown key" in done.stderr
    assert list(tmp_path.iterdir()) == [config]


# Look


def test_detections_as_csv_are_those_of_the_published_files(worked_off: Path) -> None:
    """The header is exact, seq has no gap, and each row is in the file that it names."""
    text = call("detections", "-c", worked_off).stdout
    assert text.splitlines()[0] == HEADER
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["seq"]) for row in rows] == list(range(1, len(rows) + 1))
    assert {row["patternId"] for row in rows} == set(PATTERNS)
    folder = worked_off.parent / "tillwatch-data" / "detections"
    published = [
        {"file": path.name, **row}
        for path in sorted(folder.iterdir())
        for row in csv.DictReader(io.StringIO(path.read_text("utf-8")))
    ]
    common = HEADER.split(",")[2:]
    assert [[row[c] for c in common] for row in rows] == [[row[c] for c in common] for row in published]


def test_detections_as_json_lines_have_the_evidence_too(worked_off: Path) -> None:
    """The same fields with the same values, and evidence that says why, and whether it holds."""
    lines = look("detections", "-c", worked_off, "--format", "jsonl").stdout.splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [{c: str(r[c]) for c in HEADER.split(",")} for r in records] == detections(worked_off)
    for record in records:
        assert list(record) == [*HEADER.split(","), "key", "holds", "evidence"]
        assert isinstance(record["holds"], bool)
        assert record["evidence"]["chunk"] == record["chunk"]
    counts = [r["evidence"]["features"]["transactions"] for r in records if r["patternId"] == "PatId2"]
    assert counts and min(counts) >= 10


def test_detections_can_be_chosen_by_pattern_and_by_seq(worked_off: Path) -> None:
    """--pattern keeps those patterns, --after what comes after that seq; both leave seq as it is."""
    rows = detections(worked_off)
    chosen = detections(worked_off, "--pattern", "PatId3", "--pattern", "PatId1", "--after", "4")
    assert chosen == [row for row in rows if row["patternId"] != "PatId2" and int(row["seq"]) > 4]
    assert detections(worked_off, "--after", str(len(rows))) == []
    said = look("detections", "-c", worked_off, "--pattern", "PatId9", code=2).stderr
    assert "there is no pattern 'PatId9' here; known are PatId1, PatId2, PatId3" in said


def test_a_reader_that_has_enough_ends_the_program_quietly(worked_off: Path) -> None:
    """When the pipe is closed, as by `| head`, nothing is said and the exit code is that of a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [*PROGRAM, "detections", "-c", str(worked_off)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=300, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_status_says_where_the_pipeline_stands(worked_off: Path) -> None:
    """For people and as JSON, with the same numbers."""
    now = status(worked_off)
    assert (now["landed_chunks"], now["landed_rows"], now["processed_chunks"], now["lag"]) == (30, 6000, 30, 0)
    assert now["counted"] + sum(now["quarantined"].values()) == 6000
    assert (now["ingest_at_work"], now["detect_at_work"], now["files"]) == (False, False, {"done": 1})
    lines = look("status", "-c", worked_off).stdout.splitlines()
    text = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert text["landed"] == "30 chunks, 6,000 rows"
    assert text["processed"] == f"30 chunks, {now['counted']:,} rows counted, 0 behind"
    assert text["detections"].startswith(f"{sum(now['detections'].values())} detections (PatId1 ")
    assert text["started"] == now["started_at"]


def test_audit_proves_a_whole_pipeline(worked_off: Path) -> None:
    """A line a check, the last line, exit code 0, and nothing on stderr."""
    done = call("audit", "-c", worked_off)
    *checks, last = done.stdout.splitlines()
    assert len(checks) >= 5
    assert all(re.match(r"ok   \w+: ", line) for line in checks)
    assert (last, done.stderr) == ("audit: ok", "")


def test_audit_tells_what_is_missing(copy: Path) -> None:
    """A removed detection file is one problem, told below the check that failed; exit code 1."""
    folder = copy.parent / "tillwatch-data" / "detections"
    gone = sorted(folder.iterdir())[1]
    gone.unlink()
    lines = look("audit", "-c", copy, code=1).stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("FAIL "))
    assert lines[at + 1].startswith("     ") and gone.name in lines[at + 1]
    assert sum(line.startswith("FAIL ") for line in lines) == 1
    assert lines[-1] == "audit: 1 problems"


def test_audit_shows_twenty_problems_of_a_check_and_counts_the_others(copy: Path) -> None:
    """Many problems of one kind do not hide the other checks."""
    folder = copy.parent / "tillwatch-data" / "detections"
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace("detections-", "detections-9")))
    lines = look("audit", "-c", copy, code=1).stdout.splitlines()
    shown = [line for line in lines if line.startswith("     ")]
    problems = int(lines[-1].removeprefix("audit: ").removesuffix(" problems"))
    assert shown[-1] == f"     … and {problems - 20} more"
    assert len(shown) == 21


# A first look


def test_demo_runs_by_itself_and_what_it_suggests_works(tmp_path: Path) -> None:
    """It shows every pattern, an example and three commands, and each of these ends with 0."""
    done = call("demo", "--rows", "20000", folder=tmp_path)
    assert summary(done.stderr)[:3] == ("2", "20,000", "2")
    text = " ".join(done.stdout.split())
    for pattern, action in zip(PATTERNS, ("UPGRADE", "CHILD", "DEI-NEEDED"), strict=True):
        assert re.search(rf"{pattern} {action} \d+ \w", text)
    assert re.search(r"For example: \S+ for .* found after chunk \d, because \S+ is ", text)
    suggested = re.findall(r"^  \S.*  tillwatch (.*)$", done.stdout, re.MULTILINE)
    assert [line.split()[0] for line in suggested] == ["status", "detections", "audit"]
    for line in suggested:
        call(*shlex.split(line), folder=tmp_path)


def test_demo_can_be_run_again(tmp_path: Path) -> None:
    """Where there are files already it works in a folder beside, and changes nothing that is there."""
    (tmp_path / "tillwatch-demo").mkdir()
    (tmp_path / "tillwatch-demo" / "mine.txt").write_text("mine")
    said = call("demo", "--rows", "500", folder=tmp_path).stderr
    assert "making 500 transactions in tillwatch-demo-2/" in said
    assert [path.name for path in (tmp_path / "tillwatch-demo").iterdir()] == ["mine.txt"]
    assert (tmp_path / "tillwatch-demo-2" / "tillwatch.yaml").exists()


def test_on_a_terminal_progress_is_live_and_leaves_a_line(configure: Configure, tmp_path: Path) -> None:
    """The display is taken away at the end, the line of what was done stays, and the cursor is back."""
    config = configure(tmp_path / "pipeline")
    with on_terminal("run", "--once", "-c", config) as terminal:
        assert terminal.rest() == 0
    seen = terminal.seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    assert summary(seen.rpartition("\x1b[2K")[2])[:3] == ("30", "6,000", "30")
