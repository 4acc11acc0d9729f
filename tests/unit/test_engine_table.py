"""Slots for keys, and sums that are exact or not there at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.engine.slots import DirectSlots, HashSlots, KeySlots
from tillwatch.errors import RunError
from tillwatch.testing.folding import Row, fold_of, pattern_text, step

batches = st.lists(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 3)), max_size=40), max_size=8
)


def codes(keys: list[tuple[int, ...]], width: int) -> dict[str, np.ndarray]:
    """Columns a, b, c of keys."""
    return {name: np.array([key[i] for key in keys], np.int64) for i, name in enumerate("abc"[:width])}


@settings(max_examples=100, deadline=None)
@given(batches, st.integers(1, 3))
def test_every_key_has_one_slot(batches: list[list[tuple[int, ...]]], width: int) -> None:
    """Slots are numbered from 0 without a gap; a key keeps its slot, no two share one, unknown keys have none."""
    slots = KeySlots("abc"[:width])
    known: dict[tuple[int, ...], int] = {}
    for batch in batches:
        asked = codes(batch, width)
        before = [known.get(key[:width], -1) for key in batch]
        assert slots.find(asked, len(batch)).tolist() == before
        for key, slot in zip(batch, slots.add(asked, len(batch)).tolist(), strict=True):
            assert known.setdefault(key[:width], slot) == slot
        assert sorted(known.values()) == list(range(len(known)))
        assert slots.size == len(known)


def test_the_key_of_no_columns_has_a_slot() -> None:
    """The whole stream is one key."""
    slots = KeySlots("")
    assert slots.add({}, 3).tolist() == slots.find({}, 3).tolist() == [0, 0, 0]
    assert slots.size == 1


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("keys", [np.arange(50_000), np.arange(50_000) << 32, (np.arange(50_000) * 7919) % 2**40])
def test_slots_grow_with_their_keys(keys: np.ndarray, ahead: bool) -> None:
    """Fifty thousand keys that differ in few bits, added in odd portions, are all found again; also made room for."""
    slots, rng = HashSlots(16), np.random.default_rng(5)
    order = rng.permutation(keys)
    for part in np.array_split(order, 7):
        slots.add(part)
        if ahead:
            slots.make_room()
    again = slots.find(keys)
    assert np.array_equal(np.sort(again), np.arange(len(keys)))
    assert slots.find(np.array([2**62], np.int64)).tolist() == [-1]


def test_slots_of_codes_are_in_the_order_of_first_sight() -> None:
    """Codes beyond the room there is make more."""
    slots = DirectSlots()
    assert slots.add(np.array([5, 3, 5, 100_000])).tolist() == [0, 1, 0, 2]
    assert slots.find(np.array([3, 100_000, 7, 10**9, -1])).tolist() == [1, 2, -1, -1, -1]


LARGEST = "99999999999.9999"


def rows(count: int, amount: str = LARGEST) -> list[Row]:
    """Transactions of one customer."""
    return [("A", "M", "a", "F", amount)] * count


def test_sums_are_exact_to_their_last_digit() -> None:
    """Near the limit of what is kept a ten-thousandth more or less is seen."""
    limit = f"{4600 * 99_999_999_999}.54"
    fold = fold_of([pattern_text(["merchant"], f"total_amount > {limit}")])
    total = 4600 * 999_999_999_999_999
    step(fold, 0, rows(4600))
    assert fold.tables["merchant",].columns["sum_amount"][0] == total
    step(fold, 1, rows(1, "-0.0001"))
    assert fold.tables["merchant",].columns["sum_amount"][0] == total - 1


@pytest.mark.parametrize(("first", "second"), [(4612, 0), (4600, 20), (4600, -20)])
def test_a_sum_that_would_not_be_exact_stops_the_run(first: int, second: int) -> None:
    """Before a sum could leave 64 bits it is told which, and what to do; refunds are no way around it."""
    fold = fold_of([pattern_text(["customer", "merchant"], "total_amount > 1 and merchant.avg_amount > 1")])
    message = r"^sum_amount per (customer_)?merchant would pass .* amounts are too large.*Set fewer amounts\.digits"
    if second == 0:
        with pytest.raises(RunError, match=message):
            step(fold, 0, rows(first))
        return
    sign = "" if second > 0 else "-"
    step(fold, 0, rows(first, sign + LARGEST))
    with pytest.raises(RunError, match=message):
        step(fold, 1, rows(abs(second), sign + LARGEST))


def test_room_made_ahead_changes_nothing() -> None:
    """A fold that makes room between chunks detects what one that does not detects, past every size it grows to."""
    text = pattern_text(
        ["customer", "merchant"], "transactions >= 2 and percent_rank(transactions) over merchant >= 0.5"
    )
    plain, ahead = fold_of([text]), fold_of([text])
    for chunk in range(6):
        came = [(f"C{n % (900 * (chunk + 1))}", f"M{n % 4}", "a", "F", "1") for n in range(6_000)]
        ahead.make_room()
        assert step(plain, chunk, came) == step(ahead, chunk, came)
    assert plain.tables[("customer", "merchant")].size > 4_096
