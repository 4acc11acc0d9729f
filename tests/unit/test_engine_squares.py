"""Variance and standard deviation: exact sums, whatever the size of amounts, and the float64 made of them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.engine.squares import spread, square_digits
from tillwatch.patterns.features import SPREADS, Spread

amounts = st.one_of(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-300, 300))


@settings(max_examples=200, deadline=None)
@given(st.lists(amounts, max_size=30), st.sampled_from(SPREADS), st.integers(0, 6))
def test_a_spread_is_the_quotient_of_exact_integers(values: list[int], kind: Spread, digits: int) -> None:
    """n·Σx² − (Σx)² and n·(n − 1), or n², are exact before they become float64."""
    x = np.array(values, np.int64)
    parts = [np.array([int(c.sum())]) for c in (x, np.ones(len(x), np.int64), *square_digits(x))]
    found = spread(kind, parts, digits)
    n, whole = len(values), kind.endswith("_pop")
    assert found.null is not None and found.null[0] == (n < (1 if whole else 2))
    if not found.null[0]:
        exact = n * sum(v * v for v in values) - sum(values) ** 2
        variance = float(exact) / (float(n * (n if whole else n - 1)) * float(10 ** (2 * digits)))
        assert found.data[0] == (math.sqrt(variance) if kind.startswith("stddev") else variance)
        true = Fraction(exact, n * (n if whole else n - 1) * 10 ** (2 * digits))
        assert variance == pytest.approx(float(true), rel=1e-15)
