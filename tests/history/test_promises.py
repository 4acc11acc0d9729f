"""Conditions taken apart for a key, and what a key is said to lack, on any patterns and streams.

TILLWATCH_EXAMPLES sets how many are tried.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tillwatch.engine.fold import Fold
from tillwatch.history.clauses import Clause, KeyView
from tillwatch.history.needs import Needs, change_of
from tillwatch.testing.conditions import drawn_lookups, drawn_patterns, drawn_streams
from tillwatch.testing.folding import Lookups, Row, fold_of, pattern_text, step
from tillwatch.testing.terms import Drawn

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "60"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

COMPARES = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def folded(text: str, chunks: Sequence[Sequence[Row]], lookups: Lookups | None = None) -> Fold:
    fold = fold_of([text], lookups)
    for number, rows in enumerate(chunks):
        step(fold, number, rows)
    return fold


def views(fold: Fold) -> Iterator[tuple[int, KeyView]]:
    """Each key that has rows."""
    condition = fold.judges[0].condition
    for slot in range(condition.table.size):
        if condition.table.transactions[slot]:
            yield slot, KeyView(condition, slot, 0)


def needs(fold: Fold, view: KeyView) -> Needs:
    """Of a fold of one pattern, in which amounts may be negative."""
    return Needs(view, fold.judges[0].plan, fold.tables, negative=True)


def put_together(clause: Clause) -> bool | None:
    """The truth of a condition from that of its parts, by SQL's rules."""
    truths = [put_together(part) for part in clause.parts]
    match clause.kind:
        case "all":
            return False if False in truths else None if None in truths else True
        case "any":
            return True if True in truths else None if None in truths else False
        case "not":
            return None if truths[0] is None else not truths[0]
        case _:
            return clause.truth


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(drawn_patterns(), drawn_streams(), drawn_lookups)
def test_any_condition_is_taken_apart_for_any_key(drawn: Drawn, chunks: list[list[Row]], lookups: Lookups) -> None:
    """The condition is true where the pattern holds; its parts put together give it; what is lacking can be said."""
    text = pattern_text(drawn.per, drawn.when.text, drawn.own, drawn.thresholds)
    fold = folded(text, chunks, lookups)
    judge = fold.judges[0]
    for slot, view in views(fold):
        clause = view.clause(judge.plan.tree)
        assert (clause.truth is True) == bool(judge.holding[slot])
        assert put_together(clause) is clause.truth
        lacking = needs(fold, view).of(clause)
        told = [leaf.need for leaf in lacking.leaves() if leaf.need is not None]
        assert (told == []) == (clause.truth is True)
        assert all(need.text for need in told)


limits = st.sampled_from(["0", "0.1", "0.25", "0.5", "0.75", "0.9", "1"])
rank_clauses = st.builds(
    lambda op, p, over, no: f"{'not ' if no else ''}percent_rank(transactions) over {over} {op} {p}",
    st.sampled_from([">", ">=", "<", "<="]),
    limits,
    st.sampled_from(["merchant", "customer", "()"]),
    st.booleans(),
)
count_clauses = st.builds(
    lambda name, op, n, no: f"not ({name} {op} {n})" if no else f"{name} {op} {n}",
    st.sampled_from(["transactions", "tiny", "merchant.transactions"]),
    st.sampled_from([*COMPARES]),
    st.sampled_from(["0", "1", "3", "4.5", "12", "30"]),
    st.booleans(),
)
reversed_clauses = st.builds(
    lambda op, n: f"{n} {op} transactions", st.sampled_from(["<", "<=", ">"]), st.integers(0, 20)
)


@settings(max_examples=3 * EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(st.one_of(count_clauses, rank_clauses, rank_clauses, reversed_clauses), drawn_streams(), st.data())
def test_so_many_more_transactions_make_a_clause_true(when: str, chunks: list[list[Row]], data: st.DataObject) -> None:
    """What is said to be needed of a key's own counts and ranks is enough, and one fewer is not."""
    text = pattern_text(["customer", "merchant"], when, {"tiny": "count(*) filter (where amount < 5)"})
    fold = folded(text, chunks)
    slot, view = data.draw(st.sampled_from([*views(fold)]))
    (key,) = fold.keys(("customer", "merchant"), view.slots)
    (leaf,) = needs(fold, view).of(view.clause(fold.judges[0].plan.tree)).leaves()
    if leaf.need is None or not leaf.need.possible or leaf.need.by is None or leaf.need.by <= 0:
        return
    rows = [(key["customer"], key["merchant"], "a", "F", "1")] * int(leaf.need.by)
    assert len(rows) == leaf.need.by
    assert bool(folded(text, [*chunks, rows]).judges[0].holding[slot])
    if rows[1:]:
        assert not folded(text, [*chunks, rows[1:]]).judges[0].holding[slot]


numbers = st.fractions(min_value=-50, max_value=50, max_denominator=12)


@given(st.sampled_from([*COMPARES]), numbers, numbers)
@example(">", Fraction(1), Fraction(1))
def test_a_change_is_enough_and_no_more(op: str, value: Fraction, bound: Fraction) -> None:
    """A value that changes by as much, or by more than it where that is asked for, compares as it should."""
    if COMPARES[op](value, bound) or op == "<>":
        return
    change = change_of(op, value, bound, whole=False)
    assert change is not None
    beyond = Fraction(1, 10**9) * (1 if op in (">", ">=") else -1) if change.strict else Fraction(0)
    assert COMPARES[op](value + change.by + beyond, bound)
    if change.strict:
        assert not COMPARES[op](value + change.by, bound)


@given(st.sampled_from([*COMPARES]), st.integers(-50, 50), numbers)
def test_a_whole_change_is_the_least_one(op: str, value: int, bound: Fraction) -> None:
    """A count changes by whole numbers, and by one less it does not compare as it should."""
    if COMPARES[op](value, bound) or op == "<>":
        return
    change = change_of(op, Fraction(value), bound, whole=True)
    if change is None:
        assert op == "=" and bound != ceil(bound)
        return
    assert change.by == int(change.by)
    assert COMPARES[op](value + change.by, bound)
    assert not COMPARES[op](value + change.by - (1 if change.by > 0 else -1), bound)
