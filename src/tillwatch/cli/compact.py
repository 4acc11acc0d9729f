"""tillwatch compact."""

from __future__ import annotations

from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened
from tillwatch.cli.words import many


@click.command(
    cls=Command,
    examples=[
        ("tillwatch compact", "merge old chunks, a hundred into one"),
        ("tillwatch compact --keep 5000 --merge 500", "leave more as they are, make larger objects"),
    ],
)
@configured
@click.option(
    "--keep",
    metavar="CHUNKS",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="How many of the processed chunks, the newest, stay as they are.",
)
@click.option(
    "--merge",
    metavar="CHUNKS",
    type=click.IntRange(min=2, max=1000),
    default=100,
    show_default=True,
    help="How many chunks are merged into one object.",
)
def compact(config: Path, overrides: tuple[str, ...], keep: int, merge: int) -> None:
    """Merge old chunks of the landing zone into larger objects.

    Only chunks that are processed and saved in the tables of the state are merged. Rows, their order and the digests of
    chunks are kept, and everything that reads the landing zone works as before. It may run while the pipeline works,
    and be killed at any time.
    """
    from tillwatch.landing.compaction import Compaction

    pipeline = opened(config, overrides)
    landing = pipeline.settings.landing
    with pipeline.opened(readonly=True) as state:
        cursor = state.cursor()
    work = Compaction(pipeline.store(landing.uri), landing.layout, merge)
    done = work.run(min(cursor.tables, cursor.chunk - keep))
    click.echo(f"merged {many(done.chunks, 'chunk')} into {many(done.objects, 'object')}")
