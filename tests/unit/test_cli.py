"""The command line, as far as it can be seen without running a pipeline."""

from __future__ import annotations

import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from tillwatch.cli.app import app
from tillwatch.cli.command import Command, Example
from tillwatch.cli.live import LiveDisplay
from tillwatch.cli.outcome import exit_code
from tillwatch.cli.progress import Counts, Lines, Report, Speed, shown
from tillwatch.cli.reference import reference_markdown
from tillwatch.detect.loop import Processed
from tillwatch.errors import ConfigError, PatternError, RunError
from tillwatch.pipeline import Landed, Notice, Pipeline

ROOT = click.Context(app, info_name="tillwatch")
COMMANDS = app.list_commands(ROOT)
CONFIGURED = (
    "run",
    "ingest",
    "detect",
    "check",
    "test",
    "status",
    "detections",
    "quality",
    "audit",
    "explain",
    "why-not",
    "backtest",
    "compact",
    "dashboard",
)
ARGUMENTS = {"names", "kind", "out", "shell", "action", "places", "seq", "pattern", "drafts"}
NEEDED = {"explain": ("1",), "why-not": ("PatId2", "--customer", "C", "--merchant", "M")}
"""Arguments without which a call is wrong."""
SHELLS = ("bash", "zsh", "fish")


def command(name: str) -> Command:
    found = app.commands[name]
    assert isinstance(found, Command)
    return found


def options(name: str) -> set[str]:
    return {option for parameter in command(name).params for option in parameter.opts}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


# The commands and their help


def test_help_shows_all_commands_in_the_order_of_their_use() -> None:
    """First what one does first: make data and check, then work, then look."""
    text = call("--help").stdout
    listed = [line.split()[0] for line in text.splitlines() if re.match(r"  \w[\w-]+ {2,}", line)]
    assert listed == COMMANDS
    assert COMMANDS == [
        "demo",
        "generate",
        "check",
        "test",
        "schema",
        "run",
        "ingest",
        "detect",
        "status",
        "dashboard",
        "detections",
        "quality",
        "audit",
        "explain",
        "why-not",
        "backtest",
        "state",
        "compact",
        "completion",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_ends_with_its_examples(name: str) -> None:
    """Every command shows two or three command lines with what they do."""
    text = call(name, "--help").stdout
    assert 2 <= len(command(name).examples) <= 3
    shown_last = " ".join(text.partition("Examples:\n")[2].split())
    for line, what in command(name).examples:
        assert " ".join(line.split()) in shown_last
        assert what in shown_last


@pytest.mark.parametrize(
    "example", [e for name in COMMANDS for e in command(name).examples], ids=lambda example: example[0]
)
def test_examples_are_calls_that_are_understood(example: Example) -> None:
    """The command line of an example parses: its command, options and values exist."""
    line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", example[0])
    program, name, *arguments = shlex.split(re.split(r" (?:\||>|&&) ", line)[0])
    assert program == "tillwatch"
    command(name).make_context(name, arguments)


def test_commands_on_a_pipeline_take_its_configuration() -> None:
    """All commands but those that make data and completion take -c and --set; the working ones take --once."""
    assert {name for name in COMMANDS if {"-c", "--config", "--set"} <= options(name)} == {*CONFIGURED, "state"}
    assert {name for name in COMMANDS if "--once" in options(name)} == {"run", "ingest", "detect"}


def test_version_is_that_of_the_package() -> None:
    """--version prints the version and exits with 0."""
    from importlib.metadata import version

    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"tillwatch, version {version('tillwatch')}\n")


def test_the_program_starts_without_heavy_packages() -> None:
    """Importing the command line imports none of the packages that cost time."""
    heavy = "{'polars', 'numpy', 'pydantic', 'sqlglot', 'rich', 'sqlite3', 'watchfiles', 'yaml'}"
    code = f"import sys, tillwatch.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_script_and_where_to_put_it(shell: str) -> None:
    """The script asks the program itself for completions; its last line says where it goes."""
    result = call("completion", shell)
    assert result.exit_code == 0
    assert "_TILLWATCH_COMPLETE=" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith("# ") and shell in last


def test_completion_completes_commands() -> None:
    """What the script asks of the program is answered with the commands that begin so."""
    asked = {"_TILLWATCH_COMPLETE": "bash_complete", "COMP_WORDS": "tillwatch de", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app, env=asked)
    assert result.stdout.split() == ["plain,demo", "plain,detect", "plain,detections"]


def test_reference_has_every_command_and_option() -> None:
    """The page is the same each time, and has every option of every command, and every example."""
    page = reference_markdown()
    assert page == reference_markdown()
    sections = dict(zip(COMMANDS, re.split(r"^## tillwatch [\w-]+$", page, flags=re.MULTILINE)[1:], strict=True))
    for name, section in sections.items():
        assert inspect.cleandoc(command(name).help or "-") in section
        assert all(f"`{option}" in section or f", {option}" in section for option in options(name) - ARGUMENTS)
        assert all(line in section for line, _ in command(name).examples)


# Wrong calls


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?\nSee 'tillwatch --help'."),
        (["run", "--onec"], "No such option '--onec'. Did you mean '--once'?\nSee 'tillwatch run --help'."),
        (["detections", "--format", "xml"], "'xml' is not one of 'csv', 'jsonl'"),
        (["detections", "--after", "-1"], "-1 is not in the range x>=0"),
        (["run", "-c", "."], "'.' is a directory"),
        (["status", "-c", "no-such.yaml"], "no-such.yaml: there is no such file. The smallest configuration is"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (["generate", "--rows", "0"], "generate: rows is 0; it must be 1 or more."),
        (["demo", "--rows", "0"], "0 is not in the range x>=1"),
    ],
)
def test_a_wrong_call_is_told_on_stderr_with_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is said in words, nothing is printed to stdout, nothing is written."""
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.stderr.startswith("tillwatch: ")
    assert said in result.stderr
    assert (result.exit_code, result.stdout) == (2, "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_command_shows_the_help() -> None:
    """Without arguments the help is shown, and the call counts as wrong."""
    result = call()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "First steps:" in result.stderr


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_command_on_a_pipeline_tells_mistakes_of_the_configuration(name: str, tmp_path: Path) -> None:
    """A mistake in the file and one in --set are told by place, with exit code 2, before anything is written."""
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: {uri: ./x.csv, rows: ten}\n")
    result = call(name, *NEEDED.get(name, ()), "-c", str(config), "--set", "detections.rows=0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{config}:1:30: source.rows: found 'ten'" in result.stderr
    assert "--set detections.rows=0: detections.rows: found 0" in result.stderr
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.parametrize("name", ["status", "detections", "audit", "explain", "why-not"])
def test_looking_at_a_pipeline_that_never_ran_says_so(name: str, tmp_path: Path) -> None:
    """There is nothing to look at: exit code 1, and nothing is made by looking."""
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./x.csv\npatterns: [PatId2]\n")
    result = call(name, *NEEDED.get(name, ()), "-c", str(config))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing has been run with this configuration" in result.stderr
    assert list(tmp_path.iterdir()) == [config]


# What an error comes to


def raising(error: BaseException) -> int:
    def program() -> int:
        raise error

    return exit_code(program)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("a.yaml:1:1: is wrong"), 2, "tillwatch: a.yaml:1:1: is wrong\n"),
        (PatternError("p.yaml:3:1: is wrong"), 2, "tillwatch: p.yaml:3:1: is wrong\n"),
        (RunError("chunk 3 is gone"), 1, "tillwatch: chunk 3 is gone\n"),
        (PermissionError(13, "Permission denied", "out/x.csv"), 1, "tillwatch: out/x.csv: Permission denied\n"),
        (OSError("no space"), 1, "tillwatch: no space\n"),
        (click.Abort(), 130, ""),
    ],
)
def test_errors_are_told_without_a_traceback(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text of the error goes to stderr, and the exit code says whose mistake it was."""
    assert raising(error) == code
    assert capsys.readouterr() == ("", said)


def test_a_defect_is_told_as_one_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected error is called a defect of tillwatch; secrets in its text are not shown."""
    assert raising(ZeroDivisionError("at postgresql://till:hunter2@db/x")) == 1
    out, err = capsys.readouterr()
    first, *rest = err.splitlines()
    assert out == ""
    assert first.startswith("tillwatch: this is a defect in tillwatch")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ZeroDivisionError: at postgresql://till:***@db/x"


def test_a_program_that_ends_well_returns_its_code() -> None:
    """No code is 0, and a command's own code is kept."""
    assert (exit_code(lambda: None), exit_code(lambda: 0), exit_code(lambda: 2)) == (0, 0, 2)


# Data to try things with


def test_generate_writes_data_and_a_configuration_beside_it(tmp_path: Path) -> None:
    """It says what it wrote and what to do next, and what it says to do is a right configuration."""
    out = tmp_path / "new"
    result = call("generate", str(out), "--rows", "300", "--faults", "0.1", "--customers", "20", "--seed", "7")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"wrote {out / 'transactions.csv'} with 300 rows, " in result.stderr
    assert f"next: tillwatch run --once -c {out / 'tillwatch.yaml'}" in result.stderr
    assert {path.name for path in out.iterdir()} == {"transactions.csv", "CustomerImportance.csv", "tillwatch.yaml"}
    checked = call("check", "-c", str(out / "tillwatch.yaml"))
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (0, "check: ok")


def test_generate_overwrites_nothing(tmp_path: Path) -> None:
    """A configuration that is there stays as it is; data that is there stops it with exit code 2."""
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./other.csv\n")
    assert call("generate", str(tmp_path), "--rows", "10").exit_code == 0
    data = (tmp_path / "transactions.csv").read_bytes()
    again = call("generate", str(tmp_path), "--rows", "20")
    assert (again.exit_code, (tmp_path / "transactions.csv").read_bytes()) == (2, data)
    assert config.read_text() == "source: ./other.csv\n"


def test_check_tells_problems_on_stderr(tmp_path: Path) -> None:
    """The plan is printed all the same, the problems go to stderr, the exit code is 2."""
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./no-such.csv\npatterns: [PatId2]\n")
    result = call("check", "-c", str(config))
    assert result.exit_code == 2
    assert result.stdout.startswith("source ")
    assert "check: ok" not in result.stdout
    assert "tillwatch: " in result.stderr and "no-such.csv" in result.stderr


# Progress


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> str:
        return "2026-11-20T13:05:07.123+05:30"

    def monotonic(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        raise AssertionError("nothing here waits")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def pipeline(tmp_path: Path, clock: HandClock) -> Pipeline:
    """One that has never run."""
    from tillwatch.config import load

    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./x.csv\npatterns: [PatId2, PatId3]\n")
    return Pipeline(load(config), clock)


def counted(*events: Landed | Processed | Notice) -> Counts:
    counts = Counts(["PatId2", "PatId3"], deque())
    for event in events:
        counts(event)
    return counts


def report(pipeline: Pipeline, counts: Counts, *, lands: bool = True, detects: bool = True) -> Report:
    return Report("x.csv", pipeline, counts, lands=lands, detects=detects)


WORKED = (
    Landed(7, 1000),
    Landed(8, 1000),
    Landed(9, 500),
    Processed(7, 8, 1990, 10, {"PatId2": 3}),
    Processed(9, 9, 500, 0, {"PatId2": 1, "PatId3": 2}),
)


def test_what_was_done_is_told_in_one_line(pipeline: Pipeline) -> None:
    """Landed and processed, detections by pattern in configured order, quarantined rows; each half on its own."""
    both = report(pipeline, counted(*WORKED)).text("0.9 s")
    assert both == "landed 3 chunks, 2,500 rows; processed 3; 6 detections (PatId2 4, PatId3 2); 10 quarantined; 0.9 s"
    assert report(pipeline, counted(*WORKED), detects=False).text("end") == "landed 3 chunks, 2,500 rows; end"
    alone = report(pipeline, counted(*WORKED), lands=False).text("end")
    assert alone == "processed 3 chunks, 2,500 rows; 6 detections (PatId2 4, PatId3 2); 10 quarantined; end"


def test_behind_is_what_is_landed_and_not_processed(pipeline: Pipeline) -> None:
    """It goes by chunk numbers, so chunks of earlier runs count too."""
    assert report(pipeline, counted()).behind() == 0
    assert report(pipeline, counted(*WORKED[:4])).behind() == 1
    assert report(pipeline, counted(*WORKED)).behind() == 0


def test_speed_is_that_of_the_last_seconds() -> None:
    """What was done longer ago than three seconds does not count."""
    speed = Speed()
    told = [speed.at(now, rows) for now, rows in [(0, 0), (1, 1000), (2, 2000), (5, 2000), (6, 2000)]]
    assert told == ["0 rows/s", "1,000 rows/s", "1,000 rows/s", "0 rows/s", "0 rows/s"]


def test_without_a_terminal_a_line_comes_every_five_seconds_in_which_something_was_done(
    pipeline: Pipeline, clock: HandClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not before five seconds, not when nothing is new; notices come at once."""
    counts = counted()
    lines = Lines(report(pipeline, counts))

    def told(seconds: float, *events: Landed | Processed | Notice) -> str:
        clock.time += seconds
        for event in events:
            counts(event)
        lines.tick()
        return capsys.readouterr().err

    assert told(4.9, *WORKED[:4]) == ""
    assert told(0.2) == (
        "tillwatch: landed 3 chunks, 2,500 rows; processed 2; 3 detections (PatId2 3, PatId3 0); 10 quarantined; "
        "1 chunk behind; 392 rows/s\n"
    )
    assert told(1, Notice("x.csv was set aside")) == "tillwatch: x.csv was set aside\n"
    assert told(5, WORKED[4]).endswith("; 83 rows/s\n")
    assert told(60) == ""


def test_on_a_terminal_the_counts_are_drawn_in_place(pipeline: Pipeline, clock: HandClock) -> None:
    """All numbers are there; without news it is drawn again after a second only; at the end the cursor is back."""
    screen = io.StringIO()
    counts = counted(*WORKED[:4])
    live = LiveDisplay(report(pipeline, counts), Console(file=screen, force_terminal=True, width=100))

    def drawn(seconds: float) -> str:
        before = len(screen.getvalue())
        clock.time += seconds
        live.tick()
        return re.sub(r"\x1b\[[\d;?]*\w", "", screen.getvalue()[before:])

    first = drawn(0.5)
    words = " ".join(first.split())
    assert "x.csv 0:00" in words
    assert "landed 2,500 rows 3 chunks 5,000 rows/s" in words
    assert "processed 2,000 rows 2 chunks 4,000 rows/s 1 chunk behind" in words
    assert "quarantined 10 rows" in words
    assert "detections 3 PatId2 3 PatId3 0" in words
    assert drawn(0.1) == ""
    counts(Notice("[set] aside"))
    assert "tillwatch: [set] aside" in drawn(0.1)
    assert "0:01" in drawn(1.0)
    live.close()
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")


class Closed:
    """A display whose reader has gone."""

    def tick(self) -> None:
        raise BrokenPipeError

    def close(self) -> None:
        raise AssertionError("it is closed already")


def test_a_display_that_fails_stops_the_run() -> None:
    """When nobody reads stderr any more the run is asked to stop, and the error comes out at its end."""
    stop, ended = threading.Event(), False
    with pytest.raises(BrokenPipeError), shown(Closed(), stop.set):
        ended = stop.wait(10)
    assert ended


# Signals

LISTENS = """
import sys
from tillwatch.cli.signals import stop_on_signal
with stop_on_signal(lambda text: print(text, flush=True)) as stop:
    print("ready", flush=True)
    stop.wait()
    print("stopped", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def listener() -> subprocess.Popen[str]:
    """A process that stops on a signal, slowly: it waits for its stdin to be closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(("first", "hint"), [(2, " (Ctrl-C again ends at once)"), (15, "")])
def test_a_first_signal_asks_to_stop(listener: subprocess.Popen[str], first: int, hint: str) -> None:
    """SIGINT and SIGTERM set the event, say so, and let the process end by itself; SIGTERM again changes nothing."""
    listener.send_signal(first)
    assert listener.stdout is not None
    told = {listener.stdout.readline(), listener.stdout.readline()}
    assert told == {f"stopping after the chunk in hand …{hint}\n", "stopped\n"}
    listener.send_signal(15)
    listener.communicate("", timeout=20)
    assert listener.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("first", [2, 15])
def test_a_second_sigint_ends_at_once(listener: subprocess.Popen[str], first: int) -> None:
    """While the process is stopping, SIGINT ends it with exit code 130."""
    assert listener.stdout is not None
    listener.send_signal(first)
    listener.stdout.readline()
    listener.stdout.readline()
    listener.send_signal(2)
    assert listener.wait(timeout=20) == 130
    listener.communicate()
