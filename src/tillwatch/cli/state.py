"""tillwatch state."""

from __future__ import annotations

from pathlib import Path

import click

from tillwatch.cli.bar import Bar
from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened
from tillwatch.cli.words import many


@click.command(
    cls=Command,
    examples=[
        ("tillwatch state copy ./tillwatch-data/state.db 'postgresql://db/bank?schema=cards'", "to PostgreSQL"),
        ("tillwatch state copy 'postgresql://db/bank?schema=cards' sqlite:///state.db", "and back"),
        ("tillwatch state migrate -c bank.yaml", "make or update the schema, as its owner"),
    ],
)
@configured
@click.argument("action", type=click.Choice(["copy", "migrate"]))
@click.argument("places", metavar="[FROM TO]", nargs=-1)
def state(config: Path, overrides: tuple[str, ...], action: str, places: tuple[str, ...]) -> None:
    """Copy a state elsewhere, or make its schema.

    copy takes two places, as `state` in a configuration: SQLite or PostgreSQL, either way. The second must be empty.
    It proves the two equal, row by row; nobody may be at work on either. Then change `state` in the configuration.

    migrate makes the schema and the tables of the configuration's patterns, or brings them up to date, so that a role
    that may not create anything can run the pipeline. Without it, the first run does so.
    """
    if action == "copy":
        _copy(places)
    elif places:
        raise click.UsageError("migrate takes no places: it works on the configuration's state")
    else:
        _migrate(config, overrides)


def _copy(places: tuple[str, ...]) -> None:
    from contextlib import closing

    from tillwatch.state import open_state
    from tillwatch.state.copy import copy_state

    if len(places) != 2:
        raise click.UsageError("copy takes two places: FROM and TO")
    source, target = map(_place, places)
    if _whole(source) == _whole(target):
        raise click.UsageError("FROM and TO are the same place")
    open_state(source, readonly=True).close()  # one that is not there is told, and not made
    with closing(open_state(source)) as there, closing(open_state(target)) as here:
        with Bar("copying", "row") as bar:
            rows = copy_state(there, here, bar)
        click.echo(f"copied {many(rows, 'row')} from {there.uri} to {here.uri}: both are equal")


def _place(text: str) -> str:
    from tillwatch.config import kinds

    try:
        place: str = kinds.STATE.read(text)
    except ValueError as error:
        raise click.UsageError(f"a state's place: {str(error) or f'expected {kinds.STATE.words}'}") from None
    return place


def _whole(place: str) -> str:
    return place if "://" in place else str(Path(place).resolve())


def _migrate(config: Path, overrides: tuple[str, ...]) -> None:
    from tillwatch.detect.snapshot import shapes

    pipeline = opened(config, overrides)
    tables = shapes(pipeline.composed.program)
    with pipeline.opened() as state:
        state.make_tables(tables)
    click.echo(f"migrated: the schema is up to date, with the tables {', '.join(t.name for t in tables)}")
