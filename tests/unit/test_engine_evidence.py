"""Evidence tells why a detection fired, in values that JSON has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillwatch.patterns.program import LookupSpec
from tillwatch.testing.folding import Key, Row, fold_of, pattern_text, step

IMPORTANCE = LookupSpec("importance", ("customer", "merchant"), "float")
PAIR = ("customer", "merchant")


def row(customer: str, amount: str = "1", merchant: str = "M") -> Row:
    """A transaction."""
    return (customer, merchant, "a", "F", amount)


def evidence(
    when: str,
    *chunks: list[Row],
    per: tuple[str, ...] = PAIR,
    features: dict[str, str] | None = None,
    known: dict[Key, float] | None = None,
) -> dict[str, Any]:
    """The evidence of the first detections, by customer."""
    fold = fold_of([pattern_text(per, when, features)], {IMPORTANCE: known or {}})
    found = [d for number, chunk in enumerate(chunks) for d in step(fold, number, chunk).detections]
    return {d.customer or d.merchant: d.evidence for d in found}


def test_features_are_told_by_the_names_in_the_condition() -> None:
    """Counts are integers, amounts the nearest floats, averages quotients, what is unknown is None."""
    chunk = [row("A", "0.1"), row("A", "0.2"), row("B", "7")]
    when = "transactions > 1 and total_amount < 1 and merchant.avg_amount > 0 and (importance is null or none > 1)"
    found = evidence(when, [], chunk, features={"none": "max(amount) filter (where category = 'b')"})
    assert found["A"] == {
        "chunk": 1,
        "features": {
            "transactions": 2,
            "total_amount": 0.3,
            "merchant.avg_amount": 73_000 / 30_000,
            "importance": None,
            "none": None,
        },
    }
    assert [type(v) for v in found["A"]["features"].values()] == [int, float, float, type(None), type(None)]


def test_it_is_that_of_the_chunk_of_the_detection() -> None:
    """Values are those after the chunk at which the condition came true, not later ones."""
    found = evidence("transactions >= 2", [row("A")], [row("A"), row("A")], [row("A")])
    assert found == {"A": {"chunk": 1, "features": {"transactions": 3}}}


def test_a_rank_is_told_with_its_place_and_cut_off() -> None:
    """percent_rank, the rank from 1, the population, and the value at which the clause begins to hold."""
    chunk = [row(c) for c in "ABBCCCDDDDEEEEE"]
    found = evidence("percent_rank(transactions) over merchant >= 0.75", chunk)
    name = "percent_rank(transactions) over merchant"
    assert found["D"]["ranks"] == {name: {"value": 0.75, "rank": 4, "population": 5, "cut_off": 4}}
    assert found["E"]["ranks"] == {name: {"value": 1.0, "rank": 5, "population": 5, "cut_off": 4}}
    found = evidence("percent_rank(transactions) over merchant <= 0.25", chunk)
    assert found["A"]["ranks"] == {name: {"value": 0.0, "rank": 1, "population": 5, "cut_off": 2}}
    found = evidence("0.25 > percent_rank(total_amount) over merchant", chunk)
    assert [*found["A"]["ranks"].values()] == [{"value": 0.0, "rank": 1, "population": 5, "cut_off": 1.0}]


def test_ranked_are_those_that_have_a_value() -> None:
    """The population of a rank by importance are the customers that have one; ties share the lowest rank."""
    known = {("A", "M"): 2.0, ("B", "M"): 2.0, ("C", "M"): 3.5}
    found = evidence("percent_rank(importance) over merchant <= 0.1", [row(c) for c in "ABCD"], known=known)
    rank = {"value": 0.0, "rank": 1, "population": 3, "cut_off": 2.0}
    ranks = {"percent_rank(importance) over merchant": rank}
    assert {c: e["ranks"] for c, e in found.items()} == {"A": ranks, "B": ranks}


def test_a_quantile_is_told_with_its_population() -> None:
    """The interpolated value and how many it is of; unknown when there is none."""
    found = evidence("transactions > percentile_cont(0.5, transactions) over merchant", [row(c) for c in "ABBB"])
    assert found["B"]["quantiles"] == {
        "percentile_cont(0.5, transactions) over merchant": {"value": 2.0, "population": 2}
    }
    found = evidence("percentile_cont(0.5, importance) over merchant is null", [row("A")])
    assert [*found["A"]["quantiles"].values()] == [{"value": None, "population": 0}]


def test_a_rank_that_is_calculated_with_has_no_cut_off() -> None:
    """Only a comparison with a constant has a value at which it begins to hold."""
    found = evidence("percent_rank(transactions) over merchant * 2 > 1", [row(c) for c in "ABB"])
    assert [*found["B"]["ranks"].values()] == [{"value": 1.0, "rank": 2, "population": 2, "cut_off": None}]


def test_evidence_is_json() -> None:
    """It comes back from JSON as it went in."""
    chunk = [row("A", "0.1"), row("A", "0.2"), row("B", "-7")]
    found = evidence("percent_rank(avg_amount) over merchant >= 0.5 and customer.customers = 1", chunk)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    "clause",
    [
        "percent_rank(importance) over merchant <= 0.1",
        "percent_rank(transactions) over merchant < 0",
        "percent_rank(total_amount) over merchant < 0",
    ],
)
def test_a_clause_that_no_value_meets_has_no_cut_off(clause: str) -> None:
    """Where nobody is ranked, or no rank is low enough, the cut-off is None and the evidence is JSON."""
    (found,) = evidence(f"transactions > 0 or {clause}", [row("A")])["A"]["ranks"].values()
    assert found["cut_off"] is None


def test_a_key_without_a_value_has_no_rank() -> None:
    """A customer without importance is detected for another reason: it has no rank by importance to be told."""
    found = evidence(
        "transactions > 0 or percent_rank(importance) over merchant <= 0.1",
        [row("A"), row("B")],
        known={("B", "M"): -3.0},
    )
    (rank,) = found["A"]["ranks"].values()
    assert (rank["value"], rank["rank"], rank["population"]) == (None, None, 1)
