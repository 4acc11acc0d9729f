"""A feature's value, made of the values of its accumulators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.squares import spread
from tillwatch.engine.values import Vector
from tillwatch.patterns.program import Use

Ints = NDArray[np.int64]


def combined(use: Use, parts: Sequence[Ints], digits: int) -> Vector:
    """The feature of these values of its accumulators; unknown where a second one, the count, is 0."""
    if use.spread is not None:
        return spread(use.spread, parts, digits)
    if len(parts) == 1:
        return Vector(use.kind, parts[0])
    data, count = parts
    if use.average:
        return Vector("float", data / (np.maximum(count, 1) * 10**digits), count == 0)
    return Vector(use.kind, data, count == 0)
