"""A pattern: a named condition over features, with an action. One YAML file a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from tillwatch.errors import PatternError
from tillwatch.patterns.expression import Expr, ExpressionError, parse
from tillwatch.patterns.features import Feature

if TYPE_CHECKING:
    from tillwatch.patterns.examples import Example

Judge = Literal["chunk", "transaction"]
"""When a pattern is judged: after every chunk, or on every transaction, with the values before it."""

Emit = Literal["once", "on_enter", "every_chunk", "every_transaction"]
"""When a key is detected: when its condition first comes true, each time it does, after each chunk in which it is, for
each transaction for which it is."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a text of a YAML file begins, as far as places in the text are places in the file.

    Its first character is at `line`, `column`, both from 1, and the first `width` characters follow it there. `indent`
    is the columns before every further line of a literal block; None when the file's lines are not the text's.
    """

    file: str
    line: int = 0
    column: int = 1
    width: int = 0
    indent: int | None = None

    def of(self, text: str, start: int | None) -> str:
        """`file:line:column` of an offset in the text, as far as it is known.

        >>> Spot("p.yaml", 10, 3, 5, 2).of("a > 1\\nand b > 2", 10)
        'p.yaml:11:7'
        """
        if not self.line:
            return self.file
        if start is None or (self.indent is None and start >= self.width):
            return f"{self.file}:{self.line}"
        row = text.count("\n", 0, start)
        before = start - (text.rfind("\n", 0, start) + 1)
        return f"{self.file}:{self.line + row}:{((self.indent or 0) + 1 if row else self.column) + before}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as its file says it, thresholds already set.

    `per` are the key columns it is judged for; `when` is the text of the condition and `tree` what it means;
    `spot` is where the text of the condition begins, for errors. `runbook` says what to do with a detection,
    `examples` what the pattern is to find and what not. It sees only the rows that pass `where`, all when that is None.
    `cleared` says that it is published when a detection ceases to hold; in the shadow (`shadow`) nothing is published
    at all.
    """

    id: str
    action: str
    title: str
    why: str
    per: tuple[str, ...]
    when: str
    thresholds: Mapping[str, Decimal]
    tree: Expr
    features: Mapping[str, Feature] = field(default_factory=dict)
    spot: Spot = field(default_factory=lambda: Spot(""))
    judge: Judge = "chunk"
    runbook: str = ""
    examples: tuple[Example, ...] = ()
    where: Expr | None = None
    emit: Emit = "once"
    cleared: bool = False
    shadow: bool = False

    @property
    def life(self) -> str:
        """What is not as usual in the life of its detections, in the words of its file; mostly nothing.

        >>> from tillwatch.patterns.expression import Truth
        >>> Pattern("P", "A", "", "", ("customer",), "true", {}, Truth(True), emit="on_enter", cleared=True).life
        'emit on_enter, cleared'
        """
        emit = "" if self.emit == "once" else f"emit {self.emit}"
        return ", ".join(filter(None, [emit, "cleared" * self.cleared, "mode shadow" * self.shadow]))

    def error(self, problem: ExpressionError) -> PatternError:
        """The problem, and those found with it, with the places where they are."""
        each = (problem, *problem.others)
        return PatternError("\n".join(f"{self.spot.of(self.when, p.start)}: {self.id}: {p}" for p in each))

    def with_thresholds(self, numbers: Mapping[str, Decimal]) -> Pattern:
        """The same pattern with some of its thresholds set. Raises PatternError."""
        thresholds = {**self.thresholds, **numbers}
        try:
            return replace(self, thresholds=thresholds, tree=parse(self.when, thresholds))
        except ExpressionError as error:
            raise self.error(error) from None
