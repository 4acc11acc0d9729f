"""tillwatch check."""

from __future__ import annotations

from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened
from tillwatch.cli.outcome import WRONG_CALL, tell


@click.command(
    cls=Command,
    examples=[
        ("tillwatch check", "is ./tillwatch.yaml right, and what will be done?"),
        ("tillwatch check --set patterns.PatId2.transactions=20", "and with this threshold?"),
    ],
)
@configured
def check(config: Path, overrides: tuple[str, ...]) -> None:
    """Check the configuration and say what will be done.

    Reads the configuration, the patterns and the head of the files; runs and writes nothing. A condition that can
    never hold is a mistake, a clause without effect a warning.
    """
    from tillwatch.check import check as checked

    report = checked(opened(config, overrides))
    for line in report.lines:
        click.echo(line)
    for warning in report.warnings:
        tell(f"warning: {warning}")
    if report.problems:
        for problem in report.problems:
            tell(problem)
        raise click.exceptions.Exit(WRONG_CALL)
    click.echo("check: ok")
