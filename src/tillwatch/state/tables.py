"""The tables of running values, one per grain: their shape, and the SQL made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tillwatch.errors import StateError

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table of running values: key columns (text), counters (scaled integers), lookup values (real).

    `view` maps the names of features to SQL over the counters: what people read.
    """

    name: str
    keys: tuple[str, ...]
    counters: tuple[str, ...]
    lookups: tuple[str, ...]
    view: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in (self.name, *self.keys, *self.counters, *self.lookups, *self.view):
            if not _PLAIN.fullmatch(name):
                raise StateError(f"'{name}' cannot be a name in the state: use letters, digits and _")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, `id` first."""
        return ("id", *self.keys, *self.counters, *self.lookups)


def create_sql(shape: TableShape) -> list[str]:
    """Statements that make the table and its view, where they are not there."""
    columns = [
        "id INTEGER PRIMARY KEY",
        *(f'"{k}" TEXT NOT NULL' for k in shape.keys),
        *(f'"{c}" INTEGER NOT NULL' for c in shape.counters),
        *(f'"{name}" REAL' for name in shape.lookups),
    ]
    shown = [f'"{k}"' for k in shape.keys] + [f'{sql} AS "{name}"' for name, sql in shape.view.items()]
    return [
        f'CREATE TABLE IF NOT EXISTS "{shape.name}" ({", ".join(columns)}) STRICT',
        f'CREATE VIEW IF NOT EXISTS "{shape.name}_stats" AS SELECT {", ".join(shown)} FROM "{shape.name}"',  # noqa: S608
    ]


def upsert_sql(shape: TableShape) -> str:
    """A statement that puts a row, all columns bound."""
    names = ", ".join(f'"{c}"' for c in shape.columns)
    marks = ", ".join("?" * len(shape.columns))
    return f'INSERT OR REPLACE INTO "{shape.name}" ({names}) VALUES ({marks})'  # noqa: S608 - names are checked


def select_sql(shape: TableShape) -> str:
    """A statement that reads all rows, by id."""
    names = ", ".join(f'"{c}"' for c in shape.columns)
    return f'SELECT {names} FROM "{shape.name}" ORDER BY id'  # noqa: S608 - names are checked
