"""What survives a crash: cursor, detections, outbox, ledger, and the tables of running values."""

from __future__ import annotations

from pathlib import Path

from tillwatch.state.base import State
from tillwatch.state.postgres_place import SCHEMES, postgres_place
from tillwatch.state.sql_state import SqlState
from tillwatch.state.sqlite import SqliteState


def open_state(place: str, *, readonly: bool = False) -> SqlState:
    """A connection to the state in a SQLite file, by its path, or in a PostgreSQL schema, by its URI.

    Raises StateError.
    """
    if place.startswith(SCHEMES):
        where = postgres_place(place)  # tells of a missing package before psycopg is imported
        from tillwatch.state.postgres import PostgresState

        return PostgresState(where, readonly=readonly)
    return SqliteState(Path(place), readonly=readonly)


__all__ = ["State", "open_state"]
