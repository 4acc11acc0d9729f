"""Windows, spreads, and patterns judged on transactions say what SQL over all rows says: every chunk, every row.

TILLWATCH_EXAMPLES sets how many patterns and streams are tried.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.detect import snapshot
from tillwatch.engine.evidence import evidence
from tillwatch.engine.fold import Fold
from tillwatch.engine.judge import Judge
from tillwatch.engine.late import Lateness
from tillwatch.model import Detection
from tillwatch.testing.conditions import drawn_lookups
from tillwatch.testing.folding import Key, Lookups, Row, fold_of, frame_of, holding, pattern_text, step
from tillwatch.testing.prefixes import Prefixes
from tillwatch.testing.terms import Drawn
from tillwatch.testing.windowed import COLUMNS, RowTruth, always_true, timed_streams, windowed_patterns

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "150"))
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
lateness = st.sampled_from([0, 0, 1_000_000, 2_500_000])


def texts_of(patterns: Sequence[Drawn]) -> list[str]:
    """The files of patterns."""
    return [pattern_text(p.per, p.when.text, p.own, p.thresholds, f"P{n}", p.judge) for n, p in enumerate(patterns)]


def order(pattern: Drawn, key: Key) -> tuple[str, ...]:
    """What detections of one pattern and chunk are sorted by."""
    named = dict(zip(pattern.per, key, strict=True))
    return (named.get("customer", ""), named.get("merchant", ""), *key)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(st.lists(windowed_patterns(), min_size=1, max_size=2), timed_streams(), drawn_lookups, st.booleans())
def test_windows_hold_what_sql_says_after_every_chunk(
    patterns: list[Drawn], chunks: list[list[Row]], lookups: Lookups, restart: bool
) -> None:
    """Keys that hold, detections with their evidence, and later turns are those of SQL over all rows so far, also
    when the fold is made again from its tables and the rows that its windows reach back to."""
    fold = fold_of(texts_of(patterns), lookups)
    with Prefixes(chunks, lookups) as sql:
        answers = [sql.held(p) for p in patterns]
    lives: list[dict[Key, bool]] = [{} for _ in patterns]
    for number, chunk in enumerate(chunks):
        if restart and number:
            fold = again(fold, patterns, chunks, lookups, number)
        outcome = step(fold, number, chunk)
        found, turned = [], []
        for n, (pattern, life) in enumerate(zip(patterns, lives, strict=True)):
            held = answers[n][number]
            assert holding(fold, n) == set(held)
            turned += [(f"P{n}", key, key in held) for key, before in life.items() if before != (key in held)]
            found += [(f"P{n}", key, held[key]) for key in sorted(held.keys() - life, key=lambda k: order(pattern, k))]
            life.update((key, key in held) for key in (*life, *held))
        assert [(d.pattern, tuple(d.key.values())) for d in outcome.detections] == [(p, key) for p, key, _ in found]
        assert [d.evidence["features"] for d in outcome.detections] == [why.features for _, _, why in found]
        assert [(t.pattern, tuple(t.key.values()), t.holds) for t in outcome.turns] == sorted(turned)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(
    st.lists(windowed_patterns(judge="transaction"), min_size=1, max_size=2),
    timed_streams(),
    drawn_lookups,
    lateness,
    st.booleans(),
)
def test_transactions_are_judged_as_sql_says_on_every_row(
    patterns: list[Drawn], chunks: list[list[Row]], lookups: Lookups, late: int, restart: bool
) -> None:
    """The first true row of each key is detected, with the values before it; whether the last one was true is kept."""
    fold = fold_of(texts_of(patterns), lookups, late)
    truth = RowTruth(chunks, lookups, late)
    answers = [truth.true(p) for p in patterns]
    truth.close()
    lives: list[dict[Key, bool]] = [{} for _ in patterns]
    start = 0
    for number, chunk in enumerate(chunks):
        if restart and number:
            fold = again(fold, patterns, chunks, lookups, number, late)
        outcome = step(fold, number, chunk)
        expected: list[Detection] = []
        turned: list[tuple[str, Key, bool]] = []
        for n, (pattern, life) in enumerate(zip(patterns, lives, strict=True)):
            now: dict[Key, bool] = {}
            found = []
            for row, place in zip(chunk, range(start, start + len(chunk)), strict=True):
                key = key_of(pattern, row)
                now[key] = place in answers[n]
                if now[key] and key not in life:
                    life[key] = True
                    found.append(detection(pattern, n, number, key, place - start + 1, answers[n][place]))
            expected += sorted(found, key=lambda d: order(pattern, tuple(d.key.values())))
            turned += [(f"P{n}", k, now[k]) for k, before in life.items() if k in now and before != now[k]]
            life.update({k: now[k] for k in life if k in now})
            assert holding(fold, n) == {k for k, true in life.items() if true}
        assert list(outcome.detections) == expected
        assert [(t.pattern, tuple(t.key.values()), t.holds) for t in outcome.turns] == sorted(turned)
        start += len(chunk)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(always_true(), timed_streams())
def test_every_value_is_that_of_sql_after_every_chunk(pattern: Drawn, chunks: list[list[Row]]) -> None:
    """Also those of keys that no row of the chunk has touched."""
    fold = fold_of(texts_of([pattern]))
    (judge,) = fold.judges
    assert isinstance(judge, Judge)
    with Prefixes(chunks, {}) as sql:
        answers = sql.held(pattern)
    for number, chunk in enumerate(chunks):
        step(fold, number, chunk)
        slots = judge.holding.nonzero()[0]
        keys = [tuple(key.values()) for key in fold.keys(judge.plan.per, slots)]
        shown = [each["features"] for each in evidence(judge.condition, slots, number)]
        assert dict(zip(keys, shown, strict=True)) == {key: held.features for key, held in answers[number].items()}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(always_true(judge="transaction"), timed_streams(), lateness)
def test_every_value_before_a_row_is_that_of_sql(pattern: Drawn, chunks: list[list[Row]], late: int) -> None:
    """Of the first row of each key in each chunk; the keys are such that this is nearly every row."""
    fold = fold_of(texts_of([pattern]), lateness=late)
    truth = RowTruth(chunks, {}, late)
    answers = truth.true(pattern)
    truth.close()
    start = 0
    for number, chunk in enumerate(chunks):
        fold.judges[0].detected[:] = False
        found = {d.evidence["row"]: d.evidence["features"] for d in step(fold, number, chunk).detections}
        rows = {key_of(pattern, row): place for place, row in reversed([*enumerate(chunk)])}
        assert found == {place + 1: answers[start + place] for place in rows.values()}
        start += len(chunk)


def key_of(pattern: Drawn, row: Row) -> Key:
    """A row's key, all of whose values are clean."""
    return tuple(f"{float(row[4]):g}" if k == "amount" else row[COLUMNS.index(k)] for k in pattern.per)


def detection(pattern: Drawn, n: int, chunk: int, key: Key, row: int, values: dict[str, object]) -> Detection:
    """What is to be detected."""
    columns = {k: v for k, v in values.items() if k in COLUMNS}
    features = {k: v for k, v in values.items() if k not in COLUMNS}
    evidence = {"chunk": chunk, "source": "", "row": row, "features": features, "columns": columns}
    return Detection(chunk, f"P{n}", "A", dict(zip(pattern.per, key, strict=True)), evidence)


def again(
    fold: Fold, patterns: Sequence[Drawn], chunks: Sequence[Sequence[Row]], lookups: Lookups, number: int, late: int = 0
) -> Fold:
    """The fold made anew, as after a restart."""
    new = fold_of(texts_of(patterns), lookups, late)
    snapshot.restore(new, [snapshot.whole_table(fold, t.spec.name) for t in fold.tables.values()])
    for at, judge in enumerate(fold.judges):
        slots = judge.detected.nonzero()[0]
        if len(slots):
            new.mark(at, fold.keys(judge.plan.per, slots), judge.holding[slots].tolist())
    if (reach := fold.reach(number)) is not None:
        new.resume(reach)
        for back in range(reach.first, number):
            (decoded,) = new.decoder.decode([frame_of(chunks[back])])
            new.remember(back, decoded.rows)
    return new


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(timed_streams(), lateness)
def test_late_rows_are_those_behind_the_clock_before_their_chunk(chunks: list[list[Row]], late: int) -> None:
    """Order within a chunk does not matter, and a row that was set aside does not move the clock."""
    fold = fold_of([pattern_text(["customer"], "n >= 1", {"n": "count(*) within 2 steps"})], lateness=late)
    fold = Fold(fold.program, fold.decoder, (), Lateness(late, "some", quarantine=True))
    clock: float | None = None
    for number, chunk in enumerate(chunks):
        (decoded,) = fold.decoder.decode([frame_of(chunk)])
        admitted = fold.admit(decoded)
        times = [float(row[5]) for row in chunk]
        wanted = [n for n, t in enumerate(times) if clock is not None and t < clock - late / 1_000_000]
        assert [(r.row, r.code) for r in admitted.rejects] == [(n, "late") for n in wanted]
        assert len(admitted.rows) == len(chunk) - len(wanted)
        fold.step(number, admitted.rows)
        clock = max([*times, *([] if clock is None else [clock])])
