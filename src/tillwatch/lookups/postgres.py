"""The table of a lookup in PostgreSQL: a table, or what one query gives, every column as text.

It is read in a transaction that can write nothing, through a cursor of the server, for which PostgreSQL takes one query
and no other statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from tillwatch.errors import ConfigError, SourceError, SourceUnavailable, StateError
from tillwatch.lookups.source import LookupSource
from tillwatch.state.postgres_place import PostgresPlace, postgres_place

if TYPE_CHECKING:
    from psycopg import Connection, Error
    from psycopg.adapt import AdaptersMap
    from psycopg.sql import SQL, Composed

ROWS = 50_000
"""Rows that are fetched at a time."""

_FOR_NOW = ("08", "53", "57")
"""Classes of errors (SQLSTATE) that pass: the connection, the server's resources, its being stopped or begun."""


def database_table(source: LookupSource) -> pl.LazyFrame:
    """All rows. Raises SourceError, and SourceUnavailable while the server cannot be asked."""
    assert source.uri is not None
    try:
        place = postgres_place(source.uri)
    except StateError as error:
        raise ConfigError(f"lookup {source.name}: {error}") from None
    with _told(source, place), _connected(place) as connection, connection.cursor("tillwatch_lookup") as cursor:
        cursor.execute(_statement(source))
        names = [column.name for column in cursor.description or ()]
        _check_names(source, names)
        frames = [_frame([], names)]
        while rows := cursor.fetchmany(ROWS):
            frames.append(_frame(rows, names))
    return pl.concat(frames).lazy()


def _statement(source: LookupSource) -> SQL | Composed:
    from psycopg import sql

    if source.table is None:
        return sql.SQL(source.query or "")  # the user's own, in a session that only reads
    return sql.SQL("SELECT * FROM {}").format(sql.Identifier(*source.table.split(".")))


def _frame(rows: list[tuple[str | None, ...]], names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _check_names(source: LookupSource, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"lookup {source.name}: its query gives the column {', '.join(twice)} twice: name one anew")


@contextmanager
def _connected(place: PostgresPlace) -> Iterator[Connection[Any]]:
    """A session that only reads, in which every value comes as PostgreSQL writes it."""
    from psycopg import Connection
    from psycopg.conninfo import make_conninfo

    options = make_conninfo(**place.connection_options(readonly=True))
    connection = Connection.connect(options, context=_as_text())
    try:
        connection.read_only = True
        yield connection
    finally:
        connection.close()


def _as_text() -> AdaptersMap:
    from psycopg import adapters
    from psycopg.adapt import AdaptersMap
    from psycopg.types.numeric import IntDumper
    from psycopg.types.string import TextLoader

    texts = AdaptersMap(types=adapters.types)
    texts.register_dumper(int, IntDumper)  # the cursor itself says how many rows it wants
    texts.register_loader(0, TextLoader)  # 0 stands for every type that has no loader of its own: here, all
    return texts


@contextmanager
def _told(source: LookupSource, place: PostgresPlace) -> Iterator[None]:
    """What libpq and the server say, as an error of the product; it does not remember the connection's password."""
    from psycopg import Error

    try:
        yield
    except Error as error:
        failed = _error(source, place, error)
    else:
        return
    raise failed


def _error(source: LookupSource, place: PostgresPlace, error: Error) -> SourceError:
    from psycopg import OperationalError

    from tillwatch.state.postgres_errors import advice

    text = " ".join((error.diag.message_primary or str(error)).split())
    code = error.sqlstate or ""
    if code[:2] in _FOR_NOW or (not code and isinstance(error, OperationalError)):
        return SourceUnavailable(f"lookup {source.name}: {place.uri}: {text}; {advice(code, text)}")
    return SourceError(f"lookup {source.name}: {place.uri}: {text}. Look at lookups.{source.name}.{source.said_by}")
