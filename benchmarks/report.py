"""Figures as Markdown, each with its target and whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure measured several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def shown(self, form: str = "{:.2f}") -> str:
        """The median, and the least and the greatest in brackets.

        >>> Spread((3.0, 1.0, 2.0)).shown("{:.0f}")
        '2 (1–3)'
        """
        low, high = (form.format(end(self.values)) for end in (min, max))
        middle = form.format(self.median)
        return middle if low == high else f"{middle} ({low}–{high})"


def spread(values: Iterable[float]) -> Spread:
    """A figure from its values."""
    return Spread(tuple(values))


def in_rounds(number: int) -> str:
    """How often it was measured, in words."""
    return "1 round" if number == 1 else f"{number} rounds"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, what was measured against it, and whether it is met."""

    key: str
    what: str
    measured: str
    target: str
    met: bool

    def row(self) -> list[str]:
        return [self.key, self.what, self.measured, self.target, "yes" if self.met else "**no**"]


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark came to."""

    title: str
    body: str
    verdicts: tuple[Verdict, ...]

    def text(self) -> str:
        return f"## {self.title}\n\n{self.body}\n"


def verdicts(sections: Sequence[Section]) -> str:
    """The table of all targets."""
    rows = [verdict.row() for section in sections for verdict in section.verdicts]
    return table(["", "figure", "measured", "target", "met"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, all others are aligned to the right.

    >>> print(table(["a", "b"], [["x", "1"]]))
    | a | b |
    |:--|--:|
    | x | 1 |
    """
    lines = [head, *rows]
    rule = "|:--|" + "--:|" * (len(head) - 1)
    shown = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([shown[0], rule, *shown[1:]])


def alternate(repeat: int, contestants: Sequence[str], measure: Callable[[str, int], None]) -> None:
    """Calls `measure` for every contestant in every round, each round in the reverse order of the one before."""
    for number in range(repeat):
        for name in contestants if number % 2 == 0 else reversed(contestants):
            measure(name, number)
