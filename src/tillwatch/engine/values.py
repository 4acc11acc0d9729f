"""Vectors of values with SQL's three-valued logic: exact integers and decimals, floats, conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.patterns.kinds import ValueKind

Array = NDArray[Any]
Bools = NDArray[np.bool_]

EXACT = 2.0**62
"""Integers stay below this in size; what would pass it is worked out in float64."""

_COMPARE: dict[str, Callable[[Array, Array], Bools]] = {
    "=": np.equal,
    "<>": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


@dataclass(frozen=True, slots=True)
class Vector:
    """One value per key. `null` marks unknown ones, None when there are none.

    Kind `decimal` holds integers scaled by 10^digits of the program.
    """

    kind: ValueKind
    data: Array
    null: Bools | None = None

    def true(self) -> Bools:
        """Where a condition is true: not false and not unknown."""
        data: Bools = self.data
        return data if self.null is None else data & ~self.null


def constant(value: Decimal, digits: int) -> Vector:
    """A number in the most exact kind that holds it.

    >>> constant(Decimal("22.50"), 4)
    Vector(kind='decimal', data=array([225000]), null=None)
    """
    if value == value.to_integral_value() and abs(value) < 2**53:
        return Vector("int", np.array([int(value)]))
    scaled = value.scaleb(digits)
    if scaled == scaled.to_integral_value() and abs(scaled) < 2**53:
        return Vector("decimal", np.array([int(scaled)]))
    return Vector("float", np.array([float(value)]))


def as_float(vector: Vector, digits: int) -> NDArray[np.float64]:
    """The values as float64; a decimal is the quotient of two integers."""
    if vector.kind == "decimal":
        return vector.data / 10.0**digits
    return vector.data.astype(np.float64)


def _greatest(vector: Vector) -> float:
    return float(np.abs(vector.data).max()) if len(vector.data) else 0.0


def _align(left: Vector, right: Vector, digits: int) -> tuple[ValueKind, Array, Array]:
    kinds = {left.kind, right.kind}
    if "float" in kinds:
        return "float", as_float(left, digits), as_float(right, digits)
    if kinds == {"int", "decimal"}:
        unit = 10**digits
        if any(v.kind == "int" and _greatest(v) * unit >= EXACT for v in (left, right)):
            return "float", as_float(left, digits), as_float(right, digits)
        a, b = (v.data * unit if v.kind == "int" else v.data for v in (left, right))
        return "decimal", a, b
    return left.kind, left.data, right.data


def _either(left: Vector, right: Vector) -> Bools | None:
    if left.null is None:
        return right.null
    return left.null if right.null is None else left.null | right.null


def compare(op: str, left: Vector, right: Vector, digits: int) -> Vector:
    """`left op right`; unknown when either is."""
    _, a, b = _align(left, right, digits)
    return Vector("bool", _COMPARE[op](a, b), _either(left, right))


def arithmetic(op: str, left: Vector, right: Vector, digits: int) -> Vector:
    """`left op right`; sums and differences stay exact, products of two integers too, a quotient is a float.

    Division by zero is unknown.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinities compare as they should, unknown ones are marked
        return _worked_out(op, left, right, digits)


def _worked_out(op: str, left: Vector, right: Vector, digits: int) -> Vector:
    null = _either(left, right)
    if op in "+-":
        kind, a, b = _align(left, right, digits)
        return Vector(kind, a + b if op == "+" else a - b, null)
    if op == "*" and left.kind == right.kind == "int" and _greatest(left) * _greatest(right) < EXACT:
        return Vector("int", left.data * right.data, null)
    a, b = as_float(left, digits), as_float(right, digits)
    if op == "*":
        return Vector("float", a * b, null)
    zero = np.broadcast_to(b == 0, np.broadcast_shapes(a.shape, b.shape))
    quotient = np.divide(a, b, out=np.zeros(zero.shape), where=~zero)
    return Vector("float", quotient, zero if null is None else zero | null)


def negate(vector: Vector) -> Vector:
    """NOT; unknown stays unknown."""
    return Vector("bool", ~vector.data, vector.null)


def conjunction(left: Vector, right: Vector) -> Vector:
    """AND: false when either is false, else unknown when either is unknown."""
    if left.null is None and right.null is None:
        return Vector("bool", left.data & right.data)
    false = _false(left) | _false(right)
    return Vector("bool", left.true() & right.true(), ~false & ~(left.true() & right.true()))


def disjunction(left: Vector, right: Vector) -> Vector:
    """OR: true when either is true, else unknown when either is unknown."""
    return negate(conjunction(negate(left), negate(right)))


def _false(vector: Vector) -> Bools:
    wrong: Bools = ~vector.data
    return wrong if vector.null is None else wrong & ~vector.null


def coalesce(x: Vector, otherwise: Vector, digits: int) -> Vector:
    """x where it is known, else the other."""
    if x.null is None:
        return x
    kind, a, b = _align(x, otherwise, digits)
    null = None if otherwise.null is None else x.null & otherwise.null
    return Vector(kind, np.where(x.null, b, a), null)
