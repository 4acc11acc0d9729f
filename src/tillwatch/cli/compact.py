"""tillwatch compact."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.bar import Bar
from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened
from tillwatch.cli.outcome import tell
from tillwatch.cli.words import many

if TYPE_CHECKING:
    from tillwatch.landing.compaction import Compacted
    from tillwatch.pipeline import Pipeline
    from tillwatch.state.base import State


@click.command(
    cls=Command,
    examples=[
        ("tillwatch compact", "merge old chunks, a hundred into one"),
        ("tillwatch compact --leave 5000 --merge 500", "leave more as they are, make larger objects"),
        ("tillwatch compact --set landing.keep=30d --dry-run", "say what it would remove if it were kept for 30 days"),
    ],
)
@configured
@click.option(
    "--leave",
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
    help="How many chunks are merged into one object; fewer wait for more.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be merged and removed.")
def compact(config: Path, overrides: tuple[str, ...], leave: int, merge: int, dry_run: bool) -> None:
    """Merge old chunks of the landing zone into larger objects, and remove those that are too old to be kept.

    Only chunks that are processed and saved in the tables of the state are merged. Rows, their order and the digests of
    chunks are kept, and everything that reads the landing zone works as before. It may run while the pipeline works,
    and be killed at any time.

    Chunks are removed only where the configuration says landing.keep, and then as whole merged objects. They cannot be
    brought back: a new state or a new pattern needs the whole log.
    """
    from tillwatch.landing.compaction import Compaction
    from tillwatch.lookups import patience

    pipeline = opened(config, overrides)
    landing = pipeline.settings.landing
    pipeline.landing.check_layout()
    work = Compaction(pipeline.store(landing.uri), landing.layout, merge)
    with pipeline.opened(readonly=True) as state:
        if landing.keep is not None:
            setup = pipeline.read_setup(patience(tell))
            state.claim_allowed(setup.fingerprint, setup.meaning)
        cursor = state.cursor()
        with Bar("merging", "chunk") as bar:
            done = work.run(min(cursor.tables, cursor.chunk - leave), dry=dry_run, on_progress=bar)
        _say("merge", f"{many(done.chunks, 'chunk')} into {many(len(done.ranges), 'object')}", dry=dry_run)
        if landing.keep is not None:
            _remove(pipeline, state, landing.keep, done, dry=dry_run)


def _remove(pipeline: Pipeline, state: State, days: int, done: Compacted, *, dry: bool) -> None:
    from tillwatch.landing.retention import Retention, limit

    settings = pipeline.settings
    now = pipeline.clock.now()
    published = settings.detections.format != "none"
    found = limit(state, days, datetime.fromisoformat(now), settings.outputs, files=published)
    retention = Retention(pipeline.store(settings.landing.uri), settings.landing.layout)
    due = retention.due(found.chunk, done.ranges if dry else ())
    if not dry:
        retention.remove(due, state, now)
    which = f": {due[0].first:,} to {due[-1].last:,}" if due else ""
    _say("remove", many(sum(r.last - r.first + 1 for r in due), "chunk") + which, dry=dry)
    click.echo(f"chunks from {found.chunk:,} on stay: {found.why}")


def _say(verb: str, what: str, *, dry: bool) -> None:
    click.echo(f"would {verb} {what}" if dry else f"{verb}d {what}")
