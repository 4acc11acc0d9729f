"""tillwatch run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.dashboard import address, serving
from tillwatch.cli.options import configured, looked_at, once, watched
from tillwatch.cli.work import work


@click.command(
    cls=Command,
    examples=[
        ("tillwatch run", "go on for ever with ./tillwatch.yaml"),
        ("tillwatch run --once -c bank.yaml", "work off what is there, then end"),
        ("tillwatch run --dashboard", "and serve web pages that show it meanwhile"),
    ],
)
@configured
@once
@watched
@click.option("--dashboard", is_flag=True, help="Serve web pages that show it, as 'tillwatch dashboard' does.")
@address
def run(
    config: Path,
    overrides: tuple[str, ...],
    once: bool,
    dashboard: bool,
    host: str | None,
    port: int | None,
    token_file: Path | None,
) -> None:
    """Ingest and detect together.

    Lands the source in chunks, detects in them, publishes the detections. Goes on for ever; Ctrl-C or SIGTERM
    stops it cleanly, and the next run goes on from there.
    """
    if not dashboard and (host, port, token_file) != (None, None, None):
        raise click.UsageError("--host, --port and --token-file go with --dashboard only")
    pages = serving(looked_at(config, overrides), host, port, token_file) if dashboard else nullcontext()
    with pages:
        work("run", config, overrides, once=once)
