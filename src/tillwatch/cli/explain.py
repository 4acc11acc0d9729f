"""tillwatch explain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.bar import Bar
from tillwatch.cli.clauses import clause_lines, key_text
from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened
from tillwatch.cli.words import many

if TYPE_CHECKING:
    from tillwatch.history.explain import Explanation, Transaction

CELL_WIDTH = 32
"""Characters of a cell that are shown in a table."""


@click.command(
    cls=Command,
    examples=[
        ("tillwatch explain 1", "why the first detection fired"),
        ("tillwatch explain 12 --rows 100", "with more of its transactions"),
        ("tillwatch explain 12 --format json | jq .condition", "for programs"),
    ],
)
@configured
@click.argument("seq", type=click.IntRange(min=1))
@click.option(
    "--rows",
    metavar="N",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many of the transactions are shown, the newest.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or JSON for programs.",
)
def explain(config: Path, overrides: tuple[str, ...], seq: int, rows: int, layout: str) -> None:
    """Say why a detection fired, clause by clause, with its transactions.

    SEQ is the number that 'tillwatch detections' shows. The condition is worked out again from the landing zone and
    compared with the evidence that was stored; a difference is an error. The transactions are all valid rows of the
    key up to the chunk of the detection, as they came. Nothing is written.
    """
    from tillwatch.history.explain import explain as explained
    from tillwatch.lookups import patience

    with Bar("folding", "chunk") as bar:
        found = explained(opened(config, overrides), seq, rows, patience(bar.tell), bar)
    if layout == "json":
        click.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=2, default=str))
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: Explanation) -> Iterator[str]:
    stored, pattern = found.stored, found.pattern
    d = stored.detection
    yield click.style(f"seq {stored.seq}: {d.pattern}, {d.action}, {key_text(d.key)}", bold=True)
    yield from (text for text in (pattern.title, pattern.why) if text)
    when = f"after chunk {d.chunk:,}" if found.row is None else f"at row {found.row:,} in chunk {d.chunk:,}"
    yield f"{when}, detected at {stored.at}; {'holds' if stored.holds else 'does not hold'} now"
    time = f", {found.time_column} {found.time} in its last row" if found.time is not None else ""
    yield f"the chunk is rows {found.first_row:,} to {found.last_row:,} of {found.file}{time}"
    yield ""
    yield from clause_lines(found.condition)
    yield ""
    shown = f"; the newest {len(found.newest):,}:" if len(found.newest) < found.rows else ":"
    again = f"{found.rows:,} of {many(found.rows, 'transaction')}"
    yield f"found again: {again}, and the evidence is what was stored{shown}"
    if found.newest:
        yield from _table(found.newest)


def _table(transactions: Sequence[Transaction]) -> Iterator[str]:
    """The rows with their cells, aligned."""
    names = dict.fromkeys(name for t in transactions for name in t.cells)
    head = ["chunk", "file", "row", *names]
    rows = [
        [str(t.place.chunk), t.place.file, f"{t.place.row:,}", *(_cell(t.cells.get(name)) for name in names)]
        for t in transactions
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= CELL_WIDTH else text[: CELL_WIDTH - 1] + "…"
