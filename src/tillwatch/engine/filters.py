"""Features' filters (`filter (where …)`) evaluated on the rows of a chunk, by codes and scaled integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary
from tillwatch.patterns.expression import And, Compare, Expr, IsNull, Name, Not, Number, Or, Text, Truth

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
        """Which rows the filter keeps: those for which it is true, and neither false nor unknown."""
        return self._is(where, rows, truth=True)

    def _is(self, where: Expr, rows: Rows, *, truth: bool) -> Bools:
        """For which rows the filter is true, or false."""
        match where:
            case And(left=left, right=right) | Or(left=left, right=right):
                a, b = self._is(left, rows, truth=truth), self._is(right, rows, truth=truth)
                return a & b if isinstance(where, And) == truth else a | b
            case Not(x=x):
                return self._is(x, rows, truth=not truth)
            case Truth(value=value):
                return np.full(len(rows), value == truth)
            case IsNull(x=Name(name=name)):
                known = self._known(name, rows)
                return ~known if truth else known
            case Compare(op=op, left=Name(name=name), right=Text(value=text)):
                dictionary = self._dictionaries[name]
                equal: Bools = (rows.codes[name] == dictionary.code(text)) == ((op == "=") == truth)
                return equal if dictionary.unknown is None else equal & self._known(name, rows)
            case Compare(op=op, left=Name(), right=Number(value=number)):
                amounts = rows.amount if rows.least is None else rows.least
                passed = compare_scaled(amounts, op, number, self._digits)
                return passed if truth else ~passed
        raise AssertionError(f"the compiler let a filter through that is none: {where}")

    def _known(self, name: str, rows: Rows) -> Bools:
        """For which rows a text column is known."""
        unknown = self._dictionaries[name].unknown
        known: Bools = np.ones(len(rows), np.bool_) if unknown is None else rows.codes[name] != unknown
        return known


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
