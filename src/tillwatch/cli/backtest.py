"""tillwatch backtest."""

from __future__ import annotations

import csv
import datetime
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from tillwatch.cli.bar import Bar
from tillwatch.cli.clauses import key_text
from tillwatch.cli.command import Command
from tillwatch.cli.options import configured
from tillwatch.cli.outcome import tell
from tillwatch.cli.words import duration, many, rate

if TYPE_CHECKING:
    from tillwatch.history.backtest import Backtest, Swept
    from tillwatch.history.difference import Difference
    from tillwatch.history.figures import By
    from tillwatch.pipeline import Pipeline

SHOWN = 10
"""Detections of each kind of change that are listed for people."""


@click.command(
    cls=Command,
    examples=[
        ("tillwatch backtest --set patterns.PatId2.transactions=60", "what would this threshold change?"),
        ("tillwatch backtest ./my-patterns/loyal.yaml --html loyal.html", "what would a new pattern find?"),
        ("tillwatch backtest --sweep PatId2.transactions=20:120:10", "how many for each value?"),
    ],
)
@configured
@click.argument("drafts", metavar="[PATTERN]…", nargs=-1)
@click.option(
    "--sweep",
    "sweeps",
    metavar="ID.THRESHOLD=FIRST:LAST:STEP",
    multiple=True,
    help="Also each of these values of a threshold; or a list, 20,40,80. May be repeated.",
)
@click.option(
    "--from",
    "first",
    metavar="CHUNK",
    type=click.IntRange(min=0),
    default=0,
    help="Compare from this chunk on; rows before it count all the same.",
)
@click.option("--to", "last", metavar="CHUNK", type=click.IntRange(min=0), help="Stop after this chunk.")
@click.option(
    "--by", type=click.Choice(["chunk", "day", "time"]), help="Also counts by chunk, day of processing or time."
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json", "csv"]),
    default="text",
    show_default=True,
    help="Lines for people; JSON with all; CSV of the changes, or of the points of sweeps.",
)
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to FILE.")
def backtest(
    config: Path,
    overrides: tuple[str, ...],
    drafts: tuple[str, ...],
    sweeps: tuple[str, ...],
    first: int,
    last: int | None,
    by: By | None,
    layout: str,
    html: Path | None,
) -> None:
    """Try patterns on what is landed, beside those in force.

    What is in force is the configuration. Drafts are what --set says of patterns, features, columns, amounts and
    lookups, and each PATTERN: a file or folder, whose patterns are added or replace those of the same id, or the id of
    one, to look at that alone. The log is read and folded once, as detect does it. The state and the output of the
    pipeline are not touched; it may run meanwhile. The result is kept where `backtests` says, for the dashboard.
    """
    from tillwatch.history.backtest import backtest as tested
    from tillwatch.history.drafts import is_tried, trial
    from tillwatch.history.sweep import read_sweep
    from tillwatch.lookups import patience

    bar = Bar("folding", "chunk")
    retry = patience(bar.tell)
    asked = [read_sweep(text) for text in sweeps]
    compared = trial(config, overrides, drafts, retry)
    began = time.monotonic()
    with bar:
        found = tested(compared, asked, first, last, retry, bar)
    seconds = time.monotonic() - began
    tell(f"{many(found.rows, 'row')} in {duration(seconds)}, {rate(found.rows, seconds)}")
    if not found.as_run:
        tell("the state was made by another configuration than this one: what is called in force here was never run")
    if html is not None:
        from tillwatch.history.page import page

        html.write_text(page(found), "utf-8")
    _print(found, layout, by)
    tried = [
        *(f"--set {text}" for text in overrides if is_tried(text)),
        *drafts,
        *(f"--sweep {text}" for text in sweeps),
    ]
    _keep(compared.pipeline, found, tried)


def _keep(pipeline: Pipeline, found: Backtest, tried: Sequence[str]) -> None:
    from tillwatch.history.kept import keep

    if (place := pipeline.settings.backtests) is not None:
        store = pipeline.store(place)
        zone = ZoneInfo(pipeline.settings.detections.timezone)
        name = keep(store, found, tried, datetime.datetime.now(zone))
        tell(f"kept as {store.uri}/{name}")


def _print(found: Backtest, layout: str, by: By | None) -> None:
    from tillwatch.history.figures import CHANGES, POINTS, as_json, change_rows, point_rows

    if layout == "json":
        click.echo(json.dumps(as_json(found), ensure_ascii=False, indent=2))
    elif layout == "csv":
        rows: Iterable[Sequence[object]] = point_rows(found.sweeps) if found.sweeps else change_rows(found)
        csv.writer(sys.stdout, lineterminator="\n").writerows([POINTS if found.sweeps else CHANGES, *rows])
    else:
        for line in _lines(found, by):
            click.echo(line)


def _lines(found: Backtest, by: By | None) -> Iterator[str]:
    yield f"chunks {found.first:,} to {found.last:,}"
    yield ""
    yield from _table(("pattern", "in force", "draft", "added", "removed", "moved"), map(_numbers, found.differences))
    for each in found.differences:
        yield from _changes(each)
    if by is not None:
        yield from _counts(found, by)
    for swept in found.sweeps:
        yield from _sweep(swept)


def _numbers(each: Difference) -> tuple[object, ...]:
    return (each.pattern, *map(len, (each.now, each.draft, each.added, each.removed, each.moved)))


def _changes(each: Difference) -> Iterator[str]:
    lists = {
        "added": [f"chunk {d.chunk:,}: {key_text(d.key)}" for d in each.added[:SHOWN]],
        "removed": [f"chunk {d.chunk:,}: {key_text(d.key)}" for d in each.removed[:SHOWN]],
        "moved": [f"chunk {a.chunk:,} to {b.chunk:,}: {key_text(a.key)}" for a, b in islice(each.moved, SHOWN)],
    }
    for change, lines in lists.items():
        total = len(getattr(each, change))
        if lines:
            yield ""
            yield click.style(f"{each.pattern}, {change}", bold=True)
            yield from (f"  {line}" for line in lines)
        if total > len(lines):
            yield f"  … and {total - len(lines):,} more"


def _counts(found: Backtest, by: By) -> Iterator[str]:
    from tillwatch.history.figures import counts

    names = [each.pattern for each in found.differences]
    rows = [(label, *(n for name in names for n in by_pattern[name])) for label, by_pattern in counts(found, by)]
    yield ""
    yield from _table((by, *(f"{name} {which}" for name in names for which in ("in force", "draft"))), rows)


def _sweep(swept: Swept) -> Iterator[str]:
    from tillwatch.history.figures import point_rows

    now = "" if swept.now is None else f"; in force is {swept.now:f}"
    yield ""
    yield click.style(f"{swept.sweep.pattern}.{swept.sweep.threshold}{now}", bold=True)
    yield from _table(("value", "detections", "added", "removed", "moved"), (row[2:] for row in point_rows([swept])))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Aligned columns, all but the first to the right."""
    lines = [list(head), *([f"{v:,}" if isinstance(v, int) else str(v) for v in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        first, *rest = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join([first, *rest]).rstrip()
