"""A session with the server that is begun anew when it is lost, and in which the leases are held that it is to hold.

A lease is an advisory lock of the very session that writes. So whoever lost it cannot write: the session is gone,
and a new one takes the lock before anything else, or there is LeaseHeld. Server and network decide, no clock does.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, errors, sql
from psycopg.conninfo import make_conninfo

from tillwatch.errors import LeaseHeld, StateError
from tillwatch.state.base import Mechanism
from tillwatch.state.postgres_errors import explained, leads_elsewhere
from tillwatch.state.postgres_place import PostgresPlace
from tillwatch.state.postgres_texts import use_texts
from tillwatch.state.queries import named, read_sql

SQL = named(read_sql("postgres.sql"))

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # else what is raised anyway is printed too

LEASE_PATIENCE = "1s"
"""How long a lease that is held is waited for: its holder may have died just now."""


@dataclass(frozen=True, slots=True)
class _Backend:
    """The server's end of a session: no other ever has both."""

    process: int
    started: Any


class Session:
    """One connection at a time. Credentials are looked for anew whenever one is made."""

    def __init__(self, place: PostgresPlace, *, readonly: bool) -> None:
        self.place, self._readonly = place, readonly
        self._connection: Connection[Any] | None = None
        self._backend: _Backend | None = None
        self._leases: set[Mechanism] = set()

    @property
    def connection(self) -> Connection[Any]:
        """A connection that was alive when it was last used. Raises StateError, and LeaseHeld when a lease is lost."""
        if self._connection is None or self._connection.closed:
            self._connect()
        assert self._connection is not None
        return self._connection

    @property
    def is_lost(self) -> bool:
        """Whether the connection was lost."""
        return self._connection is not None and self._connection.closed

    def close(self) -> None:
        """Ends the session, and its leases with it."""
        if self._connection is not None:
            self._connection.close()

    @contextlib.contextmanager
    def clear_errors(self) -> Iterator[None]:
        """What the server says comes out as StateError; a session that is of no use any more is ended."""
        try:
            yield
        except psycopg.Error as error:
            if leads_elsewhere(error):
                self.close()
            raise explained(self.place.uri, error) from error

    def rollback(self) -> None:
        """Ends a transaction that failed, if it has not ended with its session."""
        if self._connection is not None and not self._connection.closed:
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("ROLLBACK")

    def _connect(self) -> None:
        with self.clear_errors():
            connection = self._connected()
            try:
                backend = self._prepared(connection)
                for mechanism in sorted(self._leases):
                    self._end_ghost(connection, mechanism)
                    self._take(connection, mechanism)
            except BaseException:
                connection.close()
                raise
        self._connection, self._backend = connection, backend

    def _connected(self) -> Connection[Any]:
        options = make_conninfo(**self.place.connection_options(readonly=self._readonly))
        try:
            return Connection.connect(options, autocommit=True)
        except psycopg.Error as error:
            failed = explained(self.place.uri, error)
        raise failed  # not from the error, which remembers the password of the connection that failed

    def _prepared(self, connection: Connection[Any]) -> _Backend:
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise StateError(f"{self.place.uri} holds texts as {encoding}: make a database with ENCODING 'UTF8'")
        use_texts(connection)
        path = sql.Identifier(self.place.schema).as_string(connection)
        row = connection.execute(
            SQL["prepare"], {"path": path, "readonly": "on" if self._readonly else "off"}
        ).fetchone()
        assert row is not None
        return _Backend(row[0], row[1])

    # leases

    def take(self, mechanism: Mechanism) -> None:
        """Takes a lease, which every later connection takes again. Raises LeaseHeld."""
        if mechanism in self._leases:
            raise LeaseHeld(f"{mechanism} is at work on this pipeline already, in another part of this process")
        self._take(self.connection, mechanism)
        self._leases.add(mechanism)

    def let_go(self, mechanism: Mechanism) -> None:
        """Gives a lease back; one that was lost is gone already."""
        self._leases.discard(mechanism)
        if self._connection is not None and not self._connection.closed:
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock(%s)", (self._key(mechanism),))

    def holder(self, connection: Connection[Any], mechanism: Mechanism) -> tuple[_Backend, str] | None:
        """Who holds a lease now: the server's end of the session, and its name."""
        key = self._key(mechanism) % 2**64
        row = connection.execute(SQL["holder"], (key >> 32, key % 2**32)).fetchone()
        return None if row is None else (_Backend(row[0], row[1]), row[2] or "another process")

    def _take(self, connection: Connection[Any], mechanism: Mechanism) -> None:
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", (LEASE_PATIENCE,))
                connection.execute("SELECT pg_advisory_lock(%s)", (self._key(mechanism),))
        except errors.LockNotAvailable:
            found = self.holder(connection, mechanism)
            if found is not None and found[0] == self._backend:
                raise StateError(f"{self.place.uri}: the server has not ended the connection that was lost") from None
            who = found[1] if found else "another process"
            raise LeaseHeld(
                f"{mechanism} is at work on this pipeline already: {who} holds its lease in {self.place.uri}. "
                "Stop that one first, or let it work."
            ) from None

    def _end_ghost(self, connection: Connection[Any], mechanism: Mechanism) -> None:
        """The server may not know yet that this object's former connection is lost: it is ended, its lease with it."""
        found = self.holder(connection, mechanism)
        if found is not None and found[0] == self._backend:
            connection.execute("SELECT pg_terminate_backend(%s)", (found[0].process,))

    def _key(self, mechanism: Mechanism) -> int:
        digest = hashlib.sha256(f"tillwatch {self.place.schema} {mechanism}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)
