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
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.engine.judge import Judge
from tillwatch.engine.late import Lateness
from tillwatch.model import Detection
from tillwatch.testing.conditions import drawn_lookups, filters
from tillwatch.testing.folding import KEYS, Key, Lookups, Row, fold_of, frame_of, holding, pattern_text, step, texts_of
from tillwatch.testing.lives import Life, RowLife, pattern_life
from tillwatch.testing.prefixes import Prefixes
from tillwatch.testing.terms import Drawn
from tillwatch.testing.windowed import COLUMNS, RowTruth, always_true, timed_streams, windowed_patterns

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "150"))
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
lateness = st.sampled_from([0, 0, 1_000_000, 2_500_000])
wheres = st.one_of(st.just((None, "true")), st.just((None, "true")), filters())


def files_of(patterns: Sequence[Drawn]) -> list[str]:
    """The files of patterns."""
    return [p.file(f"P{n}") for n, p in enumerate(patterns)]


def order(pattern: Drawn, key: Key) -> tuple[str, ...]:
    """What detections of one pattern and chunk are sorted by."""
    named = dict(zip(pattern.per, key, strict=True))
    return (named.get("customer", ""), named.get("merchant", ""), *key)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(st.lists(windowed_patterns(), min_size=1, max_size=2), timed_streams(), drawn_lookups, wheres, st.booleans())
def test_windows_hold_what_sql_says_after_every_chunk(
    patterns: list[Drawn],
    chunks: list[list[Row]],
    lookups: Lookups,
    where: tuple[str | None, str],
    restart: bool,
) -> None:
    """Keys that hold, detections with their evidence, and later turns are those of SQL over all rows so far that pass
    the filters, also when the fold is made again from its tables and the rows that its windows reach back to."""
    fold = fold_of(files_of(patterns), lookups, 0, where[0])
    with Prefixes(chunks, lookups, where[1]) as sql:
        answers = [sql.held(p) for p in patterns]
    lives = [Life(p) for p in patterns]
    for number, chunk in enumerate(chunks):
        if restart and number:
            fold = again(fold, patterns, chunks, lookups, number, 0, where[0])
        outcome = step(fold, number, chunk)
        found, turned = [], []
        for n, (pattern, life) in enumerate(zip(patterns, lives, strict=True)):
            held = answers[n][number]
            assert holding(fold, n) == set(held)
            detected, turns = life.after(set(held))
            found += [(f"P{n}", key, held[key]) for key in sorted(detected, key=lambda k: order(pattern, k))]
            turned += [(f"P{n}", *turn) for turn in sorted(turns)]
        assert [(d.pattern, tuple(d.key.values())) for d in outcome.detections] == [(p, key) for p, key, _ in found]
        assert [d.evidence["features"] for d in outcome.detections] == [why.features for _, _, why in found]
        assert turns_of(outcome) == turned


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(
    st.lists(windowed_patterns(judge="transaction"), min_size=1, max_size=2),
    timed_streams(),
    drawn_lookups,
    wheres,
    lateness,
    st.booleans(),
)
def test_transactions_are_judged_as_sql_says_on_every_row(
    patterns: list[Drawn],
    chunks: list[list[Row]],
    lookups: Lookups,
    where: tuple[str | None, str],
    late: int,
    restart: bool,
) -> None:
    """The first true row of each key is detected, or each that follows one that was not, or each, with the values
    before it; whether the last one was true is kept. Rows that do not pass the filters are neither judged nor counted.
    """
    fold = fold_of(files_of(patterns), lookups, late, where[0])
    truth = RowTruth(chunks, lookups, late, where[1])
    answers = [truth.true(p) for p in patterns]
    judged = [truth.seen(p) for p in patterns]
    truth.close()
    lives = [RowLife(p) for p in patterns]
    start = 0
    for number, chunk in enumerate(chunks):
        if restart and number:
            fold = again(fold, patterns, chunks, lookups, number, late, where[0])
        outcome = step(fold, number, chunk)
        expected: list[Detection] = []
        turned: list[tuple[str, Key, bool, bool, bool]] = []
        for n, (pattern, life) in enumerate(zip(patterns, lives, strict=True)):
            keys = {start + i: key_of(pattern, row, lookups) for i, row in enumerate(chunk) if start + i in judged[n]}
            found, turns = life.after([(key, place in answers[n], place) for place, key in keys.items()])
            made = [detection(pattern, n, number, keys[p], p - start + 1, answers[n][p]) for p in found]
            expected += sorted(made, key=lambda d: (d.customer, d.merchant, d.evidence["row"]))
            turned += [(f"P{n}", *turn) for turn in turns]
            assert holding(fold, n) == life.held
        assert list(outcome.detections) == expected
        assert turns_of(outcome) == turned
        start += len(chunk)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(always_true(), timed_streams())
def test_every_value_is_that_of_sql_after_every_chunk(pattern: Drawn, chunks: list[list[Row]]) -> None:
    """Also those of keys that no row of the chunk has touched."""
    fold = fold_of(files_of([pattern]))
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
    """Of all rows."""
    fold = fold_of(files_of([pattern]), lateness=late)
    truth = RowTruth(chunks, {}, late)
    answers = truth.true(pattern)
    truth.close()
    start = 0
    for number, chunk in enumerate(chunks):
        found = {d.evidence["row"]: d.evidence["features"] for d in step(fold, number, chunk).detections}
        assert found == {place + 1: answers[start + place] for place in range(len(chunk))}
        start += len(chunk)


def turns_of(outcome: Outcome) -> list[tuple[str, Key, bool, bool, bool]]:
    """Pattern, key, and what became of its detection."""
    return [(t.pattern, tuple(t.key.values()), t.holds, t.cleared, t.shadow) for t in outcome.turns]


def key_of(pattern: Drawn, row: Row, lookups: Lookups) -> Key:
    """A row's key, all of whose values are clean."""
    texts = texts_of(row, lookups) | {"amount": f"{float(row[len(KEYS)]):g}"}
    return tuple(texts[key] for key in pattern.per)


def detection(pattern: Drawn, n: int, chunk: int, key: Key, row: int, values: dict[str, object]) -> Detection:
    """What is to be detected."""
    columns = {k: v for k, v in values.items() if k in COLUMNS}
    features = {k: v for k, v in values.items() if k not in COLUMNS}
    evidence = {"chunk": chunk, "source": "", "row": row, "features": features, "columns": columns}
    emit, shadow = pattern_life(pattern)
    occasion = "" if emit == "once" else f"{chunk}:{row}"
    return Detection(chunk, f"P{n}", "A", dict(zip(pattern.per, key, strict=True)), evidence, occasion, shadow)


def again(
    fold: Fold,
    patterns: Sequence[Drawn],
    chunks: Sequence[Sequence[Row]],
    lookups: Lookups,
    number: int,
    late: int,
    where: str | None,
) -> Fold:
    """The fold made anew, as after a restart."""
    new = fold_of(files_of(patterns), lookups, late, where)
    snapshot.restore(new, [snapshot.whole_table(fold, t.spec.name) for t in fold.tables.values()])
    for n, judge in enumerate(fold.judges):
        slots = judge.detected.nonzero()[0]
        if len(slots):
            new.mark(n, fold.keys(judge.plan.per, slots), judge.holding[slots].tolist())
    if (reach := fold.reach(number)) is not None:
        new.resume(reach)
        for back in range(reach.first, number):
            (decoded,) = new.decoder.decode([frame_of(chunks[back])])
            new.remember(back, decoded.rows, decoded.clock)
    return new


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
@given(timed_streams(), lateness, wheres)
def test_late_rows_are_those_behind_the_clock_before_their_chunk(
    chunks: list[list[Row]], late: int, where: tuple[str | None, str]
) -> None:
    """Order within a chunk does not matter, nor whether a row would pass the filter: it moves the clock, or is late.
    A row that was set aside does not move the clock."""
    fold = fold_of([pattern_text(["customer"], "n >= 1", {"n": "count(*) within 2 steps"})], None, late, where[0])
    fold = Fold(fold.program, fold.decoder, (), Lateness(late, "some", quarantine=True))
    clock: float | None = None
    for number, chunk in enumerate(chunks):
        (decoded,) = fold.decoder.decode([frame_of(chunk)])
        admitted = fold.admit(decoded)
        times = [float(row[-1]) for row in chunk]
        wanted = [n for n, t in enumerate(times) if clock is not None and t < clock - late / 1_000_000]
        assert [(r.row, r.code) for r in admitted.rejects] == [(n, "late") for n in wanted]
        assert len(admitted.rows) + admitted.filtered == len(chunk) - len(wanted)
        fold.step(number, admitted.rows, admitted.clock)
        clock = max([*times, *([] if clock is None else [clock])])
