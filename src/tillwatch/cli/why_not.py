"""tillwatch why-not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.bar import Bar
from tillwatch.cli.clauses import clause_lines, key_text
from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened

if TYPE_CHECKING:
    from tillwatch.history.why_not import Answer


def _keys(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"'{value}'; expected NAME=VALUE, such as gender=F.")
        found[name.strip()] = text
    return found


@click.command(
    "why-not",
    cls=Command,
    examples=[
        ("tillwatch why-not PatId2 --customer C1093826151 --merchant M348934600", "what a pair lacks"),
        ("tillwatch why-not PatId3 --merchant M348934600 --at 20", "as it was after chunk 20"),
    ],
)
@configured
@click.argument("pattern")
@click.option("--customer", metavar="C", help="The customer.")
@click.option("--merchant", metavar="M", help="The merchant.")
@click.option("--category", metavar="C", help="The category.")
@click.option("--key", "keys", metavar="NAME=VALUE", multiple=True, callback=_keys, help="Any key. May be repeated.")
@click.option(
    "--at", metavar="CHUNK", type=click.IntRange(min=0), help="As it was after this chunk, instead of as it is now."
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or JSON for programs.",
)
def why_not(
    config: Path,
    overrides: tuple[str, ...],
    pattern: str,
    customer: str | None,
    merchant: str | None,
    category: str | None,
    keys: dict[str, str],
    at: int | None,
    layout: str,
) -> None:
    """Say what keeps a pattern from being true for a key.

    Each clause is shown as it is, how far it is from true, and what would bring it there. PATTERN is the id of a
    configured pattern; the key must have all that the pattern is per. Nothing is written.
    """
    from tillwatch.history.why_not import why_not as answered
    from tillwatch.lookups import patience

    named = {"customer": customer, "merchant": merchant, "category": category}
    given = {**keys, **{name: text for name, text in named.items() if text is not None}}
    with Bar("folding", "chunk") as bar:
        answer = answered(opened(config, overrides), pattern, given, at, patience(bar.tell), bar)
    if layout == "json":
        click.echo(json.dumps(answer.as_json(), ensure_ascii=False, indent=2))
        return
    for line in _lines(answer):
        click.echo(line)


def _lines(answer: Answer) -> Iterator[str]:
    key, pattern = key_text(answer.key), answer.pattern
    yield click.style(f"{pattern.id}, {pattern.action}, {key}, after chunk {answer.chunk:,}", bold=True)
    if pattern.title:
        yield pattern.title
    if answer.condition is None:
        yield f"no valid row has come with {key}{_unseen(answer)}"
        return
    yield "it holds" if answer.holds else "it does not hold"
    if (detected := answer.detected) is not None:
        seq = "" if detected.seq is None else f": seq {detected.seq} (tillwatch explain {detected.seq})"
        yield f"it was detected already, at chunk {detected.chunk:,}{seq}"
    yield ""
    yield from clause_lines(answer.condition)


def _unseen(answer: Answer) -> str:
    unseen = key_text({name: answer.key[name] for name in answer.unseen})
    return f"; {unseen} never came at all" if unseen and len(answer.key) > 1 else ""
