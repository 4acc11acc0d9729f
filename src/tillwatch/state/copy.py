"""A pipeline's state from one store to another, SQLite or PostgreSQL, either way; proved equal row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest

from tillwatch.errors import StateError
from tillwatch.state.base import TableRows
from tillwatch.state.sql_rows import Row
from tillwatch.state.sql_state import SqlState

_KEYS = {
    "files": ("number",),
    "chunks": ("number",),
    "quarantine": ("chunk", "reason"),
    "marked": ("chunk", "lookup"),
    "detections": ("seq",),
    "turns": ("seq", "chunk"),
    "shadow_detections": ("seq",),
    "shadow_turns": ("seq", "chunk"),
    "cleared": ("number",),
    "cleared_outbox": ("first_number",),
    "outbox": ("first_seq",),
    "deliveries": ("output", "first_seq"),
    "meta": ("key",),
    "rule_sets": ("number",),
    "lookup_versions": ("name", "number"),
}
_DETECTION = ("chunk", "pattern", "action", "key", "detected_at", "holds", "evidence", "occasion")
_VALUES = {
    "files": ("name", "size", "modified", "id", "revision", "status", "rows", "digest", "problem"),
    "chunks": (
        *("file", "first_row", "rows", "digest"),
        *("counted", "quarantined", "filtered", "processed_at", "bytes", "landed_at"),
    ),
    "quarantine": ("rows",),
    "marked": ("rows",),
    "detections": _DETECTION,
    "turns": ("holds",),
    "shadow_detections": _DETECTION,
    "shadow_turns": ("holds",),
    "cleared": ("seq", "chunk", "cleared_at"),
    "cleared_outbox": ("last_number", "name", "published_at"),
    "outbox": ("last_seq", "name", "published_at"),
    "deliveries": ("delivered_at",),
    "meta": ("value",),
    "rule_sets": ("first_chunk", "hash", "meaning", "rules", "taken_at"),
    "lookup_versions": ("first_chunk", "digest", "rows", "kept", "taken_at"),
}

TABLES = {table: (*key, *_VALUES[table]) for table, key in _KEYS.items()}
"""Every table but those of running values, with the columns that are not made from others."""


def copy_state(source: SqlState, target: SqlState) -> int:
    """Copies all that the source holds into the target, which is empty, and compares the two. Returns the rows.

    Holds the leases of both mechanisms in both, so nobody works meanwhile. A copy that does not come to its end
    leaves the target empty. Raises LeaseHeld, and StateError when the target is not empty, or with the first row
    that is not the same in both.
    """
    with _nobody_at_work(source), _nobody_at_work(target):
        _check_empty(target)
        shapes = source.shapes()
        if shapes:
            target.make_tables(shapes)
        target.fill(
            {(table, columns): _copied(source, table) for table, columns in TABLES.items()},
            [source.load_table(shape) for shape in shapes],
        )
        rows = sum(_compare(table, _all(source, table), _all(target, table)) for table in TABLES)
        for shape in shapes:
            there, here = _by_row(source.load_table(shape)), _by_row(target.load_table(shape))
            rows += _compare(shape.name, there, here)
    return rows


@contextmanager
def _nobody_at_work(state: SqlState) -> Iterator[None]:
    with state.lease("ingest"), state.lease("detect"):
        yield


def _check_empty(target: SqlState) -> None:
    for table in TABLES:
        if any(True for _ in _copied(target, table)):
            raise StateError(f"{target.uri} is not empty, there are rows in the table {table}: choose another place")


def _all(state: SqlState, table: str) -> Iterator[Row]:
    return state.contents(table, TABLES[table], _KEYS[table])


def _copied(state: SqlState, table: str) -> Iterator[Row]:
    """The rows that are to be copied: not the facts that a state has of itself, however empty it is."""
    return (row for row in _all(state, table) if table != "meta" or row[0] not in ("schema", "shapes"))


def _by_row(rows: TableRows) -> Iterator[Row]:
    return zip(*rows.columns.values(), strict=True)


def _compare(table: str, there: Iterator[Row], here: Iterator[Row]) -> int:
    """How many rows there are. Raises StateError with the first that differs."""
    count = 0
    for count, (a, b) in enumerate(zip_longest(there, here), 1):
        if a != b:
            raise StateError(f"the copy is not equal: row {count} of {table} is {a} in the source and {b} in the copy")
    return count
