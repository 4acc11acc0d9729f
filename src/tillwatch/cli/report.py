"""tillwatch report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, looked_at
from tillwatch.cli.outcome import tell

if TYPE_CHECKING:
    from tillwatch.pipeline import Pipeline
    from tillwatch.report.run_page import About
    from tillwatch.state.base import RuleSet, State

Bound = int | str
"""A chunk, or a day such as 2026-11-20."""


def _bound(context: click.Context, option: click.Parameter, value: str | None) -> Bound | None:
    if value is None or value.isdecimal():
        return None if value is None else int(value)
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise click.BadParameter(f"'{value}' is no chunk and no day; expected 120, or 2026-11-20.") from None


@click.command(
    cls=Command,
    examples=[
        ("tillwatch report -o report.html", "all that was landed so far"),
        ("tillwatch report --from 2026-11-20 --to 2026-11-20 > day.html", "the chunks processed on one day"),
        ("tillwatch report --from 600 -o rest.html", "from chunk 600 on"),
    ],
)
@configured
@click.option(
    "--from", "first", metavar="CHUNK|DAY", callback=_bound, help="From this chunk on, or the first one of this day."
)
@click.option(
    "--to", "last", metavar="CHUNK|DAY", callback=_bound, help="Up to this chunk, or the last one of this day."
)
@click.option(
    "-o", "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write to FILE, not to stdout."
)
def report(config: Path, overrides: tuple[str, ...], first: Bound | None, last: Bound | None, out: Path | None) -> None:
    """Write what a pipeline did as one page of HTML, to be read or printed.

    What came in, what was found, quality, timing, the patterns that were in force. It loads nothing from elsewhere. It
    is made from the state, and sample rows of the quarantine: made again from the same, it has the same bytes. A chunk
    belongs to the day on which it was processed, in the configured time zone.
    """
    if out is None and sys.stdout.isatty():
        raise click.UsageError("a page is not for a terminal: write it to a file with -o report.html")
    text = _page(looked_at(config, overrides), first, last)
    if out is None:
        click.echo(text, nl=False)
        return
    out.write_text(text, "utf-8")
    tell(f"wrote {out}")


def _page(pipeline: Pipeline, first: Bound | None, last: Bound | None) -> str:
    from tillwatch.detect import quarantine
    from tillwatch.lookups import patience
    from tillwatch.report.run import run_in_figures
    from tillwatch.report.run_page import run_page

    retry, store = patience(tell), pipeline.store(pipeline.settings.quarantine)

    def rejected(chunk: int) -> bytes:
        return retry(lambda: store.get(quarantine.name(chunk)))

    with pipeline.opened(readonly=True) as state, state.snapshot():
        run = run_in_figures(state, *_range(state, first, last), rejected)
        return run_page(run, _about(pipeline, state, run.rules))


def _range(state: State, first: Bound | None, last: Bound | None) -> tuple[int, int]:
    """The chunks that are asked for. Raises LogError when there are none."""
    from tillwatch.errors import LogError

    landed = state.landed()
    if not landed:
        raise LogError("nothing is landed yet: run 'tillwatch run' or 'tillwatch ingest' first")
    begin = _of_day(state, first, "9999", 0) if isinstance(first, str) else first or 0
    end = _of_day(state, "", last, 1) if isinstance(last, str) else landed - 1 if last is None else last
    if end >= landed:
        raise LogError(f"chunk {end} is not landed; the last one is {landed - 1}")
    if begin > end:
        raise LogError(f"there are no chunks from {begin} to {end}")
    return begin, end


def _of_day(state: State, first: str, last: str, which: int) -> int:
    from tillwatch.errors import LogError

    found = state.chunks_of_days(first, last)
    if found is None:
        raise LogError(f"no chunk was processed {f'on {first} or later' if first else f'on {last} or earlier'}")
    return found[which]


def _about(pipeline: Pipeline, state: State, rules: Sequence[RuleSet]) -> About:
    import tillwatch
    from tillwatch.config import masked
    from tillwatch.patterns.rules import from_text
    from tillwatch.report.run_page import About

    settings = pipeline.settings
    facts = {
        "source": settings.source.uri,
        "landing zone": settings.landing.uri,
        "quarantine": settings.quarantine,
        "state": settings.state,
    }
    facts |= {"detections": settings.detections.uri} if settings.detections.format != "none" else {}
    facts |= {"engine": settings.engine, "first start of detect": state.started_at() or "not yet"}
    facts |= {"tillwatch": tillwatch.__version__, "schema of the state": state.get_meta("schema") or ""}
    return About(
        Path(masked(settings.source.uri)).name,
        {name: masked(value) for name, value in facts.items()},
        [from_text(each.rules).patterns(settings.columns.keys) for each in rules],
        settings.detections.timezone,
    )
