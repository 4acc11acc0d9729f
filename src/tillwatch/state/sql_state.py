"""What the state stores have in common: the port, in SQL that every one of them speaks.

A store gives the way to its database: how a statement is run, what a transaction is, how a lease is held.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple
from types import MappingProxyType
from typing import Any

from tillwatch.errors import StateConflict, StateError
from tillwatch.model import ChunkInfo, Detection, SourceFile
from tillwatch.state.activity import SqlActivity
from tillwatch.state.base import (
    ChunkRecord,
    Commit,
    Cursor,
    FilePlan,
    FileRecord,
    LookupVersion,
    Mechanism,
    RuleChange,
    RuleSet,
    StoredCleared,
    StoredDetection,
    Stream,
    TableRows,
    Totals,
)
from tillwatch.state.figures import SqlFigures
from tillwatch.state.meaning import base_of, is_same, without_contents
from tillwatch.state.queries import named, read_sql
from tillwatch.state.sql_look import SqlLook
from tillwatch.state.sql_review import SqlReview
from tillwatch.state.sql_rows import (
    FILES,
    Row,
    changed,
    detection_rows,
    key_text,
    other_chunk,
    times_of,
)
from tillwatch.state.staging import Staging
from tillwatch.state.tables import TableShape, Types, create_sql, drop_sql, select_sql, shapes_from, shapes_text

QUERIES = named(read_sql("queries.sql"))


class SqlState(SqlLook, SqlReview, SqlActivity, SqlFigures):
    """A state store over SQL. Statements are those of `queries.sql` by name, or SQL made from checked names."""

    types: Types
    """The column types of tables of running values."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """Where the state is, fit to be shown."""

    @abstractmethod
    def lease(self, mechanism: Mechanism) -> AbstractContextManager[None]: ...

    @abstractmethod
    def at_work(self, mechanism: Mechanism) -> bool: ...

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """What is written within is there whole or not at all, durable at its end. Raises StateError."""

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows that a query gives. Raises StateError."""

    @abstractmethod
    def _run(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Runs a statement that writes, within a transaction."""

    @abstractmethod
    def _run_each(self, statement: str, rows: Iterable[Row]) -> None:
        """Runs a statement that writes once for each row, within a transaction."""

    @abstractmethod
    def _put_rows(self, table: TableRows) -> None:
        """Replaces rows of a table of running values by id, within a transaction. There is at least one."""

    @abstractmethod
    def _objects(self) -> set[str]:
        """The names of all tables and views of this state."""

    def _held_cursor(self) -> int:
        """The next chunk, within a transaction; nobody else moves it until that ends."""
        return int(self.get_meta("cursor") or 0)

    # detect

    def start(self, fingerprint: str, meaning: str, at: str, tables: Sequence[TableShape], rules: str = "{}") -> Cursor:
        with self._transaction():
            self.claim_allowed(fingerprint, meaning)
            if self.get_meta("fingerprint") is None:
                first = {"fingerprint": fingerprint, "meaning": meaning, "cursor": "0", "tables": "0"}
                for key, value in first.items():
                    self._set_meta(key, value)
            if self.get_meta("started_at") is None:
                self._set_meta("started_at", at)
            if not self.rule_sets():
                self._run("put_rule_set", (0, fingerprint, meaning, rules, at))
            self._make(tables)
        return self.cursor()

    def make_tables(self, tables: Sequence[TableShape]) -> None:
        with self._transaction():
            self._make(tables)

    def _make(self, tables: Sequence[TableShape]) -> None:
        there = self._objects()
        for shape in tables:
            for name, statement in create_sql(shape, self.types).items():
                if name not in there:
                    self._run(statement)
        self._set_meta("shapes", shapes_text(tables))

    def rule_sets(self) -> list[RuleSet]:
        return [RuleSet(*row) for row in self._rows("rule_sets")]

    def lookup_versions(self) -> list[LookupVersion]:
        return [LookupVersion(*row) for row in self._rows("lookup_versions")]

    def _change(self, change: RuleChange, next_chunk: int) -> None:
        rules = change.rules
        self._run("drop_rule_sets", (rules.first,))
        self._run("put_rule_set", (rules.first, rules.hash, rules.meaning, rules.rules, rules.at))
        self._set_meta("fingerprint", rules.hash)
        self._set_meta("meaning", rules.meaning)
        if not change.tables:
            return
        for shape in self.shapes():
            for statement in drop_sql(shape, self.types):
                self._run(statement)
        self._make(change.tables)
        for rows in change.rows():
            if rows.columns["id"]:
                self._put_rows(rows)
        self._set_meta("tables", str(next_chunk))

    def claim_allowed(self, fingerprint: str, meaning: str) -> None:
        known, before = self.get_meta("fingerprint"), self.get_meta("meaning") or ""
        if known not in (None, fingerprint) and not is_same(before, meaning):
            raise StateConflict(changed(self.uri, without_contents(before), meaning))

    def base_allowed(self, meaning: str) -> None:
        known = self.get_meta("meaning")
        if known is not None and base_of(known) != base_of(meaning):
            raise StateConflict(changed(self.uri, "\n".join(base_of(known)), "\n".join(base_of(meaning))))

    def cursor(self) -> Cursor:
        """Where detect stands; all 0 (seq 1) before its first start."""
        seq = self._one("next_seq")
        return Cursor(int(self.get_meta("cursor") or 0), int(seq), int(self.get_meta("tables") or 0))

    def started_at(self) -> str | None:
        return self.get_meta("started_at")

    def commit(self, commit: Commit, rows_per_file: int) -> int:
        with self._transaction():
            cursor = self._held_cursor()
            if cursor == commit.last + 1 and self.get_meta("commit") == commit.token:
                return int(self._one("next_seq"))  # it went through before, only the answer was lost
            if cursor != commit.first:
                raise StateConflict(
                    f"{self.uri} stands at chunk {cursor}, this process wanted to commit from chunk {commit.first}: "
                    "another process has worked on this pipeline. Nothing was written; start again."
                )
            self._put_results(commit)
            seq = self._put_detections(commit)
            self._put_turns(commit)
            cleared = self._put_cleared(commit)
            self._set_meta("cursor", str(commit.last + 1))
            self._set_meta("commit", commit.token)
            for key, value in commit.notes.items():
                self._set_meta(key, value)
            if commit.change is not None:
                self._change(commit.change, commit.last + 1)
            self._run_each("put_lookup_version", [astuple(version) for version in commit.lookups])
            self._plan("detections", seq - 1, rows_per_file, rest=False)
            if cleared:
                self._plan("cleared", cleared, rows_per_file, rest=False)
        return seq

    def _put_results(self, commit: Commit) -> None:
        rows, reasons, marked = [], [], []
        for result in commit.results:
            info, wrong = result.info, sum(result.quarantined.values())
            place = (info.number, info.file.number, info.first_row, info.rows, info.digest)
            rows.append((*place, result.counted, wrong, result.filtered, result.at))
            reasons += [(info.number, reason, count) for reason, count in sorted(result.quarantined.items())]
            marked += [(info.number, lookup, count) for lookup, count in sorted(result.marked.items())]
        self._run_each("put_processed", rows)
        self._run_each("put_quarantine", reasons)
        if marked:
            self._run_each("put_marked", marked)
        noted = self.digests(commit.first, commit.last)  # asked afterwards, when no other can note them any more
        for result in commit.results:
            if noted[result.info.number] != result.info.digest:
                raise StateConflict(other_chunk(self.uri, result.info.number))

    def _put_detections(self, commit: Commit) -> int:
        """Returns the next seq."""
        seq = int(self._one("next_seq"))
        if shadows := [d for d in commit.detections if d.shadow]:
            rows = detection_rows(int(self._one("next_shadow_seq")), shadows, commit)
            self._run_each("put_shadow_detection", rows)
        rows = detection_rows(seq, [d for d in commit.detections if not d.shadow], commit)
        self._run_each("put_detection", rows)
        return seq + len(rows)

    def _put_turns(self, commit: Commit) -> None:
        for shadow, put, set_holds in (
            (False, "put_turn", "set_holds"),
            (True, "put_shadow_turn", "set_shadow_holds"),
        ):
            keyed = [(t, key_text(t.key)) for t in commit.turns if t.shadow == shadow]
            self._run_each(put, [(t.chunk, int(t.holds), t.pattern, key, t.chunk) for t, key in keyed])
            last = {(t.pattern, key): t for t, key in keyed}
            self._run_each(set_holds, [(int(t.holds), *key, t.chunk) for key, t in last.items()])

    def _put_cleared(self, commit: Commit) -> int:
        """Returns the last number, 0 when nothing was cleared."""
        cleared = [t for t in commit.turns if t.cleared]
        if not cleared:
            return 0
        first, times = int(self._one("next_cleared")), times_of(commit)
        self._run_each(
            "put_cleared",
            [
                (number, t.chunk, times[t.chunk], t.pattern, key_text(t.key), t.chunk)
                for number, t in enumerate(cleared, first)
            ],
        )
        return first + len(cleared) - 1

    def save_tables(
        self, tables: Iterable[TableRows], chunk: int, notes: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        with self._transaction():
            for table in tables:
                if table.columns["id"]:
                    self._put_rows(table)
            self._set_meta("tables", str(chunk))
            for key, value in notes.items():
                self._set_meta(key, value)

    def staging(self) -> Staging | None:
        return None

    def load_table(self, shape: TableShape) -> TableRows:
        rows = list(self._rows(select_sql(shape)))
        values = zip(*rows, strict=True) if rows else [()] * len(shape.columns)
        return TableRows(shape.name, dict(zip(shape.columns, values, strict=True)))

    # files of detections

    def plan_rest(self, rows_per_file: int, stream: Stream = "detections") -> None:
        with self._transaction():
            self._held_cursor()
            self._plan(stream, int(self._one(FILES[stream].next)) - 1, rows_per_file, rest=True)

    def _plan(self, stream: Stream, last_number: int, rows_per_file: int, *, rest: bool) -> None:
        first = int(self._one(FILES[stream].last_planned)) + 1
        while first + rows_per_file - 1 <= last_number or (rest and first <= last_number):
            last = min(first + rows_per_file - 1, last_number)
            self._run(FILES[stream].put_plan, (first, last, f"{stream}-{first:012d}-{last:012d}.csv"))
            first = last + 1

    def unplanned(self, stream: Stream = "detections") -> int:
        """How many detections are in no file yet."""
        return int(self._one(FILES[stream].next)) - 1 - int(self._one(FILES[stream].last_planned))

    def unpublished(self, stream: Stream = "detections") -> list[FilePlan]:
        return [FilePlan(*row) for row in self._rows(FILES[stream].unpublished)]

    def files_planned(self, stream: Stream = "detections") -> list[FilePlan]:
        return [FilePlan(*row) for row in self._rows(FILES[stream].all)]

    def mark_published(self, plans: Sequence[FilePlan], at: str, stream: Stream = "detections") -> None:
        with self._transaction():
            self._run_each(FILES[stream].set_published, [(at, plan.first) for plan in plans])

    def undelivered(self, output: str) -> list[FilePlan]:
        return [FilePlan(*row) for row in self._rows("undelivered", (output,))]

    def mark_delivered(self, output: str, plan: FilePlan, at: str) -> None:
        with self._transaction():
            self._run("put_delivered", (output, plan.first, at))

    # the ledger

    def files(self) -> list[FileRecord]:
        return [FileRecord(SourceFile(*row[:6]), *row[6:]) for row in self._rows("files")]

    def record_file(self, record: FileRecord) -> None:
        file = record.file
        row = (file.number, file.name, file.size, file.modified, file.id, file.revision)
        with self._transaction():
            self._run("put_file", (*row, record.status, record.rows, record.digest, record.problem))

    def landed(self) -> int:
        return int(self._one("next_chunk"))

    def record_landed(self, chunks: Sequence[ChunkInfo], at: str | None = None) -> None:
        rows = [(c.number, c.file.number, c.first_row, c.rows, c.digest, c.bytes, at) for c in chunks]
        with self._transaction():
            self._run_each("put_landed", rows)

    def chunks(self) -> Iterator[ChunkRecord]:
        for row in self._rows("chunks"):
            yield ChunkRecord(*row)

    def processed(self) -> dict[int, str]:
        return dict(self._rows("processed"))

    def digests(self, first: int, last: int) -> dict[int, str]:
        return dict(self._rows("digests", (first, last)))

    def quarantined(self) -> dict[str, int]:
        return dict(self._rows("quarantined"))

    def marked(self) -> dict[str, int]:
        return dict(self._rows("marked"))

    def totals(self) -> Totals:
        """Counts over all chunks."""
        (row,) = self._rows("totals")
        return Totals(*row)

    # what was found

    def detections(self, first: int = 1, last: int | None = None, *, shadow: bool = False) -> Iterator[StoredDetection]:
        statement = "shadow_detections" if shadow else "detections"
        for row in self._rows(statement, (first, last if last is not None else 2**62)):
            seq, chunk, pattern, action, key, at, holds, evidence, occasion, file = row
            detection = Detection(chunk, pattern, action, json.loads(key), json.loads(evidence), occasion, shadow)
            yield StoredDetection(seq, detection, at, bool(holds), file)

    def turns(self, before: int, *, shadow: bool = False) -> list[tuple[int, int, bool]]:
        statement = "shadow_turns" if shadow else "turns"
        return [(seq, chunk, bool(holds)) for seq, chunk, holds in self._rows(statement, (before,))]

    def cleared(self, first: int = 1, last: int | None = None) -> Iterator[StoredCleared]:
        for row in self._rows("cleared", (first, last if last is not None else 2**62)):
            number, seq, chunk, pattern, action, key, at, file = row
            yield StoredCleared(number, seq, chunk, pattern, action, json.loads(key), at, file)

    def by_pattern(self, *, shadow: bool = False) -> dict[str, int]:
        """Detections by pattern."""
        return dict(self._rows("by_shadow_pattern" if shadow else "by_pattern"))

    # whole states

    def shapes(self) -> list[TableShape]:
        """The tables of running values, as the last start knew them. Raises StateError when it kept no note of them."""
        text = self.get_meta("shapes")
        if text is None and self.get_meta("fingerprint") is not None:
            raise StateError(f"{self.uri} was last used by an earlier version: run 'tillwatch detect --once' once")
        return shapes_from(text) if text else []

    def contents(self, table: str, columns: Sequence[str], key: Sequence[str]) -> Iterator[Row]:
        """All rows of a table, in the order of its key."""
        return self._rows(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {', '.join(key)}")  # noqa: S608

    def fill(self, contents: Mapping[tuple[str, tuple[str, ...]], Iterable[Row]], rows: Sequence[TableRows]) -> None:
        """Adds rows to tables, by name and columns, and to tables of running values, all in one transaction."""
        with self._transaction():
            for (table, columns), found in contents.items():
                marks = ", ".join("?" * len(columns))
                self._run_each(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", found)  # noqa: S608
            for each in rows:
                if each.columns["id"]:
                    self._put_rows(each)

    # single facts

    def get_meta(self, key: str) -> str | None:
        """A fact of the state by its name, None when it is not known."""
        rows = list(self._rows("get_meta", (key,)))
        return str(rows[0][0]) if rows else None

    def note(self, notes: Mapping[str, str]) -> None:
        with self._transaction():
            self._held_cursor()
            for key, value in notes.items():
                self._set_meta(key, value)

    def _set_meta(self, key: str, value: str) -> None:
        self._run("set_meta", (key, value))

    def _one(self, statement: str) -> Any:
        (row,) = self._rows(statement)
        return row[0]
