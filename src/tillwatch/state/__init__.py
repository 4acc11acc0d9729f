"""What survives a crash: cursor, detections, outbox, ledger, and the tables of running values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tillwatch.state.base import State, TableRows
from tillwatch.state.postgres_place import SCHEMES, postgres_place
from tillwatch.state.sql_state import SqlState
from tillwatch.state.sqlite import SqliteState
from tillwatch.state.staging import Staged


def open_state(place: str, *, readonly: bool = False) -> SqlState:
    """A connection to the state in a SQLite file, by its path, or in a PostgreSQL schema, by its URI.

    Raises StateError.
    """
    if place.startswith(SCHEMES):
        where = postgres_place(place)  # tells of a missing package before psycopg is imported
        from tillwatch.state.postgres import PostgresState

        return PostgresState(where, readonly=readonly)
    return SqliteState(Path(place), readonly=readonly)


def stage_rows(place: str, into: Mapping[str, str], rows: Iterable[TableRows]) -> Staged:
    """Stages rows in a PostgreSQL schema, by its URI; `into` is what the `make_staging` of its state gave.

    Needs no lease and no state: any process may do so, and what it staged counts once it is merged. Raises StateError.
    """
    where = postgres_place(place)
    from tillwatch.state.postgres_staging import put_staged

    return put_staged(where, into, rows)


__all__ = ["State", "open_state", "stage_rows"]
