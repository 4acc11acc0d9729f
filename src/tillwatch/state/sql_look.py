"""The questions of those who look, in SQL that every store speaks."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tillwatch.errors import StateError
from tillwatch.model import Detection
from tillwatch.state.base import StoredDetection
from tillwatch.state.look import NO_END, ChunkTimes, Flow, Pulse, Span, Stage, Wanted
from tillwatch.state.sql_rows import Row
from tillwatch.state.tables import TableShape

LAST_TIME = "9999"
"""After every time."""


class SqlLook(ABC):
    """Reads only. What a value may be is bound, never pasted in."""

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows that a query gives. Raises StateError."""

    @abstractmethod
    def shapes(self) -> list[TableShape]:
        """The tables of running values."""

    def pulse(self) -> Pulse:
        (row,) = self._rows("pulse")
        landed, cursor, tables, *rest = row
        return Pulse(landed, int(cursor), int(tables), *rest)

    def flow(self, stage: Stage, first: int, since: str) -> list[Flow]:
        return [Flow(*row) for row in self._rows(f"flow_{stage}", (first, since))]

    def chunk_times(self, first: int, last: int) -> list[ChunkTimes]:
        return [ChunkTimes(*row) for row in self._rows("chunk_times", (first, last))]

    def actions(self) -> list[tuple[str, str, int]]:
        return [(pattern, action, count) for pattern, action, count in self._rows("actions")]

    def newest(self, wanted: Wanted, before: int = NO_END, limit: int = 100) -> list[StoredDetection]:
        found = []
        for row in self._rows("newest", (before, *_values(wanted), limit)):
            seq, chunk, pattern, action, key, at, holds, evidence, occasion = row
            detection = Detection(chunk, pattern, action, json.loads(key), json.loads(evidence), occasion)
            found.append(StoredDetection(seq, detection, at, bool(holds), None))
        return found

    def span(self, wanted: Wanted) -> Span:
        (row,) = self._rows("span", _values(wanted))
        return Span(*row)

    def counts(self, wanted: Wanted, length: int) -> list[tuple[str, str, int]]:
        rows = self._rows("counts", (length, *_values(wanted)))
        return [(pattern, period, count) for pattern, period, count in rows]

    def feature_rows(
        self, table: str, columns: Sequence[str], keys: Mapping[str, str], limit: int
    ) -> list[tuple[Any, ...]]:
        shape = next((shape for shape in self.shapes() if shape.name == table), None)
        if shape is None:
            raise StateError(f"the state has no table {table}")
        if missing := [c for c in (*columns, *keys) if c not in shape.view and c not in shape.keys]:
            raise StateError(f"the table {table} of the state has no {', '.join(missing)}")
        names = ", ".join(f'"{name}"' for name in columns)
        tests = "".join(f' AND "{name}" = ?' for name in keys)
        view = f'SELECT {names} FROM "{table}_stats" WHERE 1 = 1{tests} LIMIT ?'  # noqa: S608 - names are checked
        return list(self._rows(view, (*keys.values(), limit)))


def _values(wanted: Wanted) -> tuple[Any, ...]:
    """What the statements bind for it, in their order."""
    text = "%"
    if wanted.text:
        part = json.dumps(wanted.text, ensure_ascii=False)[1:-1]
        for character in "!%_":
            part = part.replace(character, f"!{character}")
        text = f'%": "%{part}%'
    keys = (wanted.pattern, wanted.action, wanted.customer, wanted.merchant)
    return (*keys, wanted.since or "", wanted.until or LAST_TIME, text)
