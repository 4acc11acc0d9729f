"""tillwatch demo."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
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
    from tillwatch.pipeline import Observer, Pipeline

WATCHED_SECONDS = 5.0
"""How long it takes on a terminal, where somebody watches."""

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
    folder = _fresh(folder)
    config = _prepared(folder, rows)
    notices = deque[str]()
    with stop_on_signal(notices.append) as stop:
        pipeline = opened(config, ())
        pace = WATCHED_SECONDS / -(-rows // pipeline.settings.source.rows) if sys.stderr.isatty() else 0.0
        observed(pipeline, notices, stop, _run(pipeline, stop, pace))
        if stop.is_set():
            tell(f"stopped; tillwatch run --once -c {config} goes on from there")
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


def _run(pipeline: Pipeline, stop: threading.Event, pace: float) -> Callable[[Counts], None]:
    """Lands and detects what is there, a chunk every `pace` seconds, so that a person can watch."""

    def paced(counts: Counts) -> Observer:
        from tillwatch.pipeline import Event, Landed

        def observer(event: Event) -> None:
            counts(event)
            if isinstance(event, Landed):
                stop.wait(pace)

        return observer

    return lambda counts: pipeline.run(once=True, stop=stop, observer=paced(counts))
