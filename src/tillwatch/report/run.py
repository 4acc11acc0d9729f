"""A run in figures: what came in, what was found, how good it was, how fast it went; of a range of chunks.

Everything is read from the state, but for the sample rows of the quarantine. So the figures are a function of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tillwatch.errors import ObjectMissing
from tillwatch.report.timing import Lag, Ledger, published, read_ledger
from tillwatch.state.base import RuleSet, State, StoredDetection
from tillwatch.state.figures import FileRead, Found, Quarantined

FILES = 20
MERCHANTS = 10
NEWEST = 20
SAMPLES = 3
"""Rows shown of each reason."""

GROUPS = 120
"""Points of a picture along the log, at most."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row that was quarantined: where it was, why, and what is left of it as text."""

    file: str
    row: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks `first`…`last` of a pipeline in figures.

    `files` is how many files the chunks are of, `last_files` the last ones. `growth` is how many detections of each
    pattern there were in each group of `width` chunks. `firsts` are the first detections of each pattern in the range,
    `newest` the last ones of all, the very last first. `samples` are rows by reason code; None where the quarantine has
    the object of the chunk no more. `rules` are the patterns that were in force at one of the chunks.
    """

    first: int
    last: int
    ledger: Ledger
    files: int
    last_files: Sequence[FileRead]
    found: Sequence[Found]
    shadow: Sequence[Found]
    width: int
    growth: Mapping[str, Sequence[int]]
    merchants: Sequence[tuple[str, Mapping[str, int]]]
    firsts: Mapping[str, StoredDetection]
    newest: Sequence[StoredDetection]
    quarantined: Sequence[Quarantined]
    samples: Mapping[str, Sequence[Sample] | None]
    publishing: Lag | None
    rules: Sequence[RuleSet]
    started_at: str | None

    @property
    def detections(self) -> int:
        """All of them."""
        return sum(found.count for found in self.found)


def run_in_figures(state: State, first: int, last: int, rejected: Callable[[int], bytes]) -> Run:
    """The figures of chunks `first`…`last`. `rejected` gives what the quarantine has of a chunk.

    The caller holds a snapshot, so that all is of one moment. Memory grows with the number of chunks, some 50 bytes
    each, not with that of detections. Raises StateError, and StoreError as `rejected` does.
    """
    found = state.found(first, last)
    low, high = min((f.first_seq for f in found), default=1), max((f.last_seq for f in found), default=0)
    width = -(-(last - first + 1) // GROUPS)
    files, last_files = state.files_of_chunks(first, last, FILES)
    quarantined = sorted(state.quarantined_in(first, last), key=lambda q: (-q.rows, q.reason))
    ledger = read_ledger(state.chunk_figures(first, last))
    return Run(
        first,
        last,
        ledger,
        files,
        last_files,
        found,
        state.found(first, last, shadow=True),
        width,
        _growth(state, low, high, first, last, width),
        _merchants(state.top_merchants(low, high, MERCHANTS)),
        {f.pattern: next(state.detections(f.first_seq, f.first_seq)) for f in reversed(found)},
        list(state.detections(max(low, high - NEWEST + 1), high))[::-1],
        quarantined,
        {q.reason: _samples(q, rejected) for q in quarantined},
        published(ledger, state.seqs_of_chunks(low, high), state.files_planned()),
        _in_force(state.rule_sets(), first, last),
        state.started_at(),
    )


def _growth(state: State, low: int, high: int, first: int, last: int, width: int) -> dict[str, list[int]]:
    groups = (last - first) // width + 1
    found: dict[str, list[int]] = {}
    for group, pattern, count in state.growth(low, high, first, width):
        found.setdefault(pattern, [0] * groups)[group] = count
    return found


def _merchants(rows: Iterable[tuple[str, str, int]]) -> list[tuple[str, dict[str, int]]]:
    """Merchants with their detections by pattern, those with most first."""
    found: dict[str, dict[str, int]] = {}
    for merchant, pattern, count in rows:
        found.setdefault(merchant, {})[pattern] = count
    return sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))


def _samples(quarantined: Quarantined, rejected: Callable[[int], bytes]) -> list[Sample] | None:
    """The first rows of the reason in the last chunk that has some."""
    try:
        data = rejected(quarantined.last)
    except ObjectMissing:
        return None
    records = (json.loads(line) for line in data.decode().splitlines())
    mine = (record for record in records if record["code"] == quarantined.reason)
    return [_sample(record) for record, _ in zip(mine, range(SAMPLES), strict=False)]


def _sample(record: Mapping[str, object]) -> Sample:
    cells = record.get("row_data")
    text = ", ".join(_cells(cells)) if isinstance(cells, dict) else str(record.get("text"))
    return Sample(str(record["file"]), int(str(record["row"])), str(record["reason"]), text)


def _cells(cells: Mapping[str, object]) -> Iterator[str]:
    for name, value in cells.items():
        yield f"{name}: {'null' if value is None else value}"


def _in_force(sets: Sequence[RuleSet], first: int, last: int) -> list[RuleSet]:
    ends = [*(s.first for s in sets[1:]), last + 1]
    return [s for s, end in zip(sets, ends, strict=False) if s.first <= last and end > first]


def cumulated(counts: Sequence[int]) -> list[int]:
    """How many there were after each.

    >>> cumulated([2, 0, 3])
    [2, 2, 5]
    """
    return [int(n) for n in np.cumsum(counts)]
