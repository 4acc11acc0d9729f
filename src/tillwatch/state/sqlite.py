"""The state in one SQLite file (WAL): readable by any SQLite tool while it is written to."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tillwatch.errors import StateConflict, StateError
from tillwatch.model import ChunkInfo, Detection, SourceFile
from tillwatch.state import lease
from tillwatch.state.base import (
    ChunkRecord,
    Commit,
    Cursor,
    FilePlan,
    FileRecord,
    Mechanism,
    StoredDetection,
    TableRows,
    Totals,
)
from tillwatch.state.queries import named, read_sql
from tillwatch.state.tables import TableShape, create_sql, select_sql, upsert_sql

SCHEMA_VERSION = "1"
BUSY_MS = 30_000
WAL_PAGES = 4_000
"""Pages of 4 KiB in the log before they are copied into the file: so many that only saving the tables comes to it."""

_SQL = named(read_sql("queries.sql"))


class SqliteState:
    """One connection to the state; each thread opens its own."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._shapes: dict[str, TableShape] = {}
        self._db = _connect(path, readonly=readonly)
        with self._clear_errors():
            empty = not self._one("SELECT count(*) FROM sqlite_schema")
            if readonly and empty:
                raise StateError(_none_yet(path))
            if not empty:  # before anything is written: it may be somebody else's
                self._check_version()
            if not readonly:
                self._migrate()

    @property
    def uri(self) -> str:
        """Where the state is."""
        return f"sqlite:///{self.path}"

    def close(self) -> None:
        self._db.close()

    def lease(self, mechanism: Mechanism) -> AbstractContextManager[None]:
        return lease.hold(self._lock_file(mechanism), mechanism)

    def at_work(self, mechanism: Mechanism) -> bool:
        """Whether an instance of the mechanism is at work now."""
        return lease.is_held(self._lock_file(mechanism))

    def _lock_file(self, mechanism: Mechanism) -> Path:
        return self.path.with_name(f"{self.path.name}.{mechanism}.lock")

    def start(self, fingerprint: str, meaning: str, at: str, tables: Sequence[TableShape]) -> Cursor:
        with self._transaction():
            self.claim_allowed(fingerprint, meaning)
            if self._meta("fingerprint") is None:
                first = {"fingerprint": fingerprint, "meaning": meaning, "cursor": "0", "tables": "0"}
                for key, value in first.items():
                    self._set_meta(key, value)
            if self._meta("started_at") is None:
                self._set_meta("started_at", at)
            for shape in tables:
                for statement in create_sql(shape):
                    self._db.execute(statement)
        self._shapes = {shape.name: shape for shape in tables}
        return self.cursor()

    def claim_allowed(self, fingerprint: str, meaning: str) -> None:
        known = self._meta("fingerprint")
        if known is not None and known != fingerprint:
            raise StateConflict(_changed(self.uri, self._meta("meaning") or "", meaning))

    def cursor(self) -> Cursor:
        """Where detect stands; all 0 (seq 1) before its first start."""
        with self._clear_errors():
            seq = self._one("SELECT coalesce(max(seq), 0) + 1 FROM detections")
            return Cursor(int(self._meta("cursor") or 0), int(seq), int(self._meta("tables") or 0))

    def started_at(self) -> str | None:
        with self._clear_errors():
            return self._meta("started_at")

    def files(self) -> list[FileRecord]:
        return [FileRecord(SourceFile(*row[:4]), *row[4:]) for row in self._rows("files")]

    def record_file(self, record: FileRecord) -> None:
        file = record.file
        row = (file.number, file.name, file.size, file.modified)
        with self._transaction():
            self._db.execute(_SQL["put_file"], (*row, record.status, record.rows, record.digest, record.problem))

    def landed(self) -> int:
        with self._clear_errors():
            return int(self._one("SELECT coalesce(max(number) + 1, 0) FROM chunks"))

    def record_landed(self, chunks: Sequence[ChunkInfo]) -> None:
        with self._transaction():
            self._db.executemany(
                _SQL["put_landed"], [(c.number, c.file.number, c.first_row, c.rows, c.digest) for c in chunks]
            )

    def commit(self, commit: Commit, rows_per_file: int) -> int:
        with self._transaction():
            cursor = int(self._meta("cursor") or 0)
            if cursor != commit.first:
                raise StateConflict(
                    f"{self.uri} stands at chunk {cursor}, this process wanted to commit from chunk {commit.first}: "
                    "another process has worked on this pipeline. Nothing was written; start again."
                )
            self._put_results(commit)
            seq = self._put_detections(commit)
            self._put_turns(commit)
            self._set_meta("cursor", str(commit.last + 1))
            self._plan(seq - 1, rows_per_file, rest=False)
        return seq

    def _put_results(self, commit: Commit) -> None:
        noted = self.digests(commit.first, commit.last)
        rows, reasons = [], []
        for result in commit.results:
            if noted.get(result.info.number, result.info.digest) != result.info.digest:
                raise StateConflict(_other_chunk(self.uri, result.info.number))
            info, wrong = result.info, sum(result.quarantined.values())
            place = (info.number, info.file.number, info.first_row, info.rows, info.digest)
            rows.append((*place, result.counted, wrong, result.at))
            reasons += [(info.number, reason, count) for reason, count in sorted(result.quarantined.items())]
        self._db.executemany(_SQL["put_processed"], rows)
        self._db.executemany(_SQL["put_quarantine"], reasons)

    def _put_detections(self, commit: Commit) -> int:
        seq = int(self._one("SELECT coalesce(max(seq), 0) + 1 FROM detections"))
        times = {r.info.number: r.at for r in commit.results}
        rows = [_detection_row(seq + i, d, times[d.chunk]) for i, d in enumerate(commit.detections)]
        self._db.executemany(_SQL["put_detection"], rows)
        return seq + len(rows)

    def _put_turns(self, commit: Commit) -> None:
        keyed = [(t, _key_text(t.key)) for t in commit.turns]
        self._db.executemany(_SQL["put_turn"], [(t.chunk, int(t.holds), t.pattern, k) for t, k in keyed])
        last = {(t.pattern, k): int(t.holds) for t, k in keyed}
        self._db.executemany(_SQL["set_holds"], [(h, *pk) for pk, h in last.items()])

    def plan_rest(self, rows_per_file: int) -> None:
        with self._transaction():
            self._plan(int(self._one("SELECT coalesce(max(seq), 0) FROM detections")), rows_per_file, rest=True)

    def _plan(self, last_seq: int, rows_per_file: int, *, rest: bool) -> None:
        first = int(self._one(_SQL["last_planned"])) + 1
        while first + rows_per_file - 1 <= last_seq or (rest and first <= last_seq):
            last = min(first + rows_per_file - 1, last_seq)
            self._db.execute(_SQL["put_plan"], (first, last, f"detections-{first:012d}-{last:012d}.csv"))
            first = last + 1

    def unplanned(self) -> int:
        """How many detections are in no file yet."""
        with self._clear_errors():
            return int(self._one("SELECT coalesce(max(seq), 0) FROM detections")) - int(self._one(_SQL["last_planned"]))

    def unpublished(self) -> list[FilePlan]:
        return [FilePlan(*row) for row in self._rows("unpublished")]

    def files_planned(self) -> list[FilePlan]:
        return [FilePlan(*row) for row in self._rows("outbox")]

    def mark_published(self, plan: FilePlan, at: str) -> None:
        with self._transaction():
            self._db.execute(_SQL["set_published"], (at, plan.first))

    def save_tables(self, tables: Sequence[TableRows], chunk: int) -> None:
        with self._transaction():
            for table in tables:
                columns = self._shapes[table.name].columns
                rows = zip(*(table.columns[c] for c in columns), strict=True)
                self._db.executemany(upsert_sql(self._shapes[table.name]), rows)
            self._set_meta("tables", str(chunk))

    def load_table(self, shape: TableShape) -> TableRows:
        with self._clear_errors():
            rows = self._db.execute(select_sql(shape)).fetchall()
        values = zip(*rows, strict=True) if rows else [()] * len(shape.columns)
        return TableRows(shape.name, dict(zip(shape.columns, values, strict=True)))

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._clear_errors():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:  # an error may have ended it
                self._db.execute("ROLLBACK")

    def detections(self, first: int = 1, last: int | None = None) -> Iterator[StoredDetection]:
        for row in self._rows("detections", (first, last if last is not None else 2**62)):
            seq, chunk, pattern, action, key, at, holds, evidence, file = row
            detection = Detection(chunk, pattern, action, json.loads(key), json.loads(evidence))
            yield StoredDetection(seq, detection, at, bool(holds), file)

    def turns(self, before: int) -> list[tuple[int, int, bool]]:
        return [(seq, chunk, bool(holds)) for seq, chunk, holds in self._rows("turns", (before,))]

    def chunks(self) -> Iterator[ChunkRecord]:
        for row in self._rows("chunks"):
            yield ChunkRecord(*row)

    def digests(self, first: int, last: int) -> dict[int, str]:
        return dict(self._rows("digests", (first, last)))

    def quarantined(self) -> dict[str, int]:
        return dict(self._rows("quarantined"))

    def totals(self) -> Totals:
        """Counts over all chunks."""
        return Totals(*next(self._rows("totals")))

    def by_pattern(self) -> dict[str, int]:
        """Detections by pattern."""
        return dict(self._rows("by_pattern"))

    def _rows(self, name: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with self._clear_errors():
            yield from self._db.execute(_SQL[name], values)

    def _one(self, sql: str) -> Any:
        return self._db.execute(sql).fetchone()[0]

    def _meta(self, key: str) -> str | None:
        row = self._db.execute(_SQL["get_meta"], (key,)).fetchone()
        return None if row is None else str(row[0])

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute(_SQL["set_meta"], (key, value))

    def _migrate(self) -> None:
        self._use_wal()
        with self._transaction():
            for statement in _statements(read_sql("schema.sql")):
                self._db.execute(statement)
            if self._meta("schema") is None:
                self._set_meta("schema", SCHEMA_VERSION)

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

    def _check_version(self) -> None:
        version = self._meta("schema")
        if version != SCHEMA_VERSION:
            raise StateError(f"{self.uri} has schema {version}, this version of tillwatch reads {SCHEMA_VERSION}")

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
                raise StateError(_none_yet(path))
            db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    except (OSError, sqlite3.Error) as error:
        raise StateError(_explain(f"sqlite:///{path}", error)) from None
    return db


def _none_yet(path: Path) -> str:
    return f"there is no state at {path} yet: nothing has been run with this configuration"


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


def _changed(uri: str, before: str, now: str) -> str:
    old, new = before.splitlines(), now.splitlines()
    lines = [f"  was  {line}" for line in old if line not in new]
    lines += [f"  now  {line}" for line in new if line not in old]
    return (
        f"{uri} was made by another configuration, and detections are a function of it:\n"
        + "\n".join(lines)
        + "\nPut it back, or choose new places for state and detections; the landing zone can stay."
    )


def _other_chunk(uri: str, number: int) -> str:
    return (
        f"chunk {number} of the landing zone is not the one that was noted in {uri} when it landed: it was changed. "
        "Bring the landed one back; 'tillwatch audit' says which chunks differ."
    )


def _statements(text: str) -> Iterable[str]:
    return (s for s in text.split(";\n") if s.strip())


def _key_text(key: Mapping[str, str]) -> str:
    return json.dumps(dict(key), ensure_ascii=False)


def _detection_row(seq: int, d: Detection, at: str) -> tuple[Any, ...]:
    evidence = json.dumps(d.evidence, ensure_ascii=False)
    return (seq, d.chunk, d.pattern, d.action, _key_text(d.key), at, evidence)
