"""tillwatch run."""

from __future__ import annotations

from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, once, watched
from tillwatch.cli.work import work


@click.command(
    cls=Command,
    examples=[
        ("tillwatch run", "go on for ever with ./tillwatch.yaml"),
        ("tillwatch run --once -c bank.yaml", "work off what is there, then end"),
        ("tillwatch run --set source.every=0", "as fast as possible, for ever"),
    ],
)
@configured
@once
@watched
def run(config: Path, overrides: tuple[str, ...], once: bool) -> None:
    """Ingest and detect together.

    Lands the source in chunks, detects in them, publishes the detections. Goes on for ever; Ctrl-C or SIGTERM
    stops it cleanly, and the next run goes on from there.
    """
    work("run", config, overrides, once=once)
