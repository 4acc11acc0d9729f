"""Sums of squares that stay exact, and the variance made of them.

The square of a scaled amount has up to 100 bits. It is cut into three digits of 34 bits, each summed in a column of its
own: half a thousand million rows of a key fit, rows can be taken back, and no order of addition changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.values import EXACT, Vector
from tillwatch.patterns.features import Spread
from tillwatch.patterns.program import SQUARES, Op

Ints = NDArray[np.int64]

_HALF = 25
_DIGIT = 34
_MASK = (1 << _DIGIT) - 1


def square_digits(x: Ints) -> tuple[Ints, Ints, Ints]:
    """The digits of x², base 2^34, lowest first; |x| is below 2^50.

    >>> [int(d[0]) for d in square_digits(np.array([-(10**15) + 1]))] == [
    ...     (10**15 - 1) ** 2 >> 34 * n & 2**34 - 1 for n in range(3)]
    True
    """
    x = np.abs(x)
    high, low = x >> _HALF, x & ((1 << _HALF) - 1)
    middle = high * low  # x² = high² 2^50 + middle 2^26 + low²
    lowest = low * low + ((middle & 0xFF) << 26)
    top = high * high
    second = ((top & ((1 << 18) - 1)) << 16) + (middle >> 8) + (lowest >> _DIGIT)
    return lowest & _MASK, second & _MASK, (top >> 18) + (second >> _DIGIT)


def square_digit(op: Op, x: Ints) -> Ints:
    """What a row of amount x adds to the column `square_0`, `square_1` or `square_2`."""
    return dict(zip(SQUARES, square_digits(x), strict=True))[op]


def spread(kind: Spread, parts: Sequence[Ints], digits: int) -> Vector:
    """Variance or standard deviation of sums, counts and the three columns of squares.

    It is n·Σx² − (Σx)², an exact integer, as float64, divided by n·(n − 1), or by n², times the unit squared, as
    float64; then, for a standard deviation, the square root. Unknown for n < 2, or n < 1 over the population.
    """
    _, count = parts[:2]
    whole = kind.endswith("_pop")
    divisor = count * count if whole else count * (count - 1)
    unknown = count < (1 if whole else 2)
    scale = divisor.astype(np.float64) * float(10 ** (2 * digits))
    value = np.divide(_differences(parts), scale, out=np.zeros(len(count)), where=~unknown)
    return Vector("float", np.sqrt(value) if kind.startswith("stddev") else value, unknown)


def _differences(parts: Sequence[Ints]) -> NDArray[np.float64]:
    """n·Σx² − (Σx)² as the nearest float64."""
    _, count, *squares = parts
    greatest = count.astype(np.float64) * sum(d.astype(np.float64) * 2.0 ** (_DIGIT * i) for i, d in enumerate(squares))
    fits = greatest < EXACT  # (Σx)² is at most n·Σx²
    s, n, low, second = (np.where(fits, a, 0) for a in parts[:4])  # where it fits, the third digits are 0
    exact: NDArray[np.float64] = (n * (low + (second << _DIGIT)) - s * s).astype(np.float64)
    for at in np.flatnonzero(~fits).tolist():  # rare: large amounts, or very many rows
        exact[at] = _difference([int(a[at]) for a in parts])
    return exact


def _difference(parts: Sequence[Any]) -> float:
    total, count, *squares = parts
    return float(count * sum(d << _DIGIT * i for i, d in enumerate(squares)) - total * total)
