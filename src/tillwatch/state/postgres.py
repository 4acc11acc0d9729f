"""The state in a PostgreSQL database: one schema a pipeline, readable by any tool while it is written to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from tillwatch.errors import StateConflict, StateError
from tillwatch.state import postgres_staging, tables
from tillwatch.state.base import Cursor, Mechanism, TableRows
from tillwatch.state.migrations import VERSION, known_version, migrations
from tillwatch.state.postgres_place import PostgresPlace
from tillwatch.state.postgres_session import SQL, Session
from tillwatch.state.queries import in_psycopg
from tillwatch.state.sql_rows import Row, no_state_yet
from tillwatch.state.sql_state import QUERIES, SqlState
from tillwatch.state.staging import Merge, Staged, Staging
from tillwatch.state.tables import TableShape

T = TypeVar("T")

_STATEMENTS = {name: in_psycopg(statement) for name, statement in QUERIES.items()}


class PostgresState(SqlState):
    """One session with the state; each thread opens its own. A lost connection is made anew by the next call."""

    types = tables.POSTGRES

    def __init__(self, place: PostgresPlace, *, readonly: bool = False) -> None:
        self.place = place
        self._session = Session(place, readonly=readonly)
        self._in_transaction = False
        try:
            self._open(readonly=readonly)
        except BaseException:
            self._session.close()
            raise

    @property
    def uri(self) -> str:
        """Where the state is, without a password."""
        return self.place.uri

    def close(self) -> None:
        self._session.close()

    def size(self) -> int:
        (row,) = self._rows(SQL["size"], (self.place.schema,))
        return int(row[0])

    @contextlib.contextmanager
    def lease(self, mechanism: Mechanism) -> Iterator[None]:
        with self._session.clear_errors():
            self._again_if_lost(lambda: self._session.take(mechanism))
        try:
            yield
        finally:
            self._session.let_go(mechanism)

    def at_work(self, mechanism: Mechanism) -> bool:
        """Whether an instance of the mechanism is at work now."""
        with self._session.clear_errors():
            return self._again_if_lost(lambda: self._session.holder(self._session.connection, mechanism)) is not None

    def _put_rows(self, table: TableRows) -> None:
        """COPY into a temporary table, then one statement puts all rows."""
        connection, saved = self._session.connection, sql.SQL("pg_temp.saved")
        name = sql.Identifier(table.name)
        connection.execute(sql.SQL("CREATE TEMPORARY TABLE saved (LIKE {}) ON COMMIT DROP").format(name))
        postgres_staging.copy_rows(connection, saved, table)
        connection.execute(postgres_staging.upsert(table.name, table.columns, saved))
        connection.execute("DROP TABLE pg_temp.saved")

    # tables saved by several processes

    def start(self, fingerprint: str, meaning: str, at: str, tables: Sequence[TableShape], rules: str = "{}") -> Cursor:
        self._sweep()  # what a run that was killed has left
        return super().start(fingerprint, meaning, at, tables, rules)

    def staging(self) -> Staging:
        """This state: other processes can stage rows in its schema."""
        return self

    def make_staging(self, tables: Iterable[str]) -> Mapping[str, str]:
        self._sweep()
        with self._transaction():
            return postgres_staging.make(self._session.connection, tables)

    def merge_staged(self, merge: Merge, into: Mapping[str, str], staged: Sequence[Staged]) -> None:
        with self._transaction():
            cursor = self._held_cursor()
            if self.get_meta("merge") != merge.token:  # else it went through before, only the answer was lost
                self._check_place(merge, cursor)
                self._check_staging(into)
                postgres_staging.merge(self._session.connection, self.shapes(), into, staged)
                for key, value in {**merge.notes, "tables": str(merge.chunk), "merge": merge.token}.items():
                    self._set_meta(key, value)
        self._sweep()

    def _check_place(self, merge: Merge, cursor: int) -> None:
        tables = int(self.get_meta("tables") or 0)
        if (cursor, tables) != (merge.cursor, merge.tables):
            raise StateConflict(
                f"{self.uri} stands at chunk {cursor}, its tables at {tables}, this process wanted to save them from "
                f"chunk {merge.cursor} and {merge.tables}: another process has worked on this pipeline. "
                "Nothing was written; start again."
            )

    def _check_staging(self, into: Mapping[str, str]) -> None:
        there = postgres_staging.left_over(self._session.connection, self.place.schema)
        if not set(into.values()) <= set(there):
            raise StateError(f"state {self.uri}: the staging tables of this saving are gone; they are made again")

    def _sweep(self) -> None:
        with self._session.clear_errors():
            self._again_if_lost(lambda: postgres_staging.sweep(self._session.connection, self.place.schema))

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        self._begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            self._in_transaction = False
            self._session.rollback()

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        text = _STATEMENTS.get(statement) or in_psycopg(statement)
        with self._session.clear_errors():
            return iter(self._again_if_lost(lambda: self._session.connection.execute(text, values).fetchall()))

    def _run(self, statement: str, values: Sequence[Any] = ()) -> None:
        self._session.connection.execute(_STATEMENTS.get(statement, statement), values or None)

    def _run_each(self, statement: str, rows: Iterable[Row]) -> None:
        with self._session.connection.cursor() as cursor:
            cursor.executemany(_STATEMENTS.get(statement) or in_psycopg(statement), rows)

    def _objects(self) -> set[str]:
        return {name for (name,) in self._rows(SQL["objects"], (self.place.schema,))}

    def _held_cursor(self) -> int:
        rows = list(self._rows(SQL["held_cursor"]))
        return int(rows[0][0]) if rows else 0

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._session.clear_errors():
            self._begin("BEGIN")
            try:
                yield
                if self._session.connection.execute("COMMIT").statusmessage != "COMMIT":
                    raise StateError(f"state {self.uri}: the server rolled the transaction back")
            except BaseException:
                self._session.rollback()
                raise
            finally:
                self._in_transaction = False

    @contextlib.contextmanager
    def _briefly(self) -> Iterator[None]:
        with self._transaction():
            self._run(SQL["briefly"])
            yield

    def _begin(self, statement: str) -> None:
        with self._session.clear_errors():
            self._again_if_lost(lambda: self._session.connection.execute(statement))
        self._in_transaction = True

    # the schema

    def _open(self, *, readonly: bool) -> None:
        version = self._version(readonly=readonly)
        if readonly and version == 0:
            raise no_state_yet(self.uri)
        if version < VERSION:
            self._migrate()

    def _version(self, *, readonly: bool) -> int:
        """The schema's version, 0 for none. Raises StateError when it cannot be worked with."""
        there = self._objects()
        if not there:
            return 0
        if "meta" not in there or "chunks" not in there:
            raise StateError(f"{self.uri}: this schema has tables of another program: choose another by ?schema=NAME")
        return known_version(self.get_meta("schema") or "none", self.uri, readonly=readonly)

    def _migrate(self) -> None:
        with self._transaction():
            list(self._rows(SQL["one_migrates"], (self.place.schema,)))
            (there,) = self._rows(SQL["there_is_a_schema"], (self.place.schema,))
            if not there[0]:  # asked, since IF NOT EXISTS needs the right to create even where nothing is created
                self._run(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.place.schema)).as_string())
            version = self._version(readonly=False)  # another session may just have done it
            for statement in migrations("postgres", version):
                self._run(statement)
            self._set_meta("schema", str(VERSION))

    def _again_if_lost(self, ask: Callable[[], T]) -> T:
        """What `ask` gives, which changes nothing; asked again when the connection turns out to have been lost."""
        try:
            return ask()
        except psycopg.OperationalError:
            if self._in_transaction or not self._session.is_lost:
                raise
            return ask()
