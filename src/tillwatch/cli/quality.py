"""tillwatch quality."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened


def _day(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return datetime.date.fromisoformat(value).isoformat()
    except ValueError:
        raise click.BadParameter(f"'{value}' is no day; expected one such as 2026-11-20.") from None


@click.command(
    cls=Command,
    examples=[
        ("tillwatch quality | jq .total", "the whole log in numbers"),
        ("tillwatch quality --day 2026-11-20 --format html > day.html", "a page about one day"),
    ],
)
@configured
@click.option("--day", metavar="DAY", callback=_day, help="Only the chunks processed on this day, such as 2026-11-20.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["json", "html"]),
    default="json",
    show_default=True,
    help="JSON for programs, or one page of HTML for people.",
)
def quality(config: Path, overrides: tuple[str, ...], day: str | None, layout: str) -> None:
    """Report on the rows that came in: counted, quarantined, empty.

    Reads the landing zone again, and writes nothing but the report. A chunk belongs to the day on which it was
    processed, in the configured time zone.
    """
    from tillwatch.compose import reporter

    pipeline = opened(config, overrides)
    with pipeline.opened(readonly=True) as state, state.snapshot():
        pipeline.landing.check_layout()
        report = reporter(pipeline.composed, pipeline.landing, state).whole(day)
    click.echo(report.as_html() if layout == "html" else report.as_json(), nl=False)
