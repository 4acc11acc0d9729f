"""A pipeline's state from one store to another, SQLite or PostgreSQL, either way; proved equal row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    "activity": ("mechanism",),
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
    "activity": (
        *("run", "host", "pid", "began_at", "beat_at", "ended_at", "how"),
        *("retries", "errors", "last_trouble", "last_trouble_at"),
    ),
}

TABLES = {table: (*key, *_VALUES[table]) for table, key in _KEYS.items()}
"""Every table but those of running values, with the columns that are not made from others."""


STEP = 1_000
"""Rows after which `on_progress` hears again."""


class _Rows:
    """Passes rows on, and says now and then how many there were so far."""

    def __init__(self, total: int, on_progress: Callable[[int, int], None]) -> None:
        self._done, self._total, self._on_progress = 0, total, on_progress

    def passed(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            yield row
            self.add(1)

    def add(self, rows: int) -> None:
        before, self._done = self._done, self._done + rows
        if self._done // STEP != before // STEP:
            self._on_progress(self._done, self._total)


def copy_state(
    source: SqlState, target: SqlState, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Copies all that the source holds into the target, which is empty, and compares the two. Returns the rows.

    `on_progress` hears of rows copied and compared, and how many that will be: each of the source twice.
    Holds the leases of both mechanisms in both, so nobody works meanwhile. A copy that does not come to its end
    leaves the target empty. Raises LeaseHeld, and StateError when the target is not empty, or with the first row
    that is not the same in both.
    """
    with _nobody_at_work(source), _nobody_at_work(target):
        _check_empty(target)
        shapes = source.shapes()
        if shapes:
            target.make_tables(shapes)
        names = [*TABLES, *(shape.name for shape in shapes)]
        heard = _Rows(2 * sum(source.rows_of(name) for name in names), on_progress)
        target.fill(
            {(table, columns): heard.passed(_copied(source, table)) for table, columns in TABLES.items()},
            [source.load_table(shape) for shape in shapes],
        )
        heard.add(sum(source.rows_of(shape.name) for shape in shapes))
        rows = sum(_compare(table, heard.passed(_all(source, table)), _all(target, table)) for table in TABLES)
        for shape in shapes:
            there, here = _by_row(source.load_table(shape)), _by_row(target.load_table(shape))
            rows += _compare(shape.name, heard.passed(there), here)
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
