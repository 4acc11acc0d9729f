"""Any condition of the pattern language holds, after every chunk, exactly where SQL over all rows so far says.

TILLWATCH_EXAMPLES sets how many patterns and streams are tried.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.engine.fold import Fold
from tillwatch.testing.conditions import drawn_lookups, drawn_patterns, drawn_streams, filters
from tillwatch.testing.folding import Key, Lookups, Row, fold_of, holding, step, texts_of
from tillwatch.testing.lives import Life, pattern_life
from tillwatch.testing.prefixes import Held, Prefixes
from tillwatch.testing.terms import Drawn

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "250"))


def drawn_fold(patterns: Sequence[Drawn], lookups: Lookups, where: str | None = None) -> Fold:
    """The engine with these patterns, read from their text."""
    return fold_of([p.file(f"P{n}") for n, p in enumerate(patterns)], lookups, where=where)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(
    st.lists(drawn_patterns(), min_size=1, max_size=2),
    drawn_streams(),
    drawn_lookups,
    st.one_of(st.just((None, "true")), st.just((None, "true")), filters()),
)
def test_a_condition_holds_where_sql_says_after_every_chunk(
    patterns: list[Drawn], chunks: list[list[Row]], lookups: Lookups, where: tuple[str | None, str]
) -> None:
    """Keys that hold, detections with their evidence, and later turns are those of SQL over all rows so far that
    pass the filters of the stream and of the pattern."""
    fold = drawn_fold(patterns, lookups, where[0])
    with Prefixes(chunks, lookups, where[1]) as sql:
        answers = [sql.held(p) for p in patterns]
    lives = [Life(p) for p in patterns]
    for number, chunk in enumerate(chunks):
        outcome = step(fold, number, chunk)
        found: list[tuple[str, Key, Held]] = []
        turned: list[tuple[str, Key, bool, bool, bool]] = []
        for n, (pattern, life) in enumerate(zip(patterns, lives, strict=True)):
            held = answers[n][number]
            assert holding(fold, n) == set(held)
            detected, turns = life.after(set(held))
            found += [(f"P{n}", key, held[key]) for key in sorted(detected, key=lambda k: rank(pattern, k))]
            turned += [(f"P{n}", *turn) for turn in sorted(turns)]
        assert [(d.pattern, tuple(d.key.values())) for d in outcome.detections] == [(p, key) for p, key, _ in found]
        for detection, (_, _, why) in zip(outcome.detections, found, strict=True):
            assert detection.evidence["features"] == why.features
            ranks = detection.evidence.get("ranks", {})
            assert {name: (ranks[name]["value"], ranks[name]["population"]) for name in why.ranks} == why.ranks
            emit, shadow = pattern_life(patterns[int(detection.pattern[1:])])
            assert (detection.occasion, detection.shadow) == ("" if emit == "once" else str(number), shadow)
        turns_found = [(t.pattern, tuple(t.key.values()), t.holds, t.cleared, t.shadow) for t in outcome.turns]
        assert turns_found == turned


def rank(pattern: Drawn, key: Key) -> tuple[str, ...]:
    """What detections of one pattern and chunk are sorted by."""
    named = dict(zip(pattern.per, key, strict=True))
    return (named.get("customer", ""), named.get("merchant", ""), *key)


@settings(
    max_examples=EXAMPLES // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(drawn_patterns(), drawn_streams(), drawn_lookups, st.integers(2, 3))
def test_partitions_folded_apart_hold_what_the_whole_holds(
    pattern: Drawn, chunks: list[list[Row]], lookups: Lookups, buckets: int
) -> None:
    """The keys that a compiled pattern names as its partition divide the stream: each part can be folded alone."""
    whole = drawn_fold([pattern], lookups)
    parts = [drawn_fold([pattern], lookups) for _ in range(buckets if whole.program.plans[0].partition else 1)]
    keys = whole.program.plans[0].partition

    def part_of(row: Row) -> int:
        texts = texts_of(row, lookups)
        return sum("".join(texts[key] for key in keys).encode()) % len(parts)

    for number, chunk in enumerate(chunks):
        expected = step(whole, number, chunk)
        outcomes = [step(part, number, [row for row in chunk if part_of(row) == n]) for n, part in enumerate(parts)]
        assert set().union(*(holding(part) for part in parts)) == holding(whole)
        found = sorted((d for o in outcomes for d in o.detections), key=lambda d: rank(pattern, tuple(d.key.values())))
        assert found == list(expected.detections)
