"""tillwatch detections."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, looked_at

if TYPE_CHECKING:
    from tillwatch.pipeline import Pipeline
    from tillwatch.state.base import State, StoredCleared, StoredDetection

COLUMNS = ("seq", "chunk", "patternId", "ActionType", "customerName", "MerchantId", "detectionTime", "file")
CLEARED = ("seq", "chunk", "patternId", "ActionType", "customerName", "MerchantId", "clearedTime", "file")
MONTHLY = ("month", "patternId", "ActionType", "MerchantId", "detections")
BLOCK = 10_000
"""Detections read at a time, so that a slow reader holds no transaction open."""


@click.command(
    cls=Command,
    examples=[
        ("tillwatch detections > all.csv", "all of them"),
        ("tillwatch detections --format jsonl | jq .evidence", "why each fired"),
        ("tillwatch detections --monthly", "how many by month, pattern and merchant"),
    ],
)
@configured
@click.option(
    "--format",
    "layout",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="CSV, or JSON Lines with the evidence.",
)
@click.option("--pattern", "patterns", metavar="ID", multiple=True, help="Only this pattern's. May be repeated.")
@click.option("--monthly", is_flag=True, help="Instead, how many there were by month, pattern and merchant.")
@click.option("--shadow", is_flag=True, help="Instead, those of patterns in the shadow, which are not published.")
@click.option("--cleared", is_flag=True, help="Instead, which ceased to hold, of patterns with `cleared: true`.")
@click.option("--after", metavar="SEQ", type=click.IntRange(min=0), default=0, help="Only those after this seq.")
def detections(
    config: Path,
    overrides: tuple[str, ...],
    layout: str,
    patterns: tuple[str, ...],
    after: int,
    monthly: bool,
    shadow: bool,
    cleared: bool,
) -> None:
    """Print the detections so far, in order.

    Columns: seq, chunk, patternId, ActionType, customerName, MerchantId, detectionTime, file. JSON Lines also have
    evidence, and holds: whether the condition is true now. The file is empty (null) until it is planned.

    With --cleared: the seq of a detection, the chunk after which it did not hold any more, and when. With --shadow, seq
    counts apart.
    """
    if cleared and (shadow or monthly or after):
        raise click.UsageError("--cleared goes with --format and --pattern only")
    pipeline = looked_at(config, overrides)
    with pipeline.opened(readonly=True) as state:
        _check_known(patterns, pipeline, state)
        found = (s for s in _from(state, after + 1, shadow) if not patterns or s.detection.pattern in patterns)
        out = sys.stdout
        if cleared:
            _write_cleared((c for c in _cleared(state) if not patterns or c.pattern in patterns), layout, out)
        elif monthly:
            _write_monthly(found, layout, out)
        elif layout == "csv":
            _write_csv(found, out)
        else:
            _write_jsonl(found, out)


def _check_known(patterns: Iterable[str], pipeline: Pipeline, state: State) -> None:
    """Patterns that are configured, and those that were and have detections."""
    configured = [plan.pattern.id for plan in pipeline.composed.program.plans]
    known = dict.fromkeys([*configured, *state.by_pattern(), *state.by_pattern(shadow=True)])
    for pattern in patterns:
        if pattern not in known:
            raise click.UsageError(f"--pattern: there is no pattern '{pattern}' here; known are {', '.join(known)}.")


def _from(state: State, first: int, shadow: bool) -> Iterator[StoredDetection]:
    while block := list(state.detections(first, first + BLOCK - 1, shadow=shadow)):
        yield from block
        first += BLOCK


def _cleared(state: State) -> Iterator[StoredCleared]:
    first = 1
    while block := list(state.cleared(first, first + BLOCK - 1)):
        yield from block
        first += BLOCK


def _write_cleared(found: Iterable[StoredCleared], layout: str, out: TextIO) -> None:
    rows = (
        (c.seq, c.chunk, c.pattern, c.action, c.key.get("customer", ""), c.key.get("merchant", ""), c.at, c.file)
        for c in found
    )
    if layout == "csv":
        csv.writer(out, lineterminator="\n").writerows(itertools.chain([CLEARED], rows))
        return
    for row in rows:
        out.write(json.dumps(dict(zip(CLEARED, row, strict=True)), ensure_ascii=False) + "\n")


def _values(stored: StoredDetection) -> tuple[int | str | None, ...]:
    d = stored.detection
    return (stored.seq, d.chunk, d.pattern, d.action, d.customer, d.merchant, stored.at, stored.file)


def _write_csv(found: Iterable[StoredDetection], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_values(stored) for stored in found)


def _write_monthly(found: Iterable[StoredDetection], layout: str, out: TextIO) -> None:
    from tillwatch.report.monthly import monthly

    rows = [(*group, count) for group, count in monthly(found)]
    if layout == "csv":
        csv.writer(out, lineterminator="\n").writerows([MONTHLY, *rows])
        return
    for row in rows:
        out.write(json.dumps(dict(zip(MONTHLY, row, strict=True)), ensure_ascii=False) + "\n")


def _write_jsonl(found: Iterable[StoredDetection], out: TextIO) -> None:
    for stored in found:
        values = dict(zip(COLUMNS, _values(stored), strict=True))
        record = {**values, "key": stored.detection.key, "holds": stored.holds, "evidence": stored.detection.evidence}
        out.write(json.dumps(record, ensure_ascii=False) + "\n")
