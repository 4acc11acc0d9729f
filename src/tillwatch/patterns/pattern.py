"""A pattern: a named condition over features, with an action. One YAML file a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from tillwatch.errors import PatternError
from tillwatch.patterns.expression import Expr, ExpressionError
from tillwatch.patterns.features import Feature


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as its file says it, thresholds already set.

    `per` are the key columns it is judged for; `when` is the text of the condition and `tree` what it means;
    `where` is `file:line` of the condition, for errors.
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
    file: str = ""
    line: int = 0

    def error(self, problem: ExpressionError) -> PatternError:
        """The problem with the place where it is, `file:line:column`, and the line itself."""
        return PatternError(f"{locate(self.file, self.line, self.when, problem.start)}: {self.id}: {problem}")


def locate(file: str, line: int, text: str, start: int | None) -> str:
    """`file:line:column` of an offset in a block of text whose first line is `line` of the file.

    >>> locate("p.yaml", 10, "a > 1\\nand b > 2", 10)
    'p.yaml:11:5'
    """
    if start is None:
        return f"{file}:{line}"
    before = text[:start]
    return f"{file}:{line + before.count(chr(10))}:{start - (before.rfind(chr(10)) + 1) + 1}"
