"""What is called impossible is never true, and what is called without effect has none, whatever rows come.

TILLWATCH_EXAMPLES sets how many patterns and streams are tried.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tillwatch.engine.fold import Fold
from tillwatch.patterns.expression import conjuncts, walk
from tillwatch.patterns.sanity import Finding, findings
from tillwatch.testing.conditions import drawn_lookups, drawn_patterns, drawn_streams
from tillwatch.testing.folding import Lookups, Row, fold_of, holding, pattern_text, step
from tillwatch.testing.terms import Drawn

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "100"))
OWN = {
    "small": "count(*) filter (where amount < 2)",
    "small_women": "count(*) filter (where amount < 2 and gender = 'F')",
    "least_small": "min(amount) filter (where amount < 2)",
    "most_women": "max(amount) filter (where gender = 'F')",
    "spent_women": "sum(amount) filter (where gender = 'F')",
    "recent": "count(*) within 2 steps",
    "recent_women": "count(*) filter (where gender = 'F') within 2 steps",
    "recent_spent": "sum(amount) within 2 steps",
    "recent_merchants": "count(distinct category) within 2 steps",
    "last": "count(*) within 3 transactions",
    "last_women": "count(*) filter (where gender = 'F') within 3 transactions",
}
NAMES = ["transactions", "merchant.transactions", "customers", "merchant.customers", "female_customers"]
NAMES += ["merchant.female_customers", "total_amount", "merchant.total_amount", "min_amount", "max_amount"]
NAMES += ["avg_amount", "stddev_amount", *OWN, *OWN, "merchant.spent_women", "merchant.recent", "merchant.last_women"]
NAMES += ["importance", "risk", "visits"]
RANKS = [
    "percent_rank(transactions) over merchant",
    "percent_rank(importance) over merchant",
    "percentile_cont(0.5, total_amount) over merchant",
]
NUMBERS = ["0", "1", "2", "3", "5", "0.5", "1.25", "2.00005", "-1", "1e20"]
OPS = ["<", "<=", ">", ">=", "=", "<>"]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@st.composite
def clauses(draw: st.DrawFn) -> str:
    """A comparison of a few names and numbers, so that contradictions come often; some with arithmetic."""
    shape = draw(st.integers(0, 9))
    name, other = draw(st.sampled_from(NAMES + RANKS)), draw(st.sampled_from(NAMES + RANKS))
    number, op = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(OPS))
    if shape < 4:
        return f"{name} {op} {number}"
    if shape < 7:
        return f"{name} {op} {other}"
    if shape == 7:
        return f"{number} * {name} {op} {other}"
    if shape == 8:
        arithmetic = draw(st.sampled_from("+-*/"))
        return draw(st.sampled_from([f"{name} {arithmetic} {other} {op} {number}", f"abs({name}) {op} {number}"]))
    return f"{name} is {draw(st.sampled_from(['', 'not ']))}null"


@st.composite
def conditions(draw: st.DrawFn) -> str:
    """Clauses joined by AND; some of OR, some negated."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        one, other = draw(clauses()), draw(clauses())
        shape = draw(st.integers(0, 5))
        parts.append(one if shape < 4 else f"({one} or {other})" if shape == 4 else f"not ({one} and {other})")
    return " and ".join(parts)


def looked_at(fold: Fold, *, negative: bool) -> list[Finding]:
    """What is found odd about the only pattern."""
    found = findings(fold.program.plans[0], fold.program, negative=negative)
    for finding in found:
        event("impossible" if finding.wrong else "a part never holds" if finding.never else "without effect")
    return found


def check(fold: Fold, found: Sequence[Finding]) -> None:
    """What was found is so for every key, as the engine evaluates it now."""
    condition = fold.judges[0].condition
    tree, per = condition.plan.tree, condition.plan.per
    slots = np.flatnonzero(condition.table.transactions[: condition.table.size])
    truth = {c: np.broadcast_to(condition.evaluate(c, slots, per).true(), slots.shape) for c in conjuncts(tree)}
    for finding in found:
        if finding.wrong:
            assert not holding(fold), finding
            continue
        part = np.broadcast_to(condition.evaluate(finding.part, slots, per).true(), slots.shape)
        own = next(c for c in truth if any(node is finding.part for node in walk(c)))
        others = np.logical_and.reduce([np.ones(len(slots), np.bool_), *(t for c, t in truth.items() if c is not own)])
        assert not (others & (part if finding.never else ~part)).any(), finding


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(conditions(), drawn_streams(), drawn_lookups, st.booleans())
def test_what_is_found_impossible_is_never_true(
    when: str, chunks: list[list[Row]], lookups: Lookups, negative: bool
) -> None:
    """For conditions that contradict themselves often, with negative amounts and without."""
    fold = fold_of([pattern_text(["customer", "merchant"], when, OWN)], lookups)
    found = looked_at(fold, negative=negative)
    for number, rows in enumerate(timed(chunks) if found else []):
        step(fold, number, rows if negative else [(*row[:5], row[5].lstrip("-"), row[6]) for row in rows])
        check(fold, found)


def timed(chunks: Sequence[list[Row]]) -> list[list[Row]]:
    """The rows with times that go on, and back at times."""
    return [[(*row, str(3 * number + (7 * n) % 5)) for n, row in enumerate(rows)] for number, rows in enumerate(chunks)]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(conditions(), drawn_streams(), drawn_lookups)
def test_what_is_found_impossible_is_never_true_of_a_transaction(
    when: str, chunks: list[list[Row]], lookups: Lookups
) -> None:
    """The same for patterns judged on transactions, with the values before each row."""
    when = when.replace("percent_rank(transactions) over merchant", "amount").replace(" over merchant", "")
    when = when.replace("percent_rank(importance)", "merchant.min_amount").replace(
        "percentile_cont(0.5, total_amount)", "amount"
    )
    fold = fold_of([pattern_text(["customer", "merchant"], when, OWN, judge="transaction")], lookups)
    found = [finding for finding in looked_at(fold, negative=True) if finding.wrong]
    for number, rows in enumerate(timed(chunks) if found else []):
        assert not step(fold, number, rows).detections, found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(drawn_patterns(), drawn_streams(), drawn_lookups)
def test_any_pattern_of_the_language_can_be_looked_at(
    pattern: Drawn, chunks: list[list[Row]], lookups: Lookups
) -> None:
    """For whatever the language allows: looking at it ends, and what is found is so."""
    text = pattern_text(pattern.per, pattern.when.text, pattern.own, pattern.thresholds)
    fold = fold_of([text], lookups)
    found = looked_at(fold, negative=True)
    for number, rows in enumerate(chunks if found else []):
        step(fold, number, rows)
        check(fold, found)
