"""A pattern is judged again exactly where its truth can have changed: small streams, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tillwatch.patterns.program import LookupSpec
from tillwatch.testing.folding import Key, Lookups, Row, fold_of, holding, pattern_text, step

IMPORTANCE = LookupSpec("importance", ("customer", "merchant"), "float")
PAIR = ("customer", "merchant")


def row(customer: str, merchant: str = "M", amount: str = "1", category: str = "a", gender: str = "F") -> Row:
    """A transaction."""
    return (customer, merchant, category, gender, amount)


def rows(*customers: str, merchant: str = "M") -> list[Row]:
    """A transaction of each with one merchant."""
    return [row(c, merchant) for c in customers]


def lives(
    when: str,
    chunks: Iterable[list[Row]],
    per: tuple[str, ...] = PAIR,
    features: dict[str, str] | None = None,
    lookups: Lookups | None = None,
) -> list[set[Key]]:
    """The keys that hold after each chunk; detections and turns must tell the same."""
    fold = fold_of([pattern_text(per, when, features)], lookups)
    found, told = [], set[Key]()
    for number, chunk in enumerate(chunks):
        outcome = step(fold, number, chunk)
        told = told | {tuple(d.key.values()) for d in outcome.detections}
        for turn in outcome.turns:
            key = tuple(turn.key.values())
            told = told | {key} if turn.holds else told - {key}
        assert holding(fold) == told
        found.append(told)
    return found


def customers(found: list[set[Key]]) -> list[str]:
    """The customers that hold after each chunk, as one text each."""
    return [" ".join(sorted(key[0] for key in keys)) for keys in found]


def test_a_gate_that_opens_lets_in_those_it_did_not_touch() -> None:
    """When the merchant passes the limit, its other customers hold at once."""
    found = lives("merchant.transactions > 3 and transactions >= 1", [rows("A", "B"), rows("C"), rows("C")])
    assert customers(found) == ["", "", "A B C"]


def test_a_gate_that_closes_shuts_out_those_it_did_not_touch() -> None:
    """When the merchant passes the limit, its other customers cease to hold; another merchant's do not."""
    chunks = [[*rows("A", "B"), row("D", "N")], rows("C"), rows("C")]
    found = lives("merchant.transactions <= 3 and transactions >= 1", chunks)
    assert customers(found) == ["A B D", "A B C D", "D"]


def test_a_gate_may_open_and_close_again_and_again() -> None:
    """With refunds a sum goes up and down, and all customers with it; those that came meanwhile too."""
    chunks = [rows("A", "B"), [row("X", amount="9")], [row("Y", amount="-9")], [row("X", amount="9")], rows("A")]
    found = lives("merchant.total_amount > 5 and transactions >= 1", chunks)
    assert customers(found) == ["", "A B X", "", "A B X Y", "A B X Y"]


def test_a_rank_may_move_while_the_gate_is_closed() -> None:
    """The cut-off is the one of now when the gate opens again, not the one of when it closed."""
    chunks = [
        [*rows("A", "A", "A", "B"), row("B", amount="6")],
        [row("Z", amount="-20")],
        rows("B", "B", "B"),
        [row("Z", amount="40")],
    ]
    found = lives("merchant.total_amount > 5 and percent_rank(transactions) over merchant >= 1", chunks)
    assert customers(found) == ["A", "", "", "B"]


def test_two_gates_on_different_keys() -> None:
    """The customer's gate and the merchant's are watched apart."""
    chunks = [[row("A", "M"), row("A", "N")], rows("B"), [row("A", "O")], rows("B"), [row("A", "O")]]
    found = lives("merchant.customers > 1 and customer.merchants < 3 and transactions > 0", chunks)
    assert [sorted(keys) for keys in found] == [[], [("A", "M"), ("B", "M")], [("B", "M")], [("B", "M")], [("B", "M")]]


def test_a_cut_off_that_rises_puts_out_those_it_did_not_touch() -> None:
    """The most frequent customer is overtaken without a transaction of its own."""
    chunks = [rows("A", "A", "B"), rows("B"), rows("B")]
    found = lives("percent_rank(transactions) over merchant >= 1", chunks)
    assert customers(found) == ["A", "", "B"]


def test_a_cut_off_that_falls_lets_in_those_it_did_not_touch() -> None:
    """New customers with fewer transactions lift the ranks of the others."""
    chunks = [rows("A", "A", "B", "B", "C", "C", "C"), rows("D"), rows("E")]
    found = lives("percent_rank(transactions) over merchant >= 0.5", chunks)
    assert customers(found) == ["C", "C", "A B C"]


def test_a_rank_by_a_value_that_becomes_known() -> None:
    """A customer joins the ranked when its filtered sum is first known, and moves the others."""
    small = {"small": "sum(amount) filter (where category = 's')"}
    chunks = [
        [row("A", amount="5", category="s"), row("B", amount="7", category="s"), row("C", amount="99")],
        [row("C", amount="9", category="s")],
        [row("C", amount="-5", category="s")],
    ]
    assert customers(lives("percent_rank(small) over merchant >= 1", chunks, features=small)) == ["B", "C", "B"]


def test_who_has_no_value_is_not_counted_among_the_ranked() -> None:
    """A customer whose filtered sum is unknown shifts nobody's rank, then or later."""
    chunks = [
        [row("A", amount="2", category="s"), row("B", amount="5", category="s")],
        [row("D")],
        [row("E", amount="9", category="s")],
    ]
    small = {"small": "sum(amount) filter (where category = 's')"}
    assert customers(lives("percent_rank(small) over merchant <= 0.5", chunks, features=small)) == ["A", "A", "A B"]


def test_a_rank_over_the_whole_stream() -> None:
    """`over ()` ranks among all keys there are."""
    found = lives("percent_rank(transactions) over () >= 1", [rows("A", "B"), rows("B", merchant="N"), rows("A")])
    assert [sorted(keys) for keys in found] == [[], [], [("A", "M")]]


def test_a_rank_of_one_is_zero() -> None:
    """A merchant's only customer has the percent_rank 0."""
    found = lives("percent_rank(transactions) over merchant <= 0", [rows("A"), rows("B"), rows("A")])
    assert customers(found) == ["A", "A B", "B"]


def test_a_quantile_moves_those_it_did_not_touch() -> None:
    """A median that rises puts out a customer; interpolated, it lies between two."""
    chunks = [rows("A", "A", "B"), rows("C", "C", "C"), rows("D", "D", "D")]
    found = lives("transactions > percentile_cont(0.5, transactions) over merchant", chunks)
    assert customers(found) == ["A", "C", "C D"]


def test_a_rank_in_arithmetic_is_looked_at_every_time() -> None:
    """A rank that is not compared with a constant has no cut-off, and is still right for those not touched."""
    chunks = [rows("A", "A", "B"), rows("B", "B")]
    found = lives("percent_rank(transactions) over merchant * 2 > 1", chunks)
    assert customers(found) == ["A", "B"]


def test_a_comparison_of_a_coarse_feature_with_an_own_one() -> None:
    """A clause that mixes grains moves with either."""
    chunks = [rows("A", "A", "B"), rows("C"), rows("C")]
    assert customers(lives("transactions * 2 >= merchant.transactions", chunks)) == ["A", "A", ""]


def test_two_coarse_features_of_different_keys() -> None:
    """A comparison of the customer's own count with the merchant's is true or not without the pair being touched."""
    chunks = [[row("A", "M")], [row("A", "N")], rows("B", "C")]
    found = lives("customer.transactions > merchant.transactions", chunks)
    assert [sorted(keys) for keys in found] == [[], [("A", "M"), ("A", "N")], [("A", "N")]]


def test_unknown_is_not_false_under_not() -> None:
    """NOT of unknown is not true; it becomes true when the merchant's value is first known, for all its customers."""
    found = lives(
        "not (merchant.small > 5 and transactions > 0)",
        [rows("A", "B"), [row("C", amount="0", category="s")], [row("C", amount="6", category="s")]],
        features={"small": "sum(amount) filter (where category = 's')"},
    )
    assert customers(found) == ["", "A B C", ""]


def test_null_is_told_from_the_number_it_is_stored_as() -> None:
    """A merchant's sum that becomes known as 0 is noticed by customers that were not touched."""
    found = lives(
        "coalesce(merchant.small, transactions) > 0",
        [rows("A", "B"), [row("C", amount="0", category="s")]],
        features={"small": "sum(amount) filter (where category = 's')"},
    )
    assert customers(found) == ["A B", ""]


def test_a_pair_without_a_lookup_value_is_neither_above_nor_below() -> None:
    """Its clause is not true, nor is the opposite; IS NULL is."""
    known: Lookups = {IMPORTANCE: {("A", "M"): 2.0}}
    for when, expected in (("importance > 1", "A"), ("not importance > 1", ""), ("importance is null", "B")):
        assert customers(lives(when, [rows("A", "B")], lookups=known)) == [expected]
    assert customers(lives("percent_rank(importance) over merchant <= 0.1", [rows("A", "B")], lookups=known)) == ["A"]


def test_patterns_on_the_same_tables_do_not_disturb_each_other() -> None:
    """Two patterns with one feature name and other filters each see their own."""
    texts = [
        pattern_text(PAIR, "f > 1", {"f": f"count(*) filter (where category = '{c}')"}, id=c.upper()) for c in "ab"
    ]
    fold = fold_of(texts)
    step(fold, 0, [row("A", category="a")] * 2 + [row("B", category="b")] * 3)
    assert (holding(fold, 0), holding(fold, 1)) == ({("A", "M")}, {("B", "M")})


def test_an_empty_chunk_changes_nothing() -> None:
    """A chunk without valid rows detects nothing, at the beginning and later."""
    assert customers(lives("transactions > 0", [[], rows("A"), []])) == ["", "A", "A"]


def test_detections_are_ordered_by_customer_then_merchant_by_code_point() -> None:
    """Whatever order they came in; the keys that follow decide last."""
    fold = fold_of([pattern_text(["category", "customer", "merchant"], "transactions > 0")])
    names = ["b", "B", "é", "Z", "\U0001f6d2", "\uffff", "a"]
    chunk = [row(c, m, category=k) for c in names for m in ("y", "X") for k in ("2", "1")]
    found = [(d.customer, d.merchant, d.key["category"]) for d in step(fold, 0, chunk).detections]
    assert found == sorted((c, m, k) for c in names for m in ("y", "X") for k in ("2", "1"))


@pytest.mark.parametrize("clause", ["1 < 2", "not 2 < 1", "1 between 0 and 2", "1 in (1, 2)", "(1 / 0) is null"])
def test_a_clause_without_names_is_judged_or_refused(clause: str) -> None:
    """A clause of constants, such as two thresholds compared, holds for every key or for none."""
    assert customers(lives(f"{clause} and transactions > 0", [rows("A", "B")])) == ["A B"]


@pytest.mark.parametrize("value", ["avg_amount * 1e300 * 1e300", "transactions / 1e-300 / 1e-300"])
def test_a_value_beyond_floats_is_infinite(value: str) -> None:
    """What is too large for a float is larger than every constant, as in SQL, and no warning is printed."""
    assert customers(lives(f"{value} > 1e300", [rows("A")])) == ["A"]
