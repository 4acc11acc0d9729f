"""tillwatch test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured
from tillwatch.cli.outcome import FAILED
from tillwatch.cli.words import many, value_in_words

if TYPE_CHECKING:
    from tillwatch.engine.trial import Clause, Trial
    from tillwatch.trials import Trials


@click.command(
    cls=Command,
    examples=[
        ("tillwatch test", "the examples of all configured patterns"),
        ("tillwatch test PatId2 ./my-patterns/", "of these"),
    ],
)
@click.argument("names", metavar="[PATTERN]...", nargs=-1)
@configured
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines to read, or one JSON object.",
)
def test(names: tuple[str, ...], config: Path, overrides: tuple[str, ...], form: str) -> None:
    """Run the examples that are written in pattern files.

    A PATTERN is an id, a file or a folder; without one, all configured patterns. The rows of an example are decoded
    and judged as any, with the thresholds of the file and of the example, not those of the configuration.
    Exits with 1 when a pattern does not do what an example says.
    """
    from tillwatch.config import load
    from tillwatch.trials import trials

    found = trials(load(config, overrides), names)
    failed = _as_json(found) if form == "json" else _as_text(found)
    if failed:
        raise click.exceptions.Exit(FAILED)


def _as_text(trials: Trials) -> int:
    """Prints a line for each example; returns how many fail."""
    total = failed = 0
    for pattern in trials.patterns:
        for trial in trials.run(pattern):
            total, failed = total + 1, failed + (not trial.ok)
            click.echo(f"{'ok  ' if trial.ok else 'FAIL'} {pattern.id}: {trial.example.name}")
            for line in _why(trial):
                click.echo(f"     {line}")
        if not pattern.examples:
            click.echo(f"-    {pattern.id}: no examples")
    click.echo(
        f"test: {failed} of {many(total, 'example')} failed" if failed else f"test: ok, {many(total, 'example')}"
    )
    return failed


def _why(trial: Trial) -> Iterator[str]:
    for difference in trial.differences:
        yield f"{trial.example.place}: {difference.text}"
        width = max((len(clause.text) for clause in difference.clauses), default=0)
        for clause in difference.clauses:
            yield f"  {_truth(clause):<7} {clause.text:<{width}}  {_values(clause)}".rstrip()


def _truth(clause: Clause) -> str:
    return "unknown" if clause.true is None else str(clause.true).lower()


def _values(clause: Clause) -> str:
    return ", ".join(f"{name} is {value_in_words(value)}" for name, value in clause.values.items())


def _as_json(trials: Trials) -> int:
    """Prints one object; returns how many examples fail."""
    ran = [(pattern, trial) for pattern in trials.patterns for trial in trials.run(pattern)]
    failed = sum(not trial.ok for _, trial in ran)
    examples = [_record(trial) for _, trial in ran]
    without = [pattern.id for pattern in trials.patterns if not pattern.examples]
    click.echo(json.dumps({"ok": not failed, "failed": failed, "examples": examples, "without": without}, indent=2))
    return failed


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "pattern": trial.pattern,
        "example": trial.example.name,
        "place": trial.example.place,
        "ok": trial.ok,
        "differences": [
            {
                "text": difference.text,
                "clauses": [{"clause": c.text, "true": c.true, "values": dict(c.values)} for c in difference.clauses],
            }
            for difference in trial.differences
        ],
    }
