"""The state in one SQLite file (WAL): readable by any SQLite tool while it is written to."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tillwatch.errors import StateError
from tillwatch.state import lease, tables
from tillwatch.state.base import Mechanism, TableRows
from tillwatch.state.migrations import VERSION, known_version, migrations
from tillwatch.state.sql_rows import Row, no_state_yet
from tillwatch.state.sql_state import QUERIES, SqlState

BUSY_MS, BRIEF_MS = 30_000, 500
WAL_PAGES = 4_000
"""Pages of 4 KiB in the log before they are copied into the file: so many that only saving the tables comes to it."""


class SqliteState(SqlState):
    """One connection to the state; each thread opens its own."""

    types = tables.SQLITE

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._db = _connect(path, readonly=readonly)
        with self._clear_errors():
            version = self._version(readonly=readonly)  # before anything is written: it may be somebody else's
            if readonly and version == 0:
                raise no_state_yet(path)
            if not readonly:
                self._use_wal()
                if version < VERSION:
                    self._migrate()

    @property
    def uri(self) -> str:
        """Where the state is."""
        return f"sqlite:///{self.path}"

    def close(self) -> None:
        self._db.close()

    def size(self) -> int:
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def lease(self, mechanism: Mechanism) -> AbstractContextManager[None]:
        return lease.hold(self._lock_file(mechanism), mechanism)

    def at_work(self, mechanism: Mechanism) -> bool:
        """Whether an instance of the mechanism is at work now."""
        return lease.is_held(self._lock_file(mechanism))

    def _lock_file(self, mechanism: Mechanism) -> Path:
        return self.path.with_name(f"{self.path.name}.{mechanism}.lock")

    def _put_rows(self, table: TableRows) -> None:
        columns, marks = ", ".join(f'"{name}"' for name in table.columns), ", ".join("?" * len(table.columns))
        statement = f'INSERT OR REPLACE INTO "{table.name}" ({columns}) VALUES ({marks})'  # noqa: S608
        self._run_each(statement, zip(*table.columns.values(), strict=True))

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._clear_errors():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:  # an error may have ended it
                self._db.execute("ROLLBACK")

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        with self._clear_errors():
            yield from self._db.execute(QUERIES.get(statement, statement), values)

    def _run(self, statement: str, values: Sequence[Any] = ()) -> None:
        self._db.execute(QUERIES.get(statement, statement), values)

    def _run_each(self, statement: str, rows: Iterable[Row]) -> None:
        self._db.executemany(QUERIES.get(statement, statement), rows)

    def _objects(self) -> set[str]:
        return {name for (name,) in self._rows("SELECT name FROM sqlite_schema")}

    def _version(self, *, readonly: bool) -> int:
        """The schema of what is in the file, 0 for nothing. Raises StateError when it cannot be worked with."""
        if not self._objects():
            return 0
        return known_version(self.get_meta("schema") or "none", self.uri, readonly=readonly)

    def _migrate(self) -> None:
        with self._transaction():
            version = self._version(readonly=False)  # another connection may just have done it
            for statement in migrations("sqlite", version):
                self._run(statement)
            self._set_meta("schema", str(VERSION))

    def _use_wal(self) -> None:
        """Unlike a transaction, changing the journal does not wait for another connection that makes the file."""
        until = time.monotonic() + BUSY_MS / 1000
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._clear_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _briefly(self) -> Iterator[None]:
        self._set_patience(BRIEF_MS, "NORMAL")
        try:
            with self._transaction():
                yield
        finally:
            self._set_patience(BUSY_MS, "FULL")

    def _set_patience(self, busy: int, synchronous: str) -> None:
        with self._clear_errors():
            self._db.execute(f"PRAGMA busy_timeout = {busy}")
            self._db.execute(f"PRAGMA synchronous = {synchronous}")

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise StateError(_explain(self.uri, error)) from error


def _connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    try:
        if readonly:
            if not path.exists():
                raise no_state_yet(path)
            db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    except (OSError, sqlite3.Error) as error:
        raise StateError(_explain(f"sqlite:///{path}", error)) from None
    return db


def _explain(uri: str, error: Exception) -> str:
    text = str(error)
    advice = {
        "full": "free some space; the work goes on from the last commit",
        "readonly": "make the file and its folder writable",
        "unable to open": "check that the folder exists and can be written to",
        "Permission denied": "check that the folder exists and can be written to",
        "no such table": "this file is of another program: choose another path for state",
        "not a database": "this file is something else: choose another path for state",
        "locked": "another program holds a write lock for over 30 seconds: close it",
        "malformed": "the file is damaged: move it away, the state is rebuilt from the landing zone",
    }
    what = next((a for word, a in advice.items() if word in text), "see the text of the error")
    return f"state {uri}: {text}; {what}"
