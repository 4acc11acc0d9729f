"""Order statistics, kept while values change, are those of the sorted values."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.engine.order import KRule, OrderStatistic, last_rank, quantile_fraction, quantile_index

SIZES = np.arange(0, 130)
SHARES = [*range(0, 101, 7), 1, 10, 29, 30, 50, 57, 90, 99, 100]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("p", [*(s / 100 for s in SHARES), -0.5, -1e-9, 1 + 1e-9, 1.5, 1e9, 1 / 3, 2 / 3])
def test_last_rank_is_the_last_for_which_percent_rank_is_low_enough(p: float, strict: bool) -> None:
    """For every population it is found by trying all ranks, with SQL's percent_rank in float64."""
    for n, k in zip(SIZES.tolist(), last_rank(p, strict)(SIZES).tolist(), strict=True):
        ranks = [below / (n - 1) if n > 1 else 0.0 for below in range(n)]
        fitting = [below for below, rank in enumerate(ranks) if (rank < p if strict else rank <= p)]
        assert k == max(fitting, default=-1), n


@pytest.mark.parametrize("p", [1e19, 1e30, float("inf")])
def test_last_rank_of_a_huge_limit_is_every_member(p: float) -> None:
    """Every percent_rank is below a huge number."""
    assert last_rank(p, strict=False)(np.array([1, 2, 10])).tolist() == [0, 1, 9]


@pytest.mark.parametrize("p", ["0", "0.07", "0.1", "0.25", "0.29", "0.5", "0.9", "0.999999", "1"])
def test_quantiles_lie_where_exact_arithmetic_says(p: str) -> None:
    """The members on both sides of p * (n - 1), and how far the place is between them."""
    lower, upper = (quantile_index(Decimal(p), upper=u)(SIZES).tolist() for u in (False, True))
    between = quantile_fraction(Decimal(p), SIZES[1:]).tolist()
    assert (lower[0], upper[0]) == (-1, -1)
    for n, low, high, part in zip(SIZES[1:].tolist(), lower[1:], upper[1:], between, strict=True):
        place = Fraction(p) * (n - 1)
        assert (low, high) == (place // 1, -(-place // 1))
        assert part == pytest.approx(float(place % 1), abs=1e-15) and (part > 0) == (low != high)


RULES: list[KRule] = [
    last_rank(0.0, strict=True),
    last_rank(0.0, strict=False),
    last_rank(0.1, strict=False),
    last_rank(0.5, strict=True),
    last_rank(0.9, strict=True),
    last_rank(1.0, strict=False),
    quantile_index(Decimal("0.25"), upper=False),
    quantile_index(Decimal("0.25"), upper=True),
    quantile_index(Decimal("0.9"), upper=True),
]
GROUPS, MEMBERS = 3, 8
values = st.none() | st.integers(-3, 3)
changes = st.lists(st.tuples(st.integers(0, GROUPS * MEMBERS - 1), values, st.booleans()), max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(RULES), st.sampled_from([np.int64, np.float64]), changes, st.integers(1, 5))
def test_it_is_the_kth_of_the_sorted_values_after_every_change(
    rule: KRule, dtype: type[np.int64] | type[np.float64], changes: list[tuple[int, int | None, bool]], batch: int
) -> None:
    """However members come, go and change, many at a time, asked for now and then or not at all."""
    held: dict[int, int] = {}

    def members(group: int) -> np.ndarray:
        return np.array([v for m, v in sorted(held.items()) if m % GROUPS == group], dtype)

    order = OrderStatistic(rule, dtype, members)
    for start in range(0, len(changes), batch):
        now = {member: value for member, value, _ in changes[start : start + batch]}
        change(order, held, now, dtype)
        asked = sorted({member % GROUPS for member, _, ask in changes[start : start + batch] if ask})
        found = order.at(np.array(asked, np.int64)).tolist()
        for group, value in zip(asked, found, strict=True):
            population = np.sort(members(group))
            k = int(rule(np.array([len(population)]))[0])
            least = -np.inf if dtype is np.float64 else np.iinfo(np.int64).min
            assert value == (population[k] if k >= 0 else least)
            assert order.population[group] == len(population)


def change(order: OrderStatistic, held: dict[int, int], now: dict[int, int | None], dtype: type[np.generic]) -> None:
    """Changes members of the groups that are kept, as a condition does, and all of `held`."""
    kept = [m for m in now if m % GROUPS < len(order.kept) and order.kept[m % GROUPS]]
    before, after = ([x.get(m) for m in kept] for x in (dict(held), now))
    for member, value in now.items():
        held.pop(member, None)
        held |= {} if value is None else {member: value}
    groups = np.array([m % GROUPS for m in kept], np.int64)
    old, new = (np.array([v or 0 for v in x], dtype) for x in (before, after))
    was, here = (np.array([v is not None for v in x], np.bool_) for x in (before, after))
    order.change(groups, old, was, new, here)
