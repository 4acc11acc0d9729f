"""Features' filters (`filter (where …)`) evaluated on the rows of a chunk, by codes and scaled integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary
from tillwatch.patterns.expression import And, Compare, Expr, Name, Not, Number, Or, Text, Truth

if TYPE_CHECKING:
    from tillwatch.engine.decode import Rows

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Filters:
    """Evaluates filters with the dictionaries that the rows were encoded with."""

    def __init__(self, dictionaries: Mapping[str, Dictionary], digits: int) -> None:
        self._dictionaries = dictionaries
        self._digits = digits

    def mask(self, where: Expr, rows: Rows) -> Bools:
        """Which rows the filter keeps."""
        match where:
            case And(left=left, right=right):
                return self.mask(left, rows) & self.mask(right, rows)
            case Or(left=left, right=right):
                return self.mask(left, rows) | self.mask(right, rows)
            case Not(x=x):
                return ~self.mask(x, rows)
            case Truth(value=value):
                return np.full(len(rows), value)
            case Compare(op=op, left=Name(name=name), right=Text(value=text)):
                equal: Bools = rows.codes[name] == self._dictionaries[name].code(text)
                return equal if op == "=" else ~equal
            case Compare(op=op, left=Name(), right=Number(value=number)):
                return compare_scaled(rows.amount if rows.least is None else rows.least, op, number, self._digits)
        raise AssertionError(f"the compiler let a filter through that is none: {where}")


def compare_scaled(values: Ints, op: str, number: Decimal, digits: int) -> Bools:
    """Scaled integers compared with a constant, exactly, also when it has more digits than they.

    >>> compare_scaled(np.array([9, 10, 11]), "<", Decimal("1.05"), 1).tolist()
    [True, True, False]
    """
    scaled = number.scaleb(digits)
    whole = math.floor(scaled)
    if whole != scaled:  # between two integers: below or above, never equal
        op, whole = {"<": "<=", ">=": ">"}.get(op, op), whole
        if op in ("=", "<>"):
            return np.full(len(values), op == "<>")
    limit = min(max(whole, -(2**63)), 2**63 - 1)
    return _COMPARE[op](values, np.int64(limit))


_COMPARE = {
    "=": np.equal,
    "<>": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
