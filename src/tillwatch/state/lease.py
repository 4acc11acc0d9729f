"""A lease that the operating system lets go of when its holder dies: an exclusive lock on a small SQLite file."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tillwatch.errors import LeaseHeld, StateError
from tillwatch.state.base import Mechanism

PATIENCE = 1.0
"""Seconds for which a start waits for the lock: somebody may just be looking whether it is held."""


@contextlib.contextmanager
def hold(path: Path, mechanism: Mechanism) -> Iterator[None]:
    """Holds the lease while open. Raises LeaseHeld when another process, or another part of this one, has it."""
    connection = _open(path, PATIENCE)
    try:
        _lock(connection, path, mechanism)
        yield
    finally:
        connection.close()


def is_held(path: Path) -> bool:
    """Whether somebody holds the lease now. Looking does not take it."""
    if not path.exists():
        return False
    connection = _open(path, patience=0)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError as error:
        raise _not_a_lock(path, error) from None
    finally:
        connection.close()
    return False


def _open(path: Path, patience: float) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"cannot open {path}: {error}; check that the folder exists and can be written to") from None


def _lock(connection: sqlite3.Connection, path: Path, mechanism: Mechanism) -> None:
    holder = path.with_suffix(".holder")
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        if "locked" not in str(error):
            raise _not_a_lock(path, error) from None
        who = holder.read_text("utf-8") if holder.exists() else "another process"
        raise LeaseHeld(
            f"{mechanism} is at work on this pipeline already: {who} holds {path}. Stop that one first, or let it work."
        ) from None
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", "utf-8")
    except OSError as error:
        raise StateError(f"cannot write {holder}: {error.strerror}") from None


def _not_a_lock(path: Path, error: Exception) -> StateError:
    return StateError(f"cannot use {path} as a lock: {error}; when nothing is at work here, remove it")
