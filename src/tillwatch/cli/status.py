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
    yield "at work", ", ".join(_at_work(found)) or "nothing"
    yield "landed", f"{many(found.landed_chunks, 'chunk')}, {many(found.landed_rows, 'row')}"
    waiting = found.landed_chunks - found.processed_chunks
    yield (
        "processed",
        f"{many(found.processed_chunks, 'chunk')}, {many(found.counted, 'row')} counted, {waiting:,} behind",
    )
    yield "quarantined", _quarantined(found)
    if found.filtered:
        yield "filtered", many(found.filtered, "row")
    if found.marked:
        yield "marked", ", ".join(f"{many(rows, 'row')} not in {lookup}" for lookup, rows in found.marked.items())
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
    for name, lookup in ((n, each) for n, each in found.lookups.items() if each.version > 1):
        keys = many(lookup.keys, "key")
        yield "lookup", f"{name}: version {lookup.version} since chunk {lookup.since:,}, {keys}, taken at {lookup.at}"
    if found.refused_lookup:
        yield "refused", f"a new version of a lookup: {found.refused_lookup}"
    for problem in found.problems:
        yield "problem", problem


def _at_work(found: Status) -> Iterator[str]:
    if found.ingest_at_work:
        yield "ingest"
    if found.detect_at_work:
        yield "detect"


def _quarantined(found: Status) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.quarantined.items())
    return many(sum(found.quarantined.values()), "row") + (f" ({reasons})" if reasons else "")
