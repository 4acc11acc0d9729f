"""Any condition of the pattern language holds, after every chunk, exactly where SQL over all rows so far says.

TILLWATCH_EXAMPLES sets how many patterns and streams are tried.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.engine.fold import Fold
from tillwatch.testing.conditions import KEYS, drawn_lookups, drawn_patterns, drawn_streams
from tillwatch.testing.folding import Key, Lookups, Row, fold_of, holding, pattern_text, step
from tillwatch.testing.prefixes import Held, Prefixes
from tillwatch.testing.terms import Drawn

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "250"))


def drawn_fold(patterns: Sequence[Drawn], lookups: Lookups) -> Fold:
    """The engine with these patterns, read from their text."""
    given = ((p.per, p.when.text, p.own, p.thresholds, f"P{n}", p.judge, p.life) for n, p in enumerate(patterns))
    return fold_of([pattern_text(*each) for each in given], lookups)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.lists(drawn_patterns(), min_size=1, max_size=2), drawn_streams(), drawn_lookups)
def test_a_condition_holds_where_sql_says_after_every_chunk(
    patterns: list[Drawn], chunks: list[list[Row]], lookups: Lookups
) -> None:
    """Keys that hold, detections with their evidence, and later turns are those of SQL over all rows so far."""
    fold = drawn_fold(patterns, lookups)
    with Prefixes(chunks, lookups) as sql:
        answers = [sql.held(p) for p in patterns]
    lives: list[Life] = [Life(p) for p in patterns]
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


def pattern_life(pattern: Drawn) -> tuple[str, bool]:
    """When its keys are detected, and whether it is in the shadow."""
    return str(pattern.life.get("emit", "once")), pattern.life.get("mode") == "shadow"


class Life:
    """What is to be detected, and what turns, given what holds after each chunk: said once more, over sets."""

    def __init__(self, pattern: Drawn) -> None:
        self._emit, self._shadow = pattern_life(pattern)
        self._cleared = bool(pattern.life.get("cleared")) and not self._shadow
        self._held: set[Key] = set()
        self._seen: set[Key] = set()

    def after(self, held: set[Key]) -> tuple[set[Key], list[tuple[Key, bool, bool, bool]]]:
        """The keys detected, and (key, holds, cleared, shadow) of the turns."""
        silent = {"once": self._seen, "on_enter": self._held, "every_chunk": set[Key]()}[self._emit]
        again = (held - self._held) & silent
        turns = [(key, False, self._cleared, self._shadow) for key in self._held - held]
        turns += [(key, True, False, self._shadow) for key in again]
        detected = held - silent
        self._held, self._seen = held, self._seen | held
        return detected, turns


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
    columns = [KEYS.index(key) for key in whole.program.plans[0].partition]
    for number, chunk in enumerate(chunks):
        expected = step(whole, number, chunk)
        outcomes = [
            step(
                part, number, [row for row in chunk if sum("".join(row[c] for c in columns).encode()) % len(parts) == n]
            )
            for n, part in enumerate(parts)
        ]
        assert set().union(*(holding(part) for part in parts)) == holding(whole)
        found = sorted((d for o in outcomes for d in o.detections), key=lambda d: rank(pattern, tuple(d.key.values())))
        assert found == list(expected.detections)
