"""tillwatch status."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, looked_at
from tillwatch.cli.words import by_pattern, many, rate
from tillwatch.errors import TillwatchError

if TYPE_CHECKING:
    from tillwatch.status import Status

Row = tuple[str, str]

EVERY_SECONDS = 1.0
"""Between two looks."""


@click.command(
    cls=Command,
    examples=[
        ("tillwatch status", "a table"),
        ("tillwatch status --watch", "again every second, until Ctrl-C"),
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
@click.option("--watch", "again", is_flag=True, help="Show it again and again, until Ctrl-C. JSON is then a line each.")
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    help="How often, with --watch.  [default: 1]",
)
def status(config: Path, overrides: tuple[str, ...], layout: str, again: bool, every: float | None) -> None:
    """Where the pipeline stands, while it works or not.

    With --watch it is drawn in place on a terminal, elsewhere block after block. It may begin before the pipeline has
    run, and goes on when the state cannot be reached for a while.
    """
    if every is not None and not again:
        raise click.UsageError("--every goes with --watch")
    if not again:
        found = _look(config, overrides)
        click.echo(_json(found, indent=2) if layout == "json" else "\n".join(_lines(found)))
        return
    from tillwatch.cli.watching import watch

    looked_at(config, overrides)  # mistakes that are there at the start end it
    watching = Watching(lambda: _look(config, overrides), time.monotonic)
    if layout == "json":
        watch(watching.json_lines, every or EVERY_SECONDS, in_place=False)
    else:
        watch(watching.lines, every or EVERY_SECONDS, in_place=True)


class Watching:
    """Looks again and again: what was seen, how fast it goes, and why nothing is seen now."""

    def __init__(self, look: Callable[[], Status], clock: Callable[[], float]) -> None:
        self._look, self._clock = look, clock
        self._seen: tuple[float, Status] | None = None
        self._rates: dict[str, str] = {}

    def lines(self) -> list[str]:
        """A table for people. What cannot be read is told, below what was seen last."""
        try:
            self._see()
        except TillwatchError as error:
            return [*self._last(), _line("now", str(error))]
        return self._last()

    def json_lines(self) -> list[str]:
        """A line of JSON; an object with only an `error` when there is nothing to be seen."""
        try:
            return [_json(self._see())]
        except TillwatchError as error:
            return [json.dumps({"error": str(error)}, ensure_ascii=False)]

    def _see(self) -> Status:
        found, now = self._look(), self._clock()
        if self._seen is not None:
            since, before = self._seen
            rows = {
                "landed": found.landed_rows - before.landed_rows,
                "processed": _processed_rows(found) - _processed_rows(before),
            }
            self._rates = {name: rate(max(0, count), now - since) for name, count in rows.items()}
        self._seen = now, found
        return found

    def _last(self) -> list[str]:
        return list(_lines(self._seen[1], self._rates)) if self._seen else []


def _processed_rows(found: Status) -> int:
    return found.counted + sum(found.quarantined.values()) + found.filtered


def _look(config: Path, overrides: tuple[str, ...]) -> Status:
    from tillwatch.status import status as now

    return now(looked_at(config, overrides))


def _json(found: Status, indent: int | None = None) -> str:
    return json.dumps({**dataclasses.asdict(found), "lag": found.lag}, ensure_ascii=False, indent=indent)


def _lines(found: Status, rates: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    for label, text in _rows(found):
        yield _line(label, f"{text}; {rates[label]}" if label in rates else text)


def _line(label: str, text: str) -> str:
    return f"{click.style(label.ljust(12), bold=True)}{text}"


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
