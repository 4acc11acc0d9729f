"""tillwatch detect."""

from __future__ import annotations

from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, once, watched
from tillwatch.cli.work import work


@click.command(
    cls=Command,
    examples=[
        ("tillwatch detect", "wait for chunks and work on them, for ever"),
        ("tillwatch detect --once", "work off the chunks that are landed, then end"),
        ("tillwatch detect -c bank.yaml --once", "the same with another configuration"),
    ],
)
@configured
@once
@watched
def detect(config: Path, overrides: tuple[str, ...], once: bool) -> None:
    """Mechanism Y alone: detect in what is landed.

    Reads chunks in order as soon as they are there, and publishes detections. Goes on for ever; Ctrl-C or SIGTERM
    stops it cleanly.
    """
    work("detect", config, overrides, once=once)
