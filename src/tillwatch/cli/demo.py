"""tillwatch demo."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import opened
from tillwatch.cli.outcome import tell
from tillwatch.cli.signals import stop_on_signal
from tillwatch.cli.starter import write_config
from tillwatch.cli.words import many
from tillwatch.cli.work import observed

if TYPE_CHECKING:
    import threading

    from tillwatch.cli.progress import Counts
    from tillwatch.pipeline import Event, Pipeline

WATCHED_SECONDS = 5.0
"""How long it takes on a terminal, where somebody watches."""

CHUNK_ROWS = 10_000
"""Rows of a chunk, unless the configuration says otherwise, which a demo's does not."""

FAULTS = 0.0002
"""Share of the rows that are not valid, so that the quarantine is seen."""


@click.command(
    cls=Command,
    examples=[
        ("tillwatch demo", "some five seconds, in ./tillwatch-demo"),
        ("tillwatch demo --rows 1000000 --dir /tmp/till", "more of it, elsewhere"),
    ],
)
@click.option(
    "--rows",
    metavar="N",
    type=click.IntRange(min=1),
    default=200_000,
    show_default=True,
    help="Transactions. PatId1 needs a merchant with more than 50,000: some 101,000 rows.",
)
@click.option(
    "--dir",
    "folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    default="./tillwatch-demo",
    show_default=True,
    help="Where to work. When it has files already, FOLDER-2, FOLDER-3 and so on.",
)
def demo(rows: int, folder: Path) -> None:
    """Make data, run the whole pipeline on it, show what was found.

    Nothing that is there is changed or removed, so it can be run again.
    """
    config = _prepared(_fresh(folder), rows)
    notices = deque[str]()
    with stop_on_signal(notices.append) as stop:
        watched = sys.stderr.isatty()
        pace = f"source.every={WATCHED_SECONDS * CHUNK_ROWS / rows:.4f}"
        pipeline = opened(config, (pace,) if watched else ())
        counts = observed(pipeline, notices, stop, lambda counts: _run(pipeline, stop, counts, rows if watched else 0))
    if counts.processed_rows < rows:
        tell(f"stopped; 'tillwatch run --once -c {config}' goes on from there")
        return
    from tillwatch.cli.results import show_results

    show_results(pipeline, config)


def _fresh(folder: Path) -> Path:
    """The folder, made; another one beside it when it has files already."""
    for path in _candidates(folder):
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            path.mkdir(parents=True, exist_ok=True)
            return path
    raise AssertionError("numbers do not end")


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    for number in count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _prepared(folder: Path, rows: int) -> Path:
    from tillwatch.generate import generate

    tell(f"making {many(rows, 'transaction')} in {folder}{os.sep} …")
    generate(folder, rows=rows, faults=FAULTS)
    return write_config(folder)[0]


def _run(pipeline: Pipeline, stop: threading.Event, counts: Counts, watched: int) -> None:
    """Works at the configured pace until `watched` rows are processed, then works off what is left, if anything."""

    def observer(event: Event) -> None:
        counts(event)
        if counts.processed_rows >= watched:
            stop.set()

    if watched:
        pipeline.run(stop=stop, observer=observer)
    if counts.processed_rows >= watched:
        pipeline.run(once=True, stop=None if watched else stop, observer=counts)
