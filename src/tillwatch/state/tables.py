"""The tables of running values, one per grain: their shape, and the SQL made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tillwatch.errors import StateError

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_WELL_KNOWN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "merchant_transaction_counts": (("merchant",), ("transactions",)),
    "merchant_gender_stats": (("merchant",), ("female_customers", "male_customers")),
}
"""Views with names that people know: the keys of their table, and the features without which there is none.

`customer_merchant_stats` needs no mention: it is the view of all features of the table `customer_merchant`.
"""


@dataclass(frozen=True, slots=True)
class Types:
    """The names of a store's column types, and what a table's definition ends with."""

    text: str
    integer: str
    real: str
    end: str = ""


SQLITE = Types("TEXT", "INTEGER", "REAL", " STRICT")
POSTGRES = Types('text COLLATE "C"', "bigint", "double precision")


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table of running values: key columns (text), counters (scaled integers), lookup values (real).

    `view` maps the names of features to SQL over the counters: what people read. REAL in it is of 64 bits.
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

    def types(self, types: Types) -> tuple[str, ...]:
        """The type of each column."""
        counters, lookups = [types.integer] * len(self.counters), [types.real] * len(self.lookups)
        return (types.integer, *[types.text] * len(self.keys), *counters, *lookups)


def shapes_text(shapes: Sequence[TableShape]) -> str:
    """Shapes as they are kept in the state, in JSON."""
    return json.dumps([asdict(shape) for shape in shapes])


def shapes_from(text: str) -> list[TableShape]:
    """The shapes that `shapes_text` was given.

    >>> shape = TableShape("merchant", ("merchant",), ("transactions",), (), {"transactions": '"transactions"'})
    >>> shapes_from(shapes_text([shape])) == [shape]
    True
    """

    def shape(name: str, keys: Any, counters: Any, lookups: Any, view: Mapping[str, str]) -> TableShape:
        return TableShape(name, tuple(keys), tuple(counters), tuple(lookups), view)

    return [shape(**fields) for fields in json.loads(text)]


def create_sql(shape: TableShape, types: Types) -> dict[str, str]:
    """The statements that make the table and its views, each under the name of what it makes.

    >>> shape = TableShape("merchant", ("merchant",), ("transactions",), (), {"transactions": '"transactions"'})
    >>> list(create_sql(shape, SQLITE))
    ['merchant', 'merchant_stats', 'merchant_transaction_counts']
    """
    kinds = dict(zip(shape.columns, shape.types(types), strict=True))
    needed = {name: "" if name in shape.lookups else " NOT NULL" for name in shape.columns}
    columns = ", ".join(f'"{name}" {kind}{needed[name]}' for name, kind in kinds.items())
    made = {shape.name: f'CREATE TABLE "{shape.name}" ({columns}, PRIMARY KEY ("id")){types.end}'}
    made[f"{shape.name}_stats"] = _view(f"{shape.name}_stats", shape, list(shape.view), types)
    for name, (keys, features) in _WELL_KNOWN.items():
        if shape.keys == keys and set(features) <= set(shape.view) and name not in made:
            made[name] = _view(name, shape, features, types)
    return made


def drop_sql(shape: TableShape, types: Types) -> list[str]:
    """The statements that remove what `create_sql` makes.

    >>> shape = TableShape("merchant", ("merchant",), ("transactions",), (), {"transactions": '"transactions"'})
    >>> drop_sql(shape, SQLITE)[-1]
    'DROP TABLE IF EXISTS "merchant"'
    """
    *views, table = reversed(create_sql(shape, types))
    return [*(f'DROP VIEW IF EXISTS "{view}"' for view in views), f'DROP TABLE IF EXISTS "{table}"']


def _view(name: str, shape: TableShape, features: Sequence[str], types: Types) -> str:
    values = {feature: re.sub(r"\bAS REAL\b", f"AS {types.real}", shape.view[feature]) for feature in features}
    shown = [f'"{key}"' for key in shape.keys] + [f'{sql} AS "{feature}"' for feature, sql in values.items()]
    return f'CREATE VIEW "{name}" AS SELECT {", ".join(shown)} FROM "{shape.name}"'  # noqa: S608 - names are checked


def select_sql(shape: TableShape) -> str:
    """A statement that reads all rows, by id."""
    names = ", ".join(f'"{column}"' for column in shape.columns)
    return f'SELECT {names} FROM "{shape.name}" ORDER BY id'  # noqa: S608 - names are checked


def part_sql(shape: TableShape, first: int, last: int) -> str:
    """A statement that reads the rows with these ids, by id."""
    return select_sql(shape).replace(" ORDER BY", f" WHERE id BETWEEN {first:d} AND {last:d} ORDER BY")


def size_sql(shape: TableShape) -> str:
    """A statement that says how many rows there are: ids are 0, 1, 2 …"""
    return f'SELECT coalesce(max(id) + 1, 0) FROM "{shape.name}"'  # noqa: S608 - names are checked
