"""Patterns and lookups that change at chunk boundaries give, after every chunk, what SQL says of those in force; so do
shards.

TILLWATCH_EXAMPLES sets how many patterns and streams are tried.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.engine.decode import Decoder, Detail
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.engine.joined import RowLookups
from tillwatch.engine.times import TimeRule
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.features import parse_filter
from tillwatch.patterns.history import following, joined
from tillwatch.patterns.program import Program
from tillwatch.testing.conditions import drawn_lookups, drawn_patterns, drawn_streams, filters
from tillwatch.testing.folding import DIGITS, KEYS, NAMES, Key, Lookups, Row, frame_of, lookup_data
from tillwatch.testing.prefixes import Prefixes
from tillwatch.testing.sharded import Sharded
from tillwatch.testing.terms import Drawn
from tillwatch.testing.windowed import timed_streams, windowed_patterns

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "120"))

Chosen = dict[str, Drawn]
"""Patterns by id, in the order configured."""

Told = list[tuple[str, Key]]

Later = list[tuple[int, Lookups]]
"""Versions of lookups, each from a chunk on."""


@st.composite
def edits(draw: st.DrawFn, patterns: st.SearchStrategy[Drawn]) -> tuple[list[Chosen], list[int]]:
    """Sets of patterns, some kept from one to the next, and after how many chunks each is edited."""
    known = draw(st.lists(patterns, min_size=2, max_size=4))
    sets = []
    for _ in range(draw(st.integers(2, 3))):
        ids = draw(st.permutations(["P", "Q"]).flatmap(lambda p: st.sampled_from([p, p[:1]])))
        sets.append({name: draw(st.sampled_from(known)) for name in ids})
    return sets, draw(st.lists(st.integers(1, 4), min_size=len(sets), max_size=len(sets)))


def history(sets: Sequence[Chosen], chunks: Sequence[int], lookups: Lookups) -> Program:
    """All of them as one program."""
    programs: list[Program] = []
    for chosen, chunk in zip(sets, chunks, strict=True):
        read = [read_pattern(p.file(name), "p.yaml", None, NAMES) for name, p in chosen.items()]
        program = Compiler(built_in_features(), {s.name: s for s in lookups}, DIGITS, NAMES).program(read)
        programs.append(following(programs[-1], program, chunk) if programs else program)
    return joined(programs, chunks)


class Lives:
    """What is to be detected and what turns, over sets; what the same id has for the same keys goes on."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, bool, tuple[str, ...]], set[Key]] = {}
        self._seen: dict[tuple[str, bool, tuple[str, ...]], set[Key]] = {}

    def after(self, name: str, pattern: Drawn, held: set[Key]) -> tuple[set[Key], set[Key], set[Key]]:
        """The keys detected, those that hold again, and those that ceased to hold."""
        life = (name, pattern.life.get("mode") == "shadow", pattern.per)
        before, seen = self._held.get(life, set()), self._seen.get(life, set())
        emit = pattern.life.get("emit", "once")
        silent = {"once": seen, "on_enter": before, "every_chunk": set[Key]()}[str(emit)]
        self._held[life], self._seen[life] = held, seen | held
        return held - silent, (held - before) & silent, before - held


def expected(
    sets: Sequence[Chosen],
    chunks: Sequence[int],
    stream: Sequence[list[Row]],
    lookups: Lookups,
    where: str,
    later: Later,
) -> list[Told]:
    """What is told after each chunk: detections in order, then turns, as text."""
    with Prefixes(stream, lookups, where, later) as sql:
        answers = [{name: sql.held(p) for name, p in chosen.items()} for chosen in sets]
    lives, told = Lives(), []
    for number in range(len(stream)):
        at = max(n for n, chunk in enumerate(chunks) if chunk <= number)
        detections: Told = []
        turns: Told = []
        for name, pattern in sets[at].items():
            found, again, fallen = lives.after(name, pattern, set(answers[at][name][number]))
            detections += [(name, key) for key in sorted(found, key=lambda k: _order(pattern, k))]
            mine = [(f"{name} again", key) for key in again] + [(f"{name} ceased", key) for key in fallen]
            turns += sorted(mine, key=lambda t: _order(pattern, t[1]))
        told.append(detections + turns)
    return told


def _order(pattern: Drawn, key: Key) -> tuple[str, ...]:
    named = dict(zip(pattern.per, key, strict=True))
    return (named.get("customer", ""), named.get("merchant", ""), *key)


def told_of(outcome: Outcome) -> Told:
    """The same of an outcome."""
    found = [(d.pattern, tuple(d.key.values())) for d in outcome.detections]
    turned = [(f"{t.pattern} {'again' if t.holds else 'ceased'}", tuple(t.key.values())) for t in outcome.turns]
    return found + turned


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(edits(drawn_patterns()), drawn_streams(), drawn_lookups, st.integers(1, 3), st.integers(1, 3))
def test_after_every_chunk_those_in_force_are_told(
    edited: tuple[list[Chosen], list[int]], stream: list[list[Row]], lookups: Lookups, buckets: int, size: int
) -> None:
    """Detections and turns are those of SQL over the patterns in force, a key once detected being so under its id."""
    check_edits(edited, stream, lookups, (None, "true"), buckets, size)


@st.composite
def versions(draw: st.DrawFn) -> Later:
    """Some lookups anew, at some of the first chunks."""
    found = []
    for chunk in sorted(draw(st.sets(st.integers(1, 6), max_size=3))):
        anew = draw(drawn_lookups)
        names = draw(st.sets(st.sampled_from(sorted(spec.name for spec in anew)), min_size=1))
        found.append((chunk, {spec: values for spec, values in anew.items() if spec.name in names}))
    return found


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(
    st.one_of(edits(drawn_patterns()), drawn_patterns().map(lambda p: ([{"P": p}], [1]))),
    drawn_streams(),
    drawn_lookups,
    versions(),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_lookups_that_change_are_those_of_the_chunk(
    edited: tuple[list[Chosen], list[int]],
    stream: list[list[Row]],
    lookups: Lookups,
    later: Later,
    buckets: int,
    size: int,
) -> None:
    """Keys that no row touches are judged by the new values too; also at the chunk of an edit."""
    check_edits(edited, stream, lookups, (None, "true"), buckets, size, later)


@settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(
    edits(windowed_patterns()),
    timed_streams(),
    drawn_lookups,
    st.one_of(st.just((None, "true")), filters()),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_edited_windows_are_told_too(
    edited: tuple[list[Chosen], list[int]],
    stream: list[list[Row]],
    lookups: Lookups,
    where: tuple[str | None, str],
    buckets: int,
    size: int,
) -> None:
    """The same of windows, over the rows that pass a filter."""
    check_edits(edited, stream, lookups, where, buckets, size)


def check_edits(
    edited: tuple[list[Chosen], list[int]],
    stream: list[list[Row]],
    lookups: Lookups,
    where: tuple[str | None, str],
    buckets: int,
    size: int,
    later: Later = [],  # noqa: B006 - nobody changes it
) -> None:
    """Folds the stream in one and in shards, and compares what is told with SQL.

    Shards hear of a version of a lookup with the batch that has its chunk.
    """
    sets, lengths = edited
    chunks = [0, *accumulate(lengths[1:])]
    program = history(sets, chunks, lookups)
    detail = Detail(
        TimeRule(kind=program.time_kind) if program.windows else None,
        amounts=any("amount" in table.grain for table in program.tables),
    )
    columns = (*KEYS, "amount", *(["time"] if program.windows else []))
    kept = parse_filter(where[0], NAMES) if where[0] else None
    data = [lookup_data(spec, values) for spec, values in lookups.items()]
    data += [lookup_data(spec, values, chunk) for chunk, some in later for spec, values in some.items()]
    by_row = RowLookups.of(data, {})
    decoder = Decoder({c: c for c in columns}, DIGITS, negative=True, detail=detail, where=kept, lookups=by_row)
    fold = Fold(program, decoder, data)
    decoded = decoder.decode([frame_of(chunk) for chunk in stream], range(len(stream)))
    told = expected(sets, chunks, stream, lookups, where[1], later)
    outcomes = [fold.step(n, chunk.rows, chunk.clock) for n, chunk in enumerate(decoded)]
    assert [told_of(o) for o in outcomes] == told
    with tempfile.TemporaryDirectory() as folder:
        sharded = Sharded(program, data, Path(folder), buckets)
        for start in range(0, len(decoded), size):
            if start // size % 2:
                sharded.forget()
            sharded.know([version for version in data if version.first < start + size])
            batch = list(enumerate(decoded))[start : start + size]
            found, turns = sharded.batch(decoder, batch)
            assert found == [d for o in outcomes[start : start + size] for d in o.detections]
            assert turns == [t for o in outcomes[start : start + size] for t in o.turns]
