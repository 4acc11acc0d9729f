"""One pattern folded again over the rows that can matter to one key.

The state of a pattern splits by its partition keys, so rows of other partitions are cut off before they are decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.config.yaml import suggestion
from tillwatch.detect.setup import Setup
from tillwatch.engine.decode import Decoded
from tillwatch.engine.filters import Filters
from tillwatch.engine.fold import Fold
from tillwatch.engine.joined import is_by_row
from tillwatch.errors import ConfigError
from tillwatch.history.reading import batches
from tillwatch.history.stepping import columns_of, compiled, fold_of, stepped
from tillwatch.landing import Landing
from tillwatch.model import Detection
from tillwatch.patterns.derived import Derived
from tillwatch.patterns.program import Grain, Plan, Program
from tillwatch.retry import Retry

_REWRITTEN = ("gender", "amount")
"""Keys that are more than cleaned: their text need not be part of the text as it came."""

Progress = Callable[[int, int], None]
"""Hears of chunks read, and chunks in all."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is: its chunk, and its number in the source file."""

    chunk: int
    file: str
    row: int


@dataclass(slots=True)
class KeyRows:
    """The valid rows of a key: how many there are, and where the newest of them are, oldest first."""

    newest: deque[Place]
    count: int = 0


def plan_of(program: Program, pattern: str) -> Plan:
    """The plan of a pattern. Raises ConfigError when it is not configured."""
    plans = {plan.pattern.id: plan for plan in program.plans}
    if pattern not in plans:
        raise ConfigError(f"there is no pattern '{pattern}' in this configuration; {suggestion(pattern, plans)}")
    return plans[pattern]


def alone(setup: Setup, pattern: str) -> Setup:
    """The setup with one of its patterns and what that needs; rows know their numbers.

    Raises ConfigError when it is not configured.
    """
    program, plan = setup.program, plan_of(setup.program, pattern)
    own = compiled(program, [plan.pattern])
    own = replace(own, plans=tuple(replace(p, first=plan.first) for p in own.plans))  # not judged before it was there
    used = {name for table in own.tables for name in table.lookups}
    lookups = [data for data in setup.lookups if data.spec.name in used or is_by_row(data.spec, setup.require)]
    return replace(setup, program=own, lookups=lookups, detail=replace(setup.detail, numbers=True))


def slot_of(fold: Fold, plan: Plan, key: Mapping[str, str]) -> int | None:
    """The slot of a key, None when no row of it has come that the pattern sees."""
    codes = {k: np.array([fold.decoder.dictionaries[k].code(key[k])], np.int64) for k in plan.per}
    table = fold.tables[plan.per]
    slot = int(table.slots_of(codes, 1)[0])
    return slot if table.columns[plan.present][slot] > 0 else None


@dataclass(slots=True)
class Refold:
    """The fold of one pattern for one key. `setup` is of that pattern alone; `newest` rows of the key are noted.

    `until` is a place, chunk and row, after which rows are not noted any more; None notes all.
    """

    setup: Setup
    key: Mapping[str, str]
    newest: int = 0
    until: tuple[int, int] | None = None
    fold: Fold = field(init=False)
    rows: KeyRows = field(init=False)
    detections: list[Detection] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.fold = fold_of(self.setup, self.setup.program)
        self.rows = KeyRows(deque(maxlen=self.newest))

    @property
    def plan(self) -> Plan:
        """The pattern."""
        return self.setup.program.plans[0]

    def read(self, landing: Landing, last: int, retry: Retry, on_progress: Progress) -> None:
        """Folds the chunks 0…last. Raises LogError."""
        for batch in batches(landing, range(last + 1), columns_of(self.setup), retry):
            numbers = [chunk.info.number for chunk in batch]
            frames = [possible_rows(chunk.frame, self.setup.columns, self._partition, self.key) for chunk in batch]
            for number, decoded, outcome in stepped(self.fold, numbers, frames):
                self._note(number, decoded)
                self.detections += [d for d in outcome.detections if d.key == self.key]
            on_progress(numbers[-1] + 1, last + 1)

    @property
    def _partition(self) -> Grain:
        """The keys by which rows can be cut off; where the clock of the stream matters, all rows are needed."""
        timed = self.setup.program.windows or self.setup.lateness.quarantine
        return () if timed else self.plan.partition

    def _note(self, number: int, decoded: Decoded) -> None:
        """Counts the rows of the key, and notes where the newest of them are."""
        places = decoded.rows.number
        assert places is not None  # `alone` asks for them
        mine = places[self._mine(decoded)]
        if self.until is not None and number == self.until[0]:
            mine = mine[mine <= self.until[1]]
        self.rows.count += len(mine)
        newest = mine[max(0, len(mine) - self.newest) :].tolist()
        self.rows.newest.extend(Place(number, decoded.rows.source, row) for row in newest)

    def _mine(self, decoded: Decoded) -> NDArray[np.bool_]:
        """Which of the rows that count are the key's, as the pattern sees them."""
        mine = np.ones(len(decoded.rows), np.bool_)
        for name in self.plan.per:
            mine &= decoded.rows.codes[name] == self.fold.decoder.dictionaries[name].code(self.key[name])
        if (where := self.plan.pattern.where) is not None:
            filters = Filters(self.fold.decoder.dictionaries, self.setup.program.digits)
            mine &= filters.mask(where, decoded.rows)
        return mine


def possible_rows(
    frame: pl.DataFrame, columns: Mapping[str, str | Derived], partition: Grain, key: Mapping[str, str]
) -> pl.DataFrame:
    """Without rows that are surely not of the key's partition: a clean text is always part of the text as it came.

    >>> frame = pl.DataFrame({"who": ["'Ann'", "Bob", None, "Anna"]})
    >>> possible_rows(frame, {"customer": "who"}, ("customer",), {"customer": "Ann"})["who"].to_list()
    ["'Ann'", None, 'Anna']
    """
    tests = [
        pl.col(column).str.contains(key[name], literal=True).fill_null(True)
        for name in partition
        if name not in _REWRITTEN
        and isinstance(column := columns.get(name), str)  # not worked out, and not brought by a lookup
        and frame.schema.get(column) == pl.String
    ]
    return frame.filter(*tests) if tests else frame
