"""The running values of all keys as the state has saved them, read into the engine's tables: nothing else is needed.

Neither the landing zone nor a lookup is read. The state saves its tables from time to time, so what they hold may be
some chunks behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tillwatch.compose import Composed, compose
from tillwatch.config import Settings
from tillwatch.detect.snapshot import shapes as shapes_of
from tillwatch.engine.decode import Decoder
from tillwatch.engine.fold import Fold
from tillwatch.engine.table import Table
from tillwatch.errors import StateError, StateMissing
from tillwatch.patterns.program import Grain, Plan
from tillwatch.patterns.rules import from_text
from tillwatch.state.base import State
from tillwatch.state.tables import TableShape

Ints = NDArray[np.int64]

MOST = 2_000_000
"""Keys, of all tables together, that are read, at some 300 bytes each; a state with more is not."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The tables of the patterns in force, before chunk `chunks`; `fold` holds them, and has judged nothing.

    `negative` says whether amounts may be.
    """

    fold: Fold
    chunks: int
    keys: int
    negative: bool

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The patterns in force."""
        return self.fold.program.plans


def standing(state: State, settings: Settings, most: int = MOST) -> Standing:
    """Reads the tables of a state. To be called within a `snapshot` of it.

    Raises StateMissing when none were saved yet, StateError when there are more than `most` keys or the
    tables are not those of the patterns in force, and ConfigError or PatternError when these cannot be read any more.
    """
    records, chunks = state.rule_sets(), state.cursor().tables
    if not records or not chunks:
        raise StateMissing("detect has not saved its running values yet")
    composed = compose(settings, rules=from_text(records[-1].rules))
    shapes = _saved_shapes(state, composed)
    keys = sum(state.rows_in(shape) for shape in shapes.values())
    if keys > most:
        raise StateError(f"there are {keys:,} keys in the state, and no more than {most:,} are read for this")
    decoder = Decoder(composed.columns, settings.amounts.digits, optional=composed.optional, detail=composed.detail)
    fold = Fold(composed.program, decoder)
    for grain in sorted(fold.tables, key=len):  # coarser tables first: finer ones refer to their slots
        _read(state, fold, grain, shapes[grain])
    return Standing(fold, chunks, keys, settings.amounts.negative)


def _saved_shapes(state: State, composed: Composed) -> dict[Grain, TableShape]:
    """By grain the table with the columns that the program needs of it."""
    saved = {shape.name: shape for shape in state.shapes()}
    wanted = {shape.keys: shape for shape in shapes_of(composed.program)}
    for shape in wanted.values():
        there = saved.get(shape.name)
        if there is None or not set(shape.columns) <= set(there.columns):
            raise StateError(f"the table {shape.name} of the state is not that of the patterns in force")
    return wanted


def _read(state: State, fold: Fold, grain: Grain, shape: TableShape) -> None:
    """Fills a table of the fold."""
    codes: dict[str, list[Ints]] = {key: [] for key in shape.keys}
    counters: dict[str, list[Ints]] = {name: [] for name in shape.counters}
    lookups: dict[str, list[NDArray[np.float64]]] = {name: [] for name in shape.lookups}
    rows = 0
    for part in state.table_parts(shape):
        _check_ids(part, rows, shape)
        rows += len(part["id"])
        for key, found in codes.items():
            found.append(np.array(fold.decoder.dictionaries[key].codes(map(str, part[key])), np.int64))
        for name, numbers in counters.items():
            numbers.append(np.array(part[name], np.int64))
        for name, values in lookups.items():
            values.append(np.array(part[name], np.float64))  # None, which is unknown, becomes nan
    if not rows:
        return
    fold.load(grain, {key: np.concatenate(c) for key, c in codes.items()}, _joined(counters))
    for name, values in lookups.items():
        _join(fold.tables[grain], name, np.concatenate(values), fold.program.lookups[name].kind == "float")


def _check_ids(part: Mapping[str, tuple[object, ...]], first: int, shape: TableShape) -> None:
    if part["id"] != tuple(range(first, first + len(part["id"]))):
        raise StateError(f"the table {shape.name} of the state has gaps in its ids: it was changed by hand")


def _joined(counters: Mapping[str, list[Ints]]) -> dict[str, Ints]:
    return {name: np.concatenate(parts) for name, parts in counters.items()}


def _join(table: Table, name: str, values: NDArray[np.float64], real: bool) -> None:
    """The values of a lookup as the state has them, those that are no floats as integers again."""
    joined, known = table.lookups[name], ~np.isnan(values)
    whole = np.where(known, values, 0)
    kept = whole if real else whole.astype(np.int64)
    joined.value = np.concatenate([kept, np.zeros(len(joined.value) - len(kept), kept.dtype)])
    joined.known[: len(known)] = known
