"""Any patterns, folded in shards whose state comes and goes as objects, give what one fold in one process gives.

TILLWATCH_EXAMPLES sets how many patterns and streams are tried.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.detect import snapshot
from tillwatch.engine.decode import Decoded
from tillwatch.engine.fold import PUNCTUAL, Fold, Outcome
from tillwatch.engine.late import Lateness
from tillwatch.model import Detection, Turn
from tillwatch.testing.conditions import drawn_lookups, drawn_patterns, drawn_streams, filters
from tillwatch.testing.folding import Lookups, Row, fold_of, frame_of, lookup_data
from tillwatch.testing.sharded import Sharded
from tillwatch.testing.terms import Drawn
from tillwatch.testing.windowed import timed_streams, windowed_patterns

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "40"))

cuts = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "forget", "lose", "save"])), min_size=1, max_size=8)
"""Batches: how many chunks each has, and what happens before it."""

wheres = st.one_of(st.none(), filters().map(lambda drawn: drawn[0]))
"""Which rows count, as text."""


def fold_and_chunks(
    patterns: list[Drawn], chunks: list[list[Row]], lookups: Lookups, lateness: Lateness, where: str | None
) -> tuple[Fold, list[Decoded]]:
    """The engine with these patterns, and the chunks decoded."""
    fold = fold_of([p.file(f"P{n}") for n, p in enumerate(patterns)], lookups, lateness, where)
    return fold, [decoded for chunk in chunks for decoded in fold.decoder.decode([frame_of(chunk)])]


def stepped(fold: Fold, number: int, chunk: Decoded) -> Outcome:
    """A chunk folded, without the rows that are late where these are quarantined."""
    admitted = fold.admit(chunk)
    return fold.step(number, admitted.rows, admitted.clock)


def tables_of(fold: Fold) -> dict[str, list[tuple[object, ...]]]:
    """The rows of all tables, without ids, in order."""
    found = {}
    for table in fold.tables.values():
        rows = snapshot.whole_table(fold, table.spec.name)
        columns = [v for c, v in rows.columns.items() if c != "id"]
        found[table.spec.name] = sorted(zip(*columns, strict=True), key=repr)
    return found


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(
    st.lists(drawn_patterns(), min_size=1, max_size=3),
    drawn_streams(),
    drawn_lookups,
    st.integers(1, 3),
    cuts,
    wheres,
)
def test_shards_give_what_the_whole_gives(
    patterns: list[Drawn],
    chunks: list[list[Row]],
    lookups: Lookups,
    buckets: int,
    batches: list[tuple[int, str]],
    where: str | None,
) -> None:
    """Detections with their evidence, turns, and tables are those of one fold, however batches are cut, whatever
    processes forget, and when a batch was folded that nobody committed."""
    check_shards(patterns, chunks, lookups, buckets, batches, where)


windowed = st.one_of(windowed_patterns(), windowed_patterns(judge="transaction"))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(
    st.lists(windowed, min_size=1, max_size=3),
    timed_streams(),
    drawn_lookups,
    st.integers(1, 3),
    cuts,
    wheres,
    st.sampled_from([0, 1_000_000]),
    st.booleans(),
)
def test_shards_with_windows_give_what_the_whole_gives(
    patterns: list[Drawn],
    chunks: list[list[Row]],
    lookups: Lookups,
    buckets: int,
    batches: list[tuple[int, str]],
    where: str | None,
    late: int,
    quarantine: bool,
) -> None:
    """The same holds of windows, by the clock of the whole stream, of patterns judged on transactions, and when late
    rows are quarantined."""
    check_shards(patterns, chunks, lookups, buckets, batches, where, Lateness(late, "some", quarantine))


def check_shards(
    patterns: list[Drawn],
    chunks: list[list[Row]],
    lookups: Lookups,
    buckets: int,
    batches: list[tuple[int, str]],
    where: str | None,
    lateness: Lateness = PUNCTUAL,
) -> None:
    """Folds the chunks in shards and in one, and compares all that comes of it."""
    fold, decoded = fold_and_chunks(patterns, chunks, lookups, lateness, where)
    detections: list[Detection] = []
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory() as folder:
        data = [lookup_data(spec, values) for spec, values in lookups.items()]
        sharded = Sharded(fold.program, data, Path(folder), buckets, lateness)
        sharded.forget()
        done = number = 0
        while done < len(decoded):
            size, before = batches[number % len(batches)]
            batch = list(enumerate(decoded))[done : done + size]
            if before == "forget":
                sharded.forget()
            elif before == "lose":
                sharded.lose(fold.decoder, batch)
            elif before == "save":
                sharded.save()
            found, turned = sharded.batch(fold.decoder, batch)
            detections += found
            turns += turned
            assert not sharded.objects.missing(sharded.manifest)
            done, number = done + size, number + 1
        sharded.save()
        sharded.restart()
        assert sharded.names == sharded.manifest.named
    outcomes = [stepped(fold, n, chunk) for n, chunk in enumerate(decoded)]
    assert detections == [d for o in outcomes for d in o.detections]
    assert turns == [t for o in outcomes for t in o.turns]
    assert {n: sorted(t.values(), key=repr) for n, t in sharded.tables.items()} == tables_of(fold)
    assert all(sorted(t) == list(range(len(t))) for t in sharded.tables.values())
