"""Which keys come nearest to a pattern, on any patterns and streams, and what is said of them.

TILLWATCH_EXAMPLES sets how many are tried.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tillwatch.engine.condition import Condition
from tillwatch.engine.fold import Fold
from tillwatch.history.near import Misses, Near, distances
from tillwatch.history.whole import Whole
from tillwatch.testing.conditions import drawn_lookups, drawn_patterns, drawn_streams
from tillwatch.testing.folding import Lookups, Row, fold_of, pattern_text, step
from tillwatch.testing.terms import Drawn

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "60"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def folded(text: str, chunks: Sequence[Sequence[Row]], lookups: Lookups | None = None) -> Fold:
    fold = fold_of([text], lookups)
    for number, rows in enumerate(chunks):
        step(fold, number, rows)
    return fold


def never(key: Mapping[str, str]) -> int | None:
    """That nothing was detected."""
    return None


@settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(drawn_patterns(), drawn_streams(), drawn_lookups)
def test_a_key_misses_nothing_exactly_where_the_engine_says_it_holds(
    drawn: Drawn, chunks: list[list[Row]], lookups: Lookups
) -> None:
    """For all keys at once as for each: true where the pattern holds, and a clause is missed everywhere else."""
    text = pattern_text(drawn.per, drawn.when.text, drawn.own, drawn.thresholds)
    fold = folded(text, chunks, lookups)
    judge = fold.judges[0]
    whole = Whole(Condition(judge.plan, fold.tables, fold.program.digits))
    holds = judge.holding[whole.slots]
    assert (np.broadcast_to(whole.vector(judge.plan.tree).true(), holds.shape) == holds).all()
    far = distances(whole, judge.plan.tree)
    assert ((far.missing == 0) == holds).all()
    assert (far.gap[holds] == 0).all() and (far.gap >= 0).all() and np.isfinite(far.gap).all()
    misses = Misses(fold, judge.plan, len(chunks) - 1, negative=True)
    found, but_one = misses.nearest(1000, never), misses.nearest(1000, never, but_one=True)
    assert misses.keys == len(holds) and misses.holding == holds.sum()
    assert len(found) == len(holds) - holds.sum()
    assert [n.gap for n in found] == sorted(n.gap for n in found)
    assert all(n.missing == 1 for n in but_one)
    assert len(but_one) == misses.but_one == (far.missing == 1).sum()
    assert all(n.condition.truth is not True for n in found)


MANY_SMALL = pattern_text(
    ["customer", "merchant"], "transactions >= :n and avg_amount < :a", None, {"n": "80", "a": "23"}
)


def rows(customer: str, count: int, amount: str) -> list[Row]:
    return [(customer, "M0", "a", "F", amount)] * count


def names(found: Sequence[Near]) -> list[str]:
    return [near.key["customer"] for near in found]


def test_nearest_is_who_lacks_least() -> None:
    """By how far it is to the cut-offs, all clauses together; those that lack a single one are listed too."""
    chunk = [
        *rows("fires", 80, "20"),
        *rows("one short", 79, "20"),
        *rows("too dear", 80, "24"),
        *rows("both a bit", 79, "23.1"),
        *rows("new", 5, "20"),
        *rows("neither", 5, "90"),
    ]
    fold = folded(MANY_SMALL, [chunk])
    misses = Misses(fold, fold.judges[0].plan, 0, negative=False)
    found = misses.nearest(50, never)
    assert names(found) == ["one short", "both a bit", "too dear", "new", "neither"]
    assert names(misses.nearest(50, never, but_one=True)) == ["one short", "too dear", "new"]
    first = found[0]
    assert (first.gap, first.missing) == (pytest.approx(1 / 80), 1)
    lacking, there = first.condition.parts
    assert lacking.need is not None and lacking.need.text == "1 more transaction" and lacking.need.by == 1
    assert lacking.sides == (("transactions", 79), ("80", 80))
    assert there.truth is True and there.need is None
    assert [n.gap for n in found[1:3]] == [pytest.approx(1 / 80 + 0.1 / 23.1), pytest.approx(1 / 24)]


def test_a_rank_is_as_far_as_its_limit() -> None:
    """Ranks are shares of the group already; a gate of the group counts by what it lacks."""
    when = "merchant.transactions > 20 and percent_rank(transactions) over merchant >= 0.75"
    fold = folded(
        pattern_text(["customer", "merchant"], when),
        [[row for n in range(5) for row in rows(f"C{n}", n + 1, "1")]],
    )
    misses = Misses(fold, fold.judges[0].plan, 0, negative=False)
    gate = (21 - 15) / 21
    assert {n.key["customer"]: n.gap for n in misses.nearest(50, never)} == {
        "C4": pytest.approx(gate),
        "C3": pytest.approx(gate),
        "C2": pytest.approx(gate + 0.25),
        "C1": pytest.approx(gate + 0.5),
        "C0": pytest.approx(gate + 0.75),
    }
    assert names(misses.nearest(50, never, but_one=True)) == ["C3", "C4"]
    (merchant,) = {int(slot) for slot in fold.tables["customer", "merchant"].up[("merchant",)][:5]}
    assert len(misses.nearest(50, never, within=(("merchant",), merchant))) == 5
    assert misses.nearest(50, never, within=(("merchant",), merchant + 1)) == ()


def test_what_was_detected_is_no_near_miss_any_more() -> None:
    """Unless the pattern detects a key again; then its last detection is named. No more are listed than wanted."""
    chunk = [row for n in range(30) for row in rows(f"C{n:02}", 40 + n, "20")]
    seqs = {"C29": 7, "C28": 3}

    def detected(key: Mapping[str, str]) -> int | None:
        return seqs.get(key["customer"])

    for life, wanted in (({}, ["C27", "C26"]), ({"emit": "on_enter"}, ["C29", "C28"])):
        text = pattern_text(["customer"], "transactions >= 80", life=life)
        fold = folded(text, [chunk])
        misses = Misses(fold, fold.judges[0].plan, 0, negative=False)
        found = misses.nearest(2, detected)
        assert names(found) == names(misses.nearest(2, detected, but_one=True)) == wanted
        assert [near.seq for near in found] == [seqs.get(name) for name in wanted]
