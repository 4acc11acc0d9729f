"""Order statistics per group, kept while values change: the k-th smallest value without sorting again.

`percent_rank(x) >= p` holds exactly when x is above such a value, so a group needs to be looked at as a whole
only when the value moves. Kept are the value, how many members are below it and how many equal it; a change
of a member moves the two counts. Only when k is no longer among the equal ones is the group read again.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Array = NDArray[Any]
Bools = NDArray[np.bool_]

KRule = Callable[[Ints], Ints]
"""From the size of a population to the index (from 0) of the member wanted in ascending order; -1 for none."""


def last_rank(p: float, strict: bool) -> KRule:
    """The greatest number of members below x for which percent_rank(x) <= p (strict: < p), -1 when none.

    percent_rank = below / (n - 1) in float64, 0 when n = 1 (SQL).

    >>> last_rank(0.1, strict=False)(np.array([0, 1, 10, 11, 21])).tolist()
    [-1, 0, 0, 1, 2]
    >>> last_rank(0.9, strict=True)(np.array([1, 11])).tolist()
    [0, 8]
    """
    p = min(max(p, -1.0), 2.0)  # ranks are from 0 to 1

    def rule(n: Ints) -> Ints:
        spread = np.maximum(n - 1, 1)
        best = np.full(len(n), -1, np.int64)
        guess = np.floor(p * spread).astype(np.int64)
        for candidate in (guess - 1, guess, guess + 1):  # float64 division may round either way
            rank = candidate / spread
            fits = (rank < p) if strict else (rank <= p)
            fits &= (candidate >= 0) & (candidate < n)
            best = np.where(fits, np.maximum(best, candidate), best)
        low = n - 1 <= guess  # p of 1 and more: every member
        top_fits = ((n - 1) / spread < p) if strict else ((n - 1) / spread <= p)
        return np.where(low & top_fits, n - 1, best)

    return rule


def quantile_index(p: Decimal, *, upper: bool) -> KRule:
    """The index of the member at or below (or above) the place of a quantile, p * (n - 1), exactly.

    >>> quantile_index(Decimal("0.07"), upper=True)(np.array([0, 1, 101, 102])).tolist()
    [-1, 0, 7, 8]
    """
    ratio = Fraction(p)

    def rule(n: Ints) -> Ints:
        place = ratio.numerator * (n - 1)
        index = -(-place // ratio.denominator) if upper else place // ratio.denominator
        return np.where(n > 0, index, -1)

    return rule


def quantile_fraction(p: Decimal, n: Ints) -> NDArray[np.float64]:
    """How far the place of a quantile is from the member below it towards the one above, 0 to below 1."""
    ratio = Fraction(p)
    return (ratio.numerator * (n - 1) % ratio.denominator) / np.float64(ratio.denominator)


class OrderStatistic:
    """The k-th smallest value of every group, k given by a rule of the group's population.

    Groups are kept from the first time they are asked for. A group whose k is -1 has the least value of the
    type. `members(group)` gives the values of a group's population.
    """

    def __init__(self, rule: KRule, dtype: type[np.generic], members: Callable[[int], Array]) -> None:
        self._rule = rule
        self._members = members
        self.least = np.iinfo(np.int64).min if dtype is np.int64 else -np.inf
        self.value: Array = np.zeros(0, dtype)
        self.kept: Bools = np.zeros(0, np.bool_)
        self._sure: Bools = np.zeros(0, np.bool_)
        self._below: Ints = np.zeros(0, np.int64)
        self._equal: Ints = np.zeros(0, np.int64)
        self.population: Ints = np.zeros(0, np.int64)

    def change(self, groups: Ints, old: Array, was: Bools, new: Array, now: Bools) -> None:
        """Members of groups changed from old to new; `was`/`now` say whether they are in the population."""
        self._room(groups)
        self._sure[groups] = False
        value = self.value[groups]
        for x, here, sign in ((old, was, -1), (new, now, 1)):
            np.add.at(self._below, groups, sign * (here & (x < value)))
            np.add.at(self._equal, groups, sign * (here & (x == value)))
            np.add.at(self.population, groups, sign * here.astype(np.int64))

    def at(self, groups: Ints) -> Array:
        """The value for each of these groups, brought up to date."""
        self._room(groups)
        unsure = groups[~self._sure[groups]]
        if len(unsure):
            self._bring_up_to_date(np.unique(unsure))
        return self.value[groups]

    def _bring_up_to_date(self, groups: Ints) -> None:
        k = self._rule(self.population[groups])
        below = self._below[groups]
        least = self.value[groups] == self.least
        right = np.where(k < 0, least, ~least & (below <= k) & (k < below + self._equal[groups]))
        for group in groups[~(right & self.kept[groups])].tolist():
            self._read(group)
        self._sure[groups] = True

    def _read(self, group: int) -> None:
        values = self._members(group)
        n = len(values)
        k = int(self._rule(np.array([n]))[0])
        value = np.partition(values, k)[k] if k >= 0 else self.least
        self.value[group] = value
        self._below[group] = np.count_nonzero(values < value)
        self._equal[group] = np.count_nonzero(values == value)
        self.population[group] = n
        self.kept[group] = True

    def _room(self, groups: Ints) -> None:
        size = int(groups.max()) + 1 if len(groups) else 0
        more = max(64, size, 2 * len(self.kept)) - len(self.kept)
        if size > len(self.kept):
            self.value = np.concatenate([self.value, np.full(more, self.least, self.value.dtype)])
            self.kept = np.concatenate([self.kept, np.zeros(more, np.bool_)])
            self._sure = np.concatenate([self._sure, np.zeros(more, np.bool_)])
            self._below = np.concatenate([self._below, np.zeros(more, np.int64)])
            self._equal = np.concatenate([self._equal, np.zeros(more, np.int64)])
            self.population = np.concatenate([self.population, np.zeros(more, np.int64)])
