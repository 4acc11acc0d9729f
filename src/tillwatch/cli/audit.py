"""tillwatch audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.bar import Bar
from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, looked_at
from tillwatch.cli.outcome import FAILED

if TYPE_CHECKING:
    from tillwatch.audit import Check

SHOWN = 20
"""Problems shown of one check."""


@click.command(
    cls=Command,
    examples=[
        ("tillwatch audit", "prove ./tillwatch.yaml's pipeline"),
        ("tillwatch audit -c bank.yaml && echo proved", "exit code 0 only when all is well"),
    ],
)
@configured
def audit(config: Path, overrides: tuple[str, ...]) -> None:
    """Prove from the files that nothing is lost, doubled or wrong.

    Reads the whole landing zone again: the log is whole, every row is counted or quarantined, every detection is in
    exactly one file, and a fresh fold gives the same. It may run while the pipeline works, and writes nothing.
    """
    from tillwatch.audit import audit as audited

    problems = 0
    with Bar("reading", "chunk") as bar:
        for found in audited(looked_at(config, overrides), bar, bar.tell):
            bar.clear()
            _show(found)
            problems += len(found.problems)
    click.echo(f"audit: {problems:,} problems" if problems else "audit: ok")
    if problems:
        raise click.exceptions.Exit(FAILED)


def _show(found: Check) -> None:
    mark = click.style("part" if found.limit else "ok  ", fg="yellow" if found.limit else "green")
    mark = mark if found.ok else click.style("FAIL", fg="red", bold=True)
    limit = f"; not proved: {found.limit}" if found.limit else ""
    click.echo(f"{mark} {found.name}: {found.text}{limit}")
    for problem in found.problems[:SHOWN]:
        click.echo(f"     {problem}")
    if len(found.problems) > SHOWN:
        click.echo(f"     … and {len(found.problems) - SHOWN:,} more")
