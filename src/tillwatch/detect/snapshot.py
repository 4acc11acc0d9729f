"""The fold's tables as rows of the state store, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Decoder
from tillwatch.engine.fold import Fold
from tillwatch.errors import StateError
from tillwatch.patterns.features import Feature, plain_filter
from tillwatch.patterns.program import Grain, Program, TableSpec
from tillwatch.state.base import TableRows
from tillwatch.state.tables import TableShape

Ints = NDArray[np.int64]

ROWS = 50_000
"""Rows of a table that are dumped at a time."""


def shapes(program: Program) -> list[TableShape]:
    """The tables that a state store keeps for a program."""
    return [
        TableShape(t.name, t.grain, tuple(a.name for a in t.accumulators), t.lookups, _view(t, program))
        for t in program.tables
    ]


def _view(table: TableSpec, program: Program) -> dict[str, str]:
    """The features that this table's counters give, as SQL, then its lookups."""
    unit = 10**program.digits
    shown: dict[str, str] = {}
    own = [f for plan in program.plans for f in plan.pattern.features.values()]
    for feature in (*program.features.values(), *own):
        if (sql := _feature_sql(feature, table, unit)) is not None:
            shown.setdefault(feature.name, sql)
    kinds = {name: program.lookups[name].kind for name in table.lookups}
    return shown | {name: f'"{name}"' + (f" / {unit}" if k == "decimal" else "") for name, k in kinds.items()}


def _feature_sql(feature: Feature, table: TableSpec, unit: int) -> str | None:
    kept: dict[tuple[Any, ...], str] = {(a.op, a.column, a.where, a.window): a.name for a in table.accumulators}
    rows = (plain_filter(feature.where), feature.window)
    count = kept.get(("count", None, *rows))
    if feature.kind in ("count", "distinct"):
        name = count if feature.kind == "count" else kept.get(("distinct", feature.column, *rows))
        return f'"{name}"' if name else None
    value = kept.get(("sum" if feature.kind == "avg" else feature.kind, feature.column, *rows))
    if value is None or count is None:
        return None
    divisor = f'("{count}" * {unit})' if feature.kind == "avg" else unit
    # As in the engine, and in SQL: unknown where no row counts.
    return f'CASE WHEN "{count}" > 0 THEN CAST("{value}" AS REAL) / {divisor} END'


def dump(fold: Fold, dirty: Mapping[Grain, Ints]) -> Iterator[TableRows]:
    """The rows of these slots, some at a time: as Python's numbers and texts all of them could fill the memory."""
    for grain, slots in dirty.items():
        for start in range(0, len(slots), ROWS):
            yield rows_of(fold, grain, slots[start : start + ROWS])


def whole(fold: Fold) -> Iterator[TableRows]:
    """All rows of all tables, some at a time."""
    return dump(fold, {grain: np.arange(table.size) for grain, table in fold.tables.items()})


def whole_table(fold: Fold, name: str) -> TableRows:
    """All rows of the table of that name."""
    grain, table = next((g, t) for g, t in fold.tables.items() if t.spec.name == name)
    return rows_of(fold, grain, np.arange(table.size))


def rows_of(fold: Fold, grain: Grain, slots: Ints) -> TableRows:
    """The rows of these slots, whose ids they are."""
    table = fold.tables[grain]
    columns: dict[str, Sequence[object]] = {"id": slots.tolist()}
    for key in grain:
        columns[key] = fold.decoder.dictionaries[key].texts(table.keys[key][slots])
    for name, column in table.columns.items():
        columns[name] = column[slots].tolist()
    for name, joined in table.lookups.items():
        known = joined.known[slots].tolist()
        columns[name] = [v if k else None for v, k in zip(joined.value[slots].tolist(), known, strict=True)]
    return TableRows(table.spec.name, columns)


def restore(fold: Fold, tables: Sequence[TableRows]) -> None:
    """Fills a fold that has seen nothing with the rows of all tables."""
    by_name = {t.name: t for t in tables}
    order = sorted(fold.tables, key=len)  # coarser tables first: finer ones refer to their slots
    for grain in order:
        rows = by_name[fold.tables[grain].spec.name]
        fold.load(grain, {k: _codes(fold.decoder, k, rows.columns[k]) for k in grain}, _counters(fold, grain, rows))


def _codes(decoder: Decoder, key: str, texts: Sequence[str]) -> Ints:
    return np.array(decoder.dictionaries[key].codes(texts), np.int64)


def _counters(fold: Fold, grain: Grain, rows: TableRows) -> dict[str, Ints]:
    ids = rows.columns["id"]
    if list(ids) != list(range(len(ids))):
        raise StateError(
            f"the table {rows.name} of the state has gaps in its ids: it was changed by hand. "
            "Remove the state; it is rebuilt from the landing zone."
        )
    return {name: np.array(rows.columns[name], np.int64) for name in fold.tables[grain].columns}
