"""tillwatch ingest."""

from __future__ import annotations

from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, once, watched
from tillwatch.cli.work import work


@click.command(
    cls=Command,
    examples=[
        ("tillwatch ingest", "a chunk a second, or as configured, for ever"),
        ("tillwatch ingest --once", "land what is there at full speed, then end"),
        ("tillwatch ingest --set source.every=200ms", "five chunks a second"),
    ],
)
@configured
@once
@watched
def ingest(config: Path, overrides: tuple[str, ...], once: bool) -> None:
    """Mechanism X alone: land the source in chunks.

    Goes on for ever and looks for new files; Ctrl-C or SIGTERM stops it cleanly. Detect may run beside it, in
    another process, at any time.
    """
    work("ingest", config, overrides, once=once)
