"""tillwatch test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tillwatch.cli.clauses import clause_lines
from tillwatch.cli.command import Command
from tillwatch.cli.options import configured
from tillwatch.cli.outcome import FAILED
from tillwatch.cli.words import many

if TYPE_CHECKING:
    from tillwatch.trials.run import Trial

Trials = Mapping[str, "Iterable[Trial]"]
"""Of each pattern by its id, in order."""


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
    from tillwatch.trials.chosen import chosen
    from tillwatch.trials.run import trials_of

    settings = load(config, overrides)
    trials = {pattern.id: trials_of(settings, pattern) for pattern in chosen(settings, names)}
    failed = _as_json(trials) if form == "json" else _as_text(trials)
    if failed:
        raise click.exceptions.Exit(FAILED)


def _as_text(trials: Trials) -> int:
    """Prints a line for each example; returns how many fail."""
    total = failed = 0
    for pattern, its in trials.items():
        before = total
        for trial in its:
            total, failed = total + 1, failed + (not trial.ok)
            click.echo(f"{'ok  ' if trial.ok else 'FAIL'} {pattern}: {trial.example.name}")
            for line in _why(trial):
                click.echo(f"     {line}")
        if total == before:
            click.echo(f"-    {pattern}: no examples")
    examples = many(total, "example")
    click.echo(f"test: {failed} of {examples} failed" if failed else f"test: ok, {examples}")
    return failed


def _why(trial: Trial) -> Iterator[str]:
    for difference in trial.differences:
        yield f"{trial.example.place}: {difference.text}"
        if difference.clause is not None:
            yield from clause_lines(difference.clause)


def _as_json(trials: Trials) -> int:
    """Prints one object; returns how many examples fail."""
    ran = {pattern: list(its) for pattern, its in trials.items()}
    examples = [_record(trial) for its in ran.values() for trial in its]
    failed = sum(not example["ok"] for example in examples)
    without = [pattern for pattern, its in ran.items() if not its]
    click.echo(json.dumps({"ok": not failed, "failed": failed, "examples": examples, "without": without}, indent=2))
    return failed


def _record(trial: Trial) -> dict[str, Any]:
    from tillwatch.history.clauses import as_json

    return {
        "pattern": trial.pattern,
        "example": trial.example.name,
        "place": trial.example.place,
        "ok": trial.ok,
        "differences": [
            {"text": d.text, "condition": None if d.clause is None else as_json(d.clause)} for d in trial.differences
        ],
    }
