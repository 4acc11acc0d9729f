"""Rows that go to PostgreSQL by COPY: into a table that nobody reads, and from there to where they are read.

Staging tables are unlogged: what is in them is written once less, and gone after a crash of the server. So whoever
merges counts.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from psycopg import Connection, errors
from psycopg.sql import SQL as Text
from psycopg.sql import Composable, Composed, Identifier

from tillwatch.errors import StateError
from tillwatch.state.base import TableRows
from tillwatch.state.postgres_place import PostgresPlace
from tillwatch.state.postgres_session import SQL, Session
from tillwatch.state.postgres_texts import csv_of
from tillwatch.state.staging import Staged
from tillwatch.state.tables import TableShape

SWEEP_PATIENCE = "200ms"
"""How long the lock on a staging table that is to go is waited for."""


def copy_rows(connection: Connection[Any], into: Composable, rows: TableRows) -> None:
    """Adds rows to a table."""
    statement = Text(SQL["copy_rows"]).format(into=into, columns=_names(rows.columns))
    with connection.cursor().copy(statement) as copy:
        copy.write(csv_of(list(rows.columns.values())))


def upsert(table: str, columns: Iterable[str], rows: Composable) -> Composed:
    """The statement that replaces rows of a table by id with `rows`, which is what follows FROM."""
    columns = list(columns)
    changed = Text(", ").join(Text("{0} = excluded.{0}").format(Identifier(c)) for c in columns if c != "id")
    return Text(SQL["upsert"]).format(table=Identifier(table), columns=_names(columns), rows=rows, changed=changed)


def _names(columns: Iterable[str]) -> Composed:
    return Text(", ").join(map(Identifier, columns))


def put_staged(place: PostgresPlace, into: Mapping[str, str], rows: Iterable[TableRows]) -> Staged:
    """Stages rows, in one transaction over a connection of its own. Raises StateError."""
    session, counts = Session(place, readonly=False), Counter[str]()
    try:
        with session.clear_errors(), session.connection.transaction():
            for some in rows:
                if some.columns["id"]:
                    copy_rows(session.connection, Identifier(into[some.name]), some)
                    counts[some.name] += len(some.columns["id"])
            row = session.connection.execute(SQL["this_transaction"]).fetchone()
            assert row is not None
    finally:
        session.close()
    return Staged(row[0], dict(counts))


def make(connection: Connection[Any], tables: Iterable[str]) -> dict[str, str]:
    """Makes a staging table for each table, and returns their names."""
    token = uuid4().hex
    into = {table: f"staging_{token}_{number}" for number, table in enumerate(sorted(tables))}
    for table, name in into.items():
        connection.execute(Text(SQL["make_staging"]).format(staging=Identifier(name), table=Identifier(table)))
    return into


def merge(
    connection: Connection[Any], shapes: Iterable[TableShape], into: Mapping[str, str], staged: Sequence[Staged]
) -> None:
    """Replaces rows by id with those that these transactions have staged. Raises StateError when there are others."""
    transactions = [s.transaction for s in staged]
    for shape in shapes:
        if shape.name in into:
            rows = Text(SQL["staged_rows"]).format(staging=Identifier(into[shape.name]))
            merged = connection.execute(upsert(shape.name, shape.columns, rows), (transactions,)).rowcount
            expected = sum(s.rows.get(shape.name, 0) for s in staged)
            if merged != expected:
                raise StateError(
                    f"{merged} rows for the table {shape.name} are staged, expected {expected}: the server was "
                    "restarted meanwhile. Nothing was written; they are staged again."
                )


def left_over(connection: Connection[Any], schema: str) -> list[str]:
    """The staging tables in a schema."""
    return [name for (name,) in connection.execute(SQL["staging_tables"], (schema,))]


def sweep(connection: Connection[Any], schema: str) -> None:
    """Removes the staging tables in a schema, but for one that somebody has a lock on: a later sweep removes that.

    It may be a backup that reads it, which is not to be waited for, or a process whose work is not wanted any more.
    """
    for name in left_over(connection, schema):
        with contextlib.suppress(errors.LockNotAvailable), connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (SWEEP_PATIENCE,))
            connection.execute(Text(SQL["drop_staging"]).format(staging=Identifier(name)))
