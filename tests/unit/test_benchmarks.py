"""The benchmarks work, on small generated data: what they print is whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIGURE = re.compile(r"\d+(\.\d+)?")


def printed(folder: Path, module: str) -> str:
    """What a quick run of a module prints; it works in `folder`, and must leave nothing there."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--quick"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def rows(markdown: str) -> list[list[str]]:
    """The cells of all tables, but for heads and rules."""
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    heads = {number - 1 for number, row in enumerate(cells) if row[0] == ":--"}
    return [row for number, row in enumerate(cells) if row[0] != ":--" and number not in heads]


@pytest.mark.slow
def test_a_quick_run_prints_every_figure_beside_its_target(tmp_path: Path) -> None:
    """A quick run of all benchmarks judges each of (a) to (e), and no figure in it is missing."""
    text = printed(tmp_path, "benchmarks")
    tables, targets = text.split("## Targets")
    judged = rows(targets)
    assert [row[0] for row in judged] == ["a", "b", "c", "c", "d", "e"]
    assert all(FIGURE.search(measured) and met in ("yes", "**no**") for *_, measured, _, met in judged)
    assert re.findall(r"^## \((\w)\)", tables, re.MULTILINE) == list("abcde")
    measured = rows(tables)[5:]  # behind the machine
    assert len(measured) > 20
    assert [row for row in measured if not any(map(FIGURE.search, row[1:]))] == []
    assert not re.search(r"\b(nan|inf)\b", text)


@pytest.mark.slow
def test_the_decision_on_lazy_tables_is_measured_both_ways(tmp_path: Path) -> None:
    """Both ways of saving tables are timed with both ways of committing, and a start after a kill and after none."""
    measured = rows(printed(tmp_path, "benchmarks.decision_lazy_tables"))[5:]
    assert len(measured) == 6
    assert all(FIGURE.fullmatch(row[-1]) for row in measured)


@pytest.mark.slow
def test_back_tests_are_timed_alone_and_with_sweeps(tmp_path: Path) -> None:
    """A run to compare with, the patterns in force, and a sweep of each of the three."""
    measured = rows(printed(tmp_path, "benchmarks.backtest"))[5:]
    assert len(measured) == 5
    assert [row for row in measured if not all(map(FIGURE.search, row[1:]))] == []
