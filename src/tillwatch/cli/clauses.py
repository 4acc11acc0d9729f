"""A condition for one key as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from tillwatch.report.words import evidence_lines

if TYPE_CHECKING:
    from tillwatch.history.clauses import Clause

_JOINED = {"all": "all of", "any": "any of", "not": "not"}
_TRUTHS = {True: ("true   ", "green"), False: ("false  ", "red"), None: ("unknown", "yellow")}


def key_text(key: Mapping[str, str]) -> str:
    """A key in words.

    >>> key_text({"customer": "C1", "merchant": "M1"})
    'customer C1, merchant M1'
    """
    return ", ".join(f"{name} {value}" for name, value in key.items())


def clause_lines(clause: Clause, depth: int = 0) -> Iterator[str]:
    """A line for each part, below it the values that it is made of, and what it lacks."""
    if clause.kind == "all" and not depth:
        for part in clause.parts:
            yield from clause_lines(part, 1)
        return
    depth = max(1, depth)
    text, color = _TRUTHS[clause.truth]
    indent = "  " * depth
    yield f"{indent}{click.style(text, fg=color)}  {_JOINED.get(clause.kind) or clause.text}"
    for part in clause.parts:
        yield from clause_lines(part, depth + 1)
    below = f"{indent}{' ' * len(text)}    "
    yield from (below + line for line in evidence_lines(clause.facts))
    if clause.need is not None:
        yield f"{below}{click.style('needs', bold=True)} {clause.need.text}"
