"""The oracle, on cases small enough to be worked out by hand."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import polars as pl
import pytest

from tillwatch.testing.oracle import (
    Oracle,
    SqlPattern,
    detections,
    pat_id1,
    pat_id1_cont,
    pat_id2,
    pat_id3,
)

Row = dict[str, str | None]


def row(customer: str | None = "C1", merchant: str | None = "M1", **other: str | None) -> Row:
    plain: Row = {"gender": "F", "category": "food", "amount": "1"}
    return {"customer": customer, "merchant": merchant} | plain | other


def visits(counts: dict[str, int], merchant: str = "M1") -> list[Row]:
    """As many transactions of each customer as said."""
    return [row(customer, merchant) for customer, count in counts.items() for _ in range(count)]


def weights(values: dict[str, str], merchant: str = "M1") -> list[Row]:
    return [{"customer": customer, "merchant": merchant, "weight": value} for customer, value in values.items()]


def after(rows: list[Row], importance: list[Row] | None = None) -> Oracle:
    oracle = Oracle(importance)
    oracle.add(0, rows)
    return oracle


def column(oracle: Oracle, name: str) -> dict[str, object]:
    """A feature of every pair, by customer."""
    return {customer: pair[name] for (customer, _), pair in oracle.state().pairs.items()}


# Rows


def test_keys_are_stripped_and_one_layer_of_quotes_is_taken_off() -> None:
    """White space outside goes, then one layer of matching quotes, and nothing else."""
    clean = {
        "C1": "C1",
        "'C2'": "C2",
        '"C3"': "C3",
        " \t'C4'\r\n": "C4",
        "\u00a0C5\u3000": "C5",
        "''C6''": "'C6'",
        "'C7\"": "'C7\"",
        "'C8": "'C8",
        "'": "'",
        "' C9 '": " C9 ",
        "C 0": "C 0",
    }
    assert {customer for customer, _ in after([row(raw) for raw in clean]).state().pairs} == set(clean.values())


@pytest.mark.parametrize("name", ["customer", "merchant", "category"])
def test_a_row_with_an_empty_key_is_quarantined(name: str) -> None:
    """A key that is empty once it is clean makes the row invalid; the row beside it counts."""
    empty = ["", "  ", "''", " '' ", '""', None]
    state = after([row() | {name: value} for value in [*empty, "x"]]).state()
    assert (state.counted, state.quarantined) == (1, 6)


def test_amounts_are_exact() -> None:
    """An amount is the nearest ten-thousandth, half to even, however it is written."""
    units = {
        "0": 0,
        "-0": 0,
        "-0.000": 0,
        "+4.55": 45_500,
        " '26.89' ": 268_900,
        "'\t4.55 '": 45_500,
        ".5": 5_000,
        "5.": 50_000,
        "007": 70_000,
        "1e2": 1_000_000,
        "12.5E-1": 12_500,
        "1e-9": 0,
        "6e-5": 1,
        "6e-6": 0,
        "99999999999.9999": 10**15 - 1,
        "0.00005": 0,
        "0.00015": 2,
        "0.00025": 2,
        "0.000250000000000000000000000001": 3,
        "0.00024999999999999999999999999999": 2,
        "1.99995": 20_000,
    }
    sums = column(after([row(f"for {amount}", amount=amount) for amount in units]), "sum_units")
    assert sums == {f"for {amount}".strip(): value for amount, value in units.items()}


def test_an_amount_that_is_no_number_or_negative_is_quarantined() -> None:
    """What is no finite decimal number, is negative or does not fit is not counted."""
    plain = ("", "abc", "nan", "inf", "-1", "-0.00001", "1,5", "1 000", "0x10", "1e", ".", "-", "1.2.3", "1_0", None)
    large = ("100000000000", "99999999999.99995", "1e400", "1e99999999999999999999")
    rows = [row(f"{amount!r}", amount=amount) for amount in (*plain, *large, "١")]
    state = after([*rows, row("good")]).state()
    assert set(state.pairs) == {("good", "M1")}
    assert (state.counted, state.quarantined) == (1, 20)


def test_rounding_agrees_with_decimal() -> None:
    """Halves after every last digit go where Python's decimal puts them."""
    amounts = [f"{number / 10_000:.4f}5" for number in range(0, 30_000, 7)]
    oracle = after([row(amount, amount=amount) for amount in amounts])
    units = SqlPattern("units", "", "SELECT customer, units::VARCHAR FROM counted")
    assert oracle.holds(units) == {(a, str(Decimal(a).scaleb(4).to_integral_value(ROUND_HALF_EVEN))) for a in amounts}


def test_gender_is_one_of_four() -> None:
    """Letters and words in any case are mapped, anything else is U and still a valid row."""
    spellings: dict[str, list[str | None]] = {
        "F": ["F", "'f'", " Female "],
        "M": ["m", "'MALE'"],
        "E": ["E", "enterprise"],
        "U": ["U", "", None, "women"],
    }
    rows = [row(f"{text!r} {gender}", gender=text) for gender, texts in spellings.items() for text in texts]
    told = SqlPattern("g", "", "SELECT right(customer, 1), gender FROM counted")
    oracle = after(rows)
    assert oracle.state().counted == 11
    assert oracle.holds(told) == {(gender, gender) for gender in "FMEU"}


@pytest.mark.parametrize("kind", ["dicts", "polars", "arrow"])
def test_rows_come_as_dicts_or_tables(kind: str) -> None:
    """Dicts, a polars frame and an Arrow table say the same; other columns are left aside."""
    frame = pl.DataFrame([row(step="0"), row("C2", step="0")])
    rows = {"dicts": frame.to_dicts(), "polars": frame, "arrow": frame.to_arrow()}[kind]
    oracle = Oracle()
    oracle.add(0, rows)
    assert set(oracle.state().pairs) == {("C1", "M1"), ("C2", "M1")}


def test_an_empty_chunk_changes_nothing() -> None:
    """A chunk without rows is taken, and the state stays."""
    oracle = after([row()])
    before = oracle.state()
    oracle.add(1, [])
    assert oracle.state() == before


# Features


def test_features_of_a_pair_and_a_merchant() -> None:
    """Counts, sums, averages and extremes are those of the rows of all chunks so far."""
    oracle = after([row(amount="0.1"), row(amount="0.2"), row("C2", gender="M", amount="3")])
    oracle.add(1, [row(amount="0.4"), row("C1", "M2", amount="9")])
    state = oracle.state()
    pair = state.pairs["C1", "M1"]
    assert (pair["transactions"], pair["sum_units"], pair["min_amount"], pair["max_amount"]) == (3, 7000, 0.1, 0.4)
    assert pair["avg_amount"] == 7000 / 30_000
    merchant = state.merchants["M1"]
    assert (merchant["transactions"], merchant["customers"], merchant["sum_amount"]) == (4, 2, 3.7)
    assert (merchant["female_customers"], merchant["male_customers"]) == (1, 1)
    assert set(state.merchants) == {"M1", "M2"}


def test_sums_go_beyond_64_bits() -> None:
    """A sum that no 64-bit integer holds is exact."""
    pair = after([row(amount="99999999999.9999")] * 9_300).state().pairs["C1", "M1"]
    assert pair["sum_units"] == 9_300 * (10**15 - 1) > 2**63


def test_percent_rank_with_ties() -> None:
    """Ties share the lowest rank: counts 1, 2, 2, 3 rank 0, 1/3, 1/3, 1."""
    oracle = after(visits({"A": 1, "B": 2, "C": 2, "D": 3}))
    assert column(oracle, "transactions_percent_rank") == {"A": 0, "B": 1 / 3, "C": 1 / 3, "D": 1}


def test_percent_rank_is_within_the_merchant_and_0_when_alone() -> None:
    """An only customer ranks 0, whoever buys elsewhere."""
    oracle = after([*visits({"A": 5}), *visits({"A": 1, "B": 2}, "M2")], weights({"A": "7"}))
    pairs = oracle.state().pairs
    assert pairs["A", "M1"]["transactions_percent_rank"] == 0
    assert pairs["A", "M1"]["importance_percent_rank"] == 0
    assert pairs["B", "M2"]["transactions_percent_rank"] == 1


def test_importance_is_the_average_weight_of_the_pair() -> None:
    """All rows of the lookup count, cleaned like any other; also negative ones."""
    lookup = [*weights({"'A'": "0.1"}), *weights({"A": "'0.2'"}), *weights({"B": "-1.5"})]
    oracle = after(visits({"A": 1, "B": 1}), lookup)
    assert column(oracle, "importance") == {"A": 3000 / 20_000, "B": -1.5}


def test_a_pair_without_a_weight_is_not_ranked_by_importance() -> None:
    """Three of four have a weight and rank 0, 1/2, 1 among themselves; all four are ranked by count."""
    oracle = after(visits({"A": 4, "B": 3, "C": 2, "D": 1}), weights({"A": "1", "C": "2", "D": "3"}))
    assert column(oracle, "importance_percent_rank") == {"A": 0, "B": None, "C": 1 / 2, "D": 1}
    assert column(oracle, "transactions_percent_rank") == {"D": 0, "C": 1 / 3, "B": 2 / 3, "A": 1}


def test_a_weight_ranks_only_once_the_pair_is_streamed() -> None:
    """A customer of the lookup without transactions is in no population."""
    oracle = after(visits({"B": 1, "C": 2}), weights({"A": "1", "B": "2", "C": "3"}))
    assert column(oracle, "importance_percent_rank") == {"B": 0, "C": 1}


@pytest.mark.parametrize("bad", [{"A": "heavy"}, {"A": ""}, {" ": "1"}])
def test_a_lookup_row_that_cannot_be_read_is_an_error(bad: dict[str, str]) -> None:
    """A weight that is no number, or an empty key, is not passed over."""
    with pytest.raises(ValueError, match="1 of 2 lookup rows"):
        Oracle([*weights({"B": "1"}), *weights(bad)])


# PatId1

ELEVEN = {f"C{i:02}": i for i in range(1, 12)}
"""Eleven customers with 1 to 11 transactions, 66 in all: percent ranks 0, 0.1, …, 1."""


def test_pat_id1_wants_both_ranks() -> None:
    """Ranks of exactly 0.9 by count and 0.1 by importance are in, 0.8 and 0.2 are not."""
    importance = {name: str(100 + i) for i, name in enumerate(ELEVEN)}
    importance |= {"C11": "2", "C10": "1", "C09": "0"}
    oracle = after(visits(ELEVEN), weights(importance))
    assert column(oracle, "importance_percent_rank")["C10"] == 0.1
    assert oracle.holds(pat_id1(65)) == {("C10", "M1")}
    assert oracle.holds(pat_id1(65, 0.8, 0.2)) == {("C09", "M1"), ("C10", "M1"), ("C11", "M1")}


def test_pat_id1_wants_more_than_so_many_transactions() -> None:
    """With 66 transactions a merchant has more than 65 and not more than 66."""
    oracle = after(visits(ELEVEN), weights({"C11": "1"}))
    assert oracle.holds(pat_id1(65)) == {("C11", "M1")}
    assert oracle.holds(pat_id1(66)) == set()
    assert oracle.holds(pat_id1_cont(65)) == {("C11", "M1")}
    assert oracle.holds(pat_id1_cont(66)) == set()


def test_pat_id1_is_not_true_without_a_weight() -> None:
    """The most frequent customer has no weight: nothing holds for it."""
    oracle = after(visits(ELEVEN), weights({"C01": "1"}))
    assert oracle.holds(pat_id1(0)) == set()
    assert oracle.holds(pat_id1_cont(0)) == set()


def test_pat_id1_with_one_customer() -> None:
    """Alone, percent_rank is 0 and so below 0.9; percentile_cont is the customer's own value and so reached."""
    oracle = after(visits({"A": 3}), weights({"A": "1"}))
    assert oracle.holds(pat_id1(0)) == set()
    assert oracle.holds(pat_id1_cont(0)) == {("A", "M1")}


def test_pat_id1_with_ties_at_the_cut_off() -> None:
    """Tied customers all rank lowest by percent_rank, and all reach the quantile."""
    counts = {"A": 1, "B": 2, "C": 2, "D": 2}
    oracle = after(visits(counts), weights({"B": "1", "C": "1", "D": "5"}))
    assert oracle.holds(pat_id1(0)) == set()
    assert oracle.holds(pat_id1(0, count_rank=1 / 3)) == {("B", "M1"), ("C", "M1")}
    assert oracle.holds(pat_id1_cont(0)) == {("B", "M1"), ("C", "M1")}


def test_percentile_cont_lies_between_two_values() -> None:
    """Of 1, 2, 10 the 0.9 quantile is 8.4 and the 0.1 quantile of weights 1, 2, 3 is 1.2."""
    counts = {"A": 1, "B": 2, "C": 10}
    assert after(visits(counts), weights({"A": "3", "B": "2", "C": "1"})).holds(pat_id1_cont(0)) == {("C", "M1")}
    assert after(visits(counts), weights({"A": "3", "B": "1", "C": "2"})).holds(pat_id1_cont(0)) == set()
    half = pat_id1_cont(0, count_quantile=0.5, importance_quantile=0.5)
    assert after(visits(counts), weights({"A": "3", "B": "2", "C": "1"})).holds(half) == {("B", "M1"), ("C", "M1")}


# PatId2, PatId3


def test_pat_id2_at_its_thresholds() -> None:
    """Three transactions are at least three; an average of exactly 23 is not below it."""
    amounts = {"A": ["23", "23", "23"], "B": ["23", "23", "22.9999"], "C": ["1", "1"], "D": ["0", "0", "68.9999"]}
    oracle = after([row(customer, amount=amount) for customer, list_ in amounts.items() for amount in list_])
    assert oracle.holds(pat_id2(3, 23)) == {("B", "M1"), ("D", "M1")}
    assert oracle.holds(pat_id2(4, 23)) == set()


def test_pat_id2_is_per_merchant() -> None:
    """Transactions at two merchants do not add up."""
    oracle = after([row("A", "M1"), row("A", "M1"), row("A", "M2")])
    assert oracle.holds(pat_id2(2)) == {("A", "M1")}


def people(women: int, men: int, merchant: str = "M1") -> list[Row]:
    return [row(f"F{i}", merchant, gender="F") for i in range(women)] + [
        row(f"M{i}", merchant, gender="M") for i in range(men)
    ]


@pytest.mark.parametrize(("women", "men", "holds"), [(2, 9, False), (3, 3, False), (3, 4, True), (4, 3, False)])
def test_pat_id3_at_its_thresholds(women: int, men: int, holds: bool) -> None:
    """Women must be more than two and fewer than men, by distinct customers and not by transactions."""
    oracle = after(people(women, men) + people(1, 1) * 20)
    assert oracle.holds(pat_id3(2)) == ({("", "M1")} if holds else set())


def test_pat_id3_counts_a_customer_of_two_genders_twice() -> None:
    """Seen as F and as M a customer is among both; as U among neither."""
    rows = [*people(2, 4), row("X", gender="F"), row("X", gender="m"), row("Y", gender="?")]
    merchant = after(rows).state().merchants["M1"]
    assert (merchant["female_customers"], merchant["male_customers"], merchant["customers"]) == (3, 5, 8)
    assert after(rows).holds(pat_id3(2)) == {("", "M1")}


# Detections


def test_a_key_is_detected_once_at_the_first_chunk() -> None:
    """An average that falls below 23, rises and falls again is one detection, at the chunk of the first fall."""
    chunks = [[row(amount=amount)] for amount in ("30", "10", "90", "0", "0")]
    averages = [30, 20, 130 / 3, 32.5, 26]
    assert [sum([30, 10, 90, 0, 0][: n + 1]) / (n + 1) for n in range(5)] == averages
    assert detections([*chunks, [row(amount="0")] * 9], [pat_id2(1)]) == [(1, "PatId2", "CHILD", "C1", "M1")]


def test_detections_are_judged_after_every_chunk() -> None:
    """A condition that holds only between two chunks is found; cut otherwise it is not."""
    low, high = row(amount="1"), row(amount="99")
    assert detections([[low], [high]], [pat_id2(1)]) == [(0, "PatId2", "CHILD", "C1", "M1")]
    assert detections([[low, high]], [pat_id2(1)]) == []


def test_detections_are_in_order() -> None:
    """By chunk, then pattern as given, then customer, then merchant, by code point."""
    rows = [
        row("b", "M2"),
        row("b", "M10"),
        row("B", "M1"),
        row("é", "M1"),
        row("\U0001f600", "M1"),
        row("\uffff", "M1"),
    ]
    men = people(2, 3, "M3")
    found = detections([rows, men], [pat_id3(1), pat_id2(1)])
    first = [(customer, merchant) for chunk, _, _, customer, merchant in found if chunk == 0]
    assert first == [("B", "M1"), ("b", "M10"), ("b", "M2"), ("é", "M1"), ("\uffff", "M1"), ("\U0001f600", "M1")]
    second = [(pattern, customer, merchant) for chunk, pattern, _, customer, merchant in found if chunk == 1]
    assert second[0] == ("PatId3", "", "M3")
    assert second[1:] == [("PatId2", c, "M3") for c in ("F0", "F1", "M0", "M1", "M2")]


def test_a_moving_cut_off_brings_in_a_pair_that_was_not_touched() -> None:
    """New customers below lift B from rank 0.8 to 10/11 without a transaction of its own: detected, and once."""
    regulars = {"A": 9, "B": 8, "x0": 7, "x1": 7, "x2": 7, "x3": 7}
    chunks = [visits(regulars), visits({f"y{i}": 1 for i in range(6)}), visits({"y6": 1})]
    importance = weights({"A": "9", "B": "0"} | {f"{x}{i}": "5" for x in "xy" for i in range(7)})
    assert detections(chunks, [pat_id1(0)], importance) == [(1, "PatId1", "UPGRADE", "B", "M1")]
    assert detections(chunks, [pat_id1_cont(0)], importance) == [(1, "PatId1-cont", "UPGRADE", "B", "M1")]


def test_another_pattern_is_one_query() -> None:
    """A pattern of one's own is a query over the views with its parameters."""
    sql = "SELECT customer, merchant FROM pair WHERE max_amount > $limit"
    pattern = SqlPattern("Big", "CALL", sql, {"limit": 500})
    assert detections([[row(amount="500")], [row("C2", amount="500.01")]], [pattern]) == [
        (1, "Big", "CALL", "C2", "M1")
    ]
