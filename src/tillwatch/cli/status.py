"""tillwatch status."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, looked_at
from tillwatch.cli.words import by_pattern, many

if TYPE_CHECKING:
    from tillwatch.status import Status

Row = tuple[str, str]


@click.command(
    cls=Command,
    examples=[
        ("tillwatch status", "a table"),
        ("tillwatch status --format json | jq .landed_rows", "one number of it"),
    ],
)
@configured
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="A table for people, or JSON for programs.",
)
def status(config: Path, overrides: tuple[str, ...], layout: str) -> None:
    """Where the pipeline stands, while it works or not."""
    from tillwatch.status import status as now

    found = now(looked_at(config, overrides))
    if layout == "json":
        click.echo(json.dumps({**dataclasses.asdict(found), "lag": found.lag}, ensure_ascii=False, indent=2))
        return
    for label, text in _rows(found):
        click.echo(f"{click.style(label.ljust(12), bold=True)}{text}")


def _rows(found: Status) -> Iterator[Row]:
    files = ", ".join(f"{count:,} {status}" for status, count in found.files.items())
    yield "source", found.source
    yield "", f"files: {files or 'none taken yet'}"
    yield "started", found.started_at or "detect has not started yet"
    yield "at work", ", ".join(name for name, works in _at_work(found) if works) or "nothing"
    for name, works in _at_work(found):
        yield from _last_run(found, name, works=works)
    yield "landed", f"{many(found.landed_chunks, 'chunk')}, {many(found.landed_rows, 'row')}"
    waiting = found.landed_chunks - found.processed_chunks
    yield (
        "processed",
        f"{many(found.processed_chunks, 'chunk')}, {many(found.counted, 'row')} counted, {waiting:,} behind",
    )
    yield "quarantined", _quarantined(found)
    if found.filtered:
        yield "filtered", many(found.filtered, "row")
    yield "detections", by_pattern(found.detections)
    if found.shadow:
        yield "in shadow", by_pattern(found.shadow)
    unplanned = f", {many(found.unplanned, 'detection')} in no file yet" if found.unplanned else ""
    yield "published", f"{many(found.files_published, 'file')}, {found.files_waiting:,} waiting{unplanned}"
    for name, output in found.outputs.items():
        waiting_for = f"{many(output.undelivered, 'file')} to be delivered" if output.undelivered else "all delivered"
        yield "output", f"{name}: {output.format}, {output.place}, {waiting_for}"
    if found.rules_from:
        yield "patterns", f"as they are since chunk {found.rules_from:,}, taken at {found.rules_at}"
    if found.refused_edit:
        yield "refused", f"an edit of the patterns: {found.refused_edit}"
    elif found.edited:
        yield "edited", "the configured patterns are others, they are taken with the next chunk"
    for problem in found.problems:
        yield "problem", problem


def _at_work(found: Status) -> tuple[tuple[str, bool], ...]:
    return ("ingest", found.ingest_at_work), ("detect", found.detect_at_work)


def _last_run(found: Status, mechanism: str, *, works: bool) -> Iterator[Row]:
    """Since when the mechanism is at work, or how its last run ended, and what went wrong in it."""
    last = next((a for a in found.activities if a.mechanism == mechanism), None)
    if last is None or (works and last.how):  # of the run before: this one has not noted itself yet
        return
    who = f"process {last.pid} on {last.host}"
    if works:
        yield mechanism, f"alive since {last.began_at}, {who}, last seen {last.beat_at}"
    else:
        yield mechanism, f"{last.how or 'gone without a word'} at {last.ended_at or last.beat_at}, {who}"
    retries = ", ".join(f"{place} {count:,}" for place, count in sorted(last.retries.items()))
    if last.errors:
        yield "", f"{many(last.errors, 'error')}" + (f", tried again: {retries}" if retries else "")
    if last.last_trouble:
        yield "", f"last trouble at {last.last_trouble_at}: {last.last_trouble}"


def _quarantined(found: Status) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.quarantined.items())
    return many(sum(found.quarantined.values()), "row") + (f" ({reasons})" if reasons else "")
