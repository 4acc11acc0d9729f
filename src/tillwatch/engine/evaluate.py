"""The value of an expression, given what its names and ranks stand for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tillwatch.engine import values
from tillwatch.engine.values import Vector
from tillwatch.patterns.expression import (
    Absolute,
    And,
    Arithmetic,
    Coalesce,
    Compare,
    Expr,
    IsNull,
    Not,
    Number,
    Or,
    Truth,
)

Leaf = Callable[[Expr], Vector | None]
"""The value of a node that is not worked out from its parts; None for one that is."""


def evaluate(tree: Expr, leaf: Leaf, length: int, digits: int) -> Vector:
    """The value of the expression for `length` keys or rows; one of constants alone may be of length 1."""
    found = leaf(tree)
    if found is not None:
        return found

    def of(part: Expr) -> Vector:
        return evaluate(part, leaf, length, digits)

    match tree:
        case Number(value=number):
            return values.constant(number, digits)
        case Truth(value=truth):
            return Vector("bool", np.full(length, truth))
        case Compare(op=op, left=left, right=right):
            return values.compare(op, of(left), of(right), digits)
        case Arithmetic(op=op, left=left, right=right):
            return values.arithmetic(op, of(left), of(right), digits)
        case And(left=left, right=right):
            return values.conjunction(of(left), of(right))
        case Or(left=left, right=right):
            return values.disjunction(of(left), of(right))
        case Not(x=x):
            return values.negate(of(x))
        case IsNull(x=x):
            null = of(x).null
            return Vector("bool", np.zeros(length, np.bool_) if null is None else null)
        case Coalesce(x=x, otherwise=otherwise):
            return values.coalesce(of(x), of(otherwise), digits)
        case Absolute(x=x):
            inner = of(x)
            return Vector(inner.kind, np.abs(inner.data), inner.null)
        case _:
            raise AssertionError(f"the compiler let an expression through that is none: {tree}")
