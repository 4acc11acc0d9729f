"""Kinds of values: whether the parts of a condition fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from tillwatch.patterns.expression import (
    Absolute,
    And,
    Arithmetic,
    Coalesce,
    Compare,
    Expr,
    ExpressionError,
    IsNull,
    Name,
    Not,
    Number,
    Or,
    PercentileCont,
    PercentRank,
    Text,
    Truth,
    conjuncts,
    walk,
)
from tillwatch.patterns.features import SPREADS, Feature
from tillwatch.patterns.mistakes import raise_all
from tillwatch.patterns.shown import show

ValueKind = Literal["int", "decimal", "float", "bool", "text"]
"""Text is only a column of the row, in patterns judged on transactions."""


class Kinded(Protocol):
    """What a name stands for, as far as its kind goes."""

    @property
    def kind(self) -> ValueKind:
        """The kind of its value."""
        ...


def feature_kind(feature: Feature) -> ValueKind:
    """The kind of a feature's value."""
    floats = dict.fromkeys(("avg", *SPREADS), "float")
    kinds: dict[str, ValueKind] = {"count": "int", "distinct": "int", **floats}  # type: ignore[dict-item]
    return kinds.get(feature.kind, "decimal")


def check_kinds(tree: Expr, uses: Mapping[str, Kinded]) -> None:
    """Checks that `when` is a condition, and so is every clause of it. Raises ExpressionError with all that are not."""
    if not isinstance(tree, And):
        if kind(tree, uses) != "bool":
            raise ExpressionError(f"'when' must be a condition, found the value '{show(tree)}'")
        return
    problems: list[ExpressionError] = []
    for clause in conjuncts(tree):
        try:
            _expect(clause, uses, condition=True)
        except ExpressionError as error:
            problems.append(error)
    raise_all(problems)


def kind(tree: Expr, uses: Mapping[str, Kinded]) -> ValueKind:
    """The kind of value an expression has. Raises ExpressionError when kinds do not fit."""
    match tree:
        case Number() | Arithmetic() | Absolute() | Coalesce():
            for part in [*_parts_of(tree)]:
                _expect(part, uses, condition=False)
            return "float"
        case Text():
            raise ExpressionError(f"text such as {show(tree)} can be used in a feature's filter, not in 'when'")
        case Name():
            return uses[str(tree)].kind
        case PercentRank() | PercentileCont():
            return "float"
        case Truth():
            return "bool"
        case Compare():
            _check_compare(tree, uses)
        case And(left=left, right=right) | Or(left=left, right=right):
            _expect(left, uses, condition=True)
            _expect(right, uses, condition=True)
        case Not(x=x):
            _expect(x, uses, condition=True)
        case IsNull(x=x):
            if null_text(tree, uses) is None:
                _expect(x, uses, condition=False)
    return "bool"


def text_compared(tree: Compare, uses: Mapping[str, Kinded]) -> tuple[Name, Text] | None:
    """The text column and the text that a comparison is of, if it is one."""
    for one, other in ((tree.left, tree.right), (tree.right, tree.left)):
        if isinstance(one, Name) and isinstance(other, Text) and uses[str(one)].kind == "text":
            return one, other
    return None


def null_text(tree: IsNull, uses: Mapping[str, Kinded]) -> Name | None:
    """The text column that is asked for whether it is null, if it is one."""
    return tree.x if isinstance(tree.x, Name) and uses[str(tree.x)].kind == "text" else None


def _check_compare(tree: Compare, uses: Mapping[str, Kinded]) -> None:
    if (found := text_compared(tree, uses)) is None:
        _expect(tree.left, uses, condition=False)
        _expect(tree.right, uses, condition=False)
    elif tree.op not in ("=", "<>"):
        raise ExpressionError(f"text is compared with = or <> only, found '{tree.op}'", found[0].start)


def _parts_of(tree: Expr) -> tuple[Expr, ...]:
    match tree:
        case Arithmetic(left=left, right=right):
            return (left, right)
        case Absolute(x=x):
            return (x,)
        case Coalesce(x=x, otherwise=otherwise):
            return (x, otherwise)
        case _:
            return ()


def _expect(tree: Expr, uses: Mapping[str, Kinded], *, condition: bool) -> None:
    found = kind(tree, uses)
    if found == "text":
        raise ExpressionError(f"'{show(tree)}' is text: compare it with a text, by = or <>", _start(tree))
    if (found == "bool") != condition:
        what, wanted = ("a value", "a condition") if condition else ("a condition", "a value")
        raise ExpressionError(f"'{show(tree)}' is {what} where {wanted} is expected", _start(tree))


def _start(tree: Expr) -> int | None:
    return next((n.start for n in walk(tree) if isinstance(n, Name | PercentRank | PercentileCont)), None)
