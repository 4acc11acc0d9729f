"""CSV record by record: the rules in full, for what the fast path does not take."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tillwatch.ingest.readers.base import raw_text
from tillwatch.ingest.readers.cutting import Batch
from tillwatch.ingest.readers.stream import strip_line_end
from tillwatch.model import MALFORMED, PROBLEM

# No possessive quantifiers: those of Python before 3.11.5 match too little.
_QUOTED = rb'"[^"]*(?:""[^"]*)*"(?!")'


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes within which a quoted field must be closed, and bytes that one row may have."""

    quoted: int = 16 << 20
    row: int = 64 << 20


class Verdict(enum.Enum):
    """What stands at a position of the text."""

    RECORD = "a record"
    STRAY = "a line whose quotes do not fit"
    MORE = "more text is needed to tell"
    LONG = "a row over the limit"


class Grammar:
    """Where records end, for one delimiter. A verdict other than MORE never changes when text is added."""

    def __init__(self, delimiter: str, limits: Limits) -> None:
        self.limits = limits
        self.delimiter = delimiter.encode()
        self._separator = delimiter
        separator = re.escape(self.delimiter)
        plain = rb"[^" + separator + rb"\n]*"
        field = rb"(?:" + _QUOTED + rb'|(?!")' + plain + rb")"
        self._field = re.compile(field.decode())
        self._quoted = re.compile(_QUOTED)
        self._plain = re.compile(plain)
        self._record = re.compile(field + rb"(?:" + separator + field + rb")*\r?\n")

    def look(self, text: bytes, start: int, whole: bool) -> tuple[Verdict, int]:
        """What stands at `start`, and where it ends, its line end included. `whole`: no text will follow."""
        match = self._record.match(text, start)
        if match and match.end() - start <= self.limits.quoted:
            return Verdict.RECORD, match.end()
        verdict, end = self._walk(text, start, whole)
        if verdict is Verdict.STRAY:
            end = text.find(b"\n", start) + 1
            if not end:
                return self._unfinished(text, start), 0
        return (Verdict.LONG if end - start > self.limits.row else verdict), end

    def fields(self, record: str) -> list[str]:
        """The fields of a record, given without its line end: quotes taken off."""
        if '"' not in record:
            return record.split(self._separator)
        found = []
        at = 0
        while at <= len(record):
            value = self._field.match(record, at)[0]  # type: ignore[index]  # a record consists of fields
            found.append(value[1:-1].replace('""', '"') if value.startswith('"') else value)
            at += len(value) + 1
        return found

    def _walk(self, text: bytes, start: int, whole: bool) -> tuple[Verdict, int]:
        at = start
        while at - start <= self.limits.row:
            opened = text.startswith(b'"', at)
            match = (self._quoted if opened else self._plain).match(text, at)
            end = match.end() if match else len(text)
            if opened and (end - at > self.limits.quoted or (whole and not match)):
                return Verdict.STRAY, 0
            if end == len(text):
                return (Verdict.MORE if opened else self._unfinished(text, start)), 0
            if not text.startswith(self.delimiter, end):
                return _after_last_field(text, end)
            at = end + 1
        return Verdict.LONG, 0

    def _unfinished(self, text: bytes, start: int) -> Verdict:
        return Verdict.LONG if len(text) - start > self.limits.row else Verdict.MORE


def _after_last_field(text: bytes, at: int) -> tuple[Verdict, int]:
    """A record must end where no separator follows a field."""
    after = text[at : at + 2]
    if after.startswith(b"\n"):
        return Verdict.RECORD, at + 1
    if after == b"\r\n":
        return Verdict.RECORD, at + 2
    return (Verdict.MORE if after == b"\r" else Verdict.STRAY), 0


class Records:
    """Rows taken one by one. A row that cannot be cut into `columns` is kept as text, with the reason."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._values: list[Sequence[str | None]] = []
        self._marks: list[tuple[str, str] | tuple[None, None]] = []
        self._ends: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._ends)

    def add(self, values: Sequence[str], end: int) -> None:
        """A row as it should be."""
        self._values.append(values)
        self._marks.append((None, None))
        self._ends.append(end)

    def add_malformed(self, raw: bytes, problem: str, end: int) -> None:
        """A row that could not be cut."""
        self._values.append([None] * len(self._columns))
        self._marks.append((raw_text(raw), f"malformed: {problem}"))
        self._ends.append(end)

    def batch(self) -> Batch:
        """What was added: one row at least."""
        schema = dict.fromkeys((*self._columns, MALFORMED, PROBLEM), pl.String())
        columns = [*zip(*self._values, strict=True), *zip(*self._marks, strict=True)]
        frame = pl.DataFrame(dict(zip(schema, columns, strict=True)), schema=schema)
        return Batch(frame, np.array(self._ends, dtype=np.int64))


class CarefulReader:
    """Cuts text into rows by the full rules."""

    def __init__(self, columns: Sequence[str], grammar: Grammar) -> None:
        self._columns = columns
        self._grammar = grammar

    def read(self, text: bytes, start: int, stop: int, base: int, whole: bool) -> tuple[Batch | None, int, Verdict]:
        """The rows that begin in `start` to `stop`, where reading goes on, and the last verdict.

        `base` is the offset of `text` in the file. Ends before `stop` when the verdict is MORE or LONG.
        """
        rows = Records(self._columns)
        at, verdict = start, Verdict.RECORD
        while at < stop:
            verdict, end = self._grammar.look(text, at, whole)
            if verdict in (Verdict.MORE, Verdict.LONG):
                break
            raw = strip_line_end(text[at:end])
            if verdict is Verdict.STRAY:
                rows.add_malformed(raw, "quoted field is not closed properly", base + end)
            elif raw:
                self._add_record(rows, raw, base + end)
            at = end
        return (rows.batch() if rows else None), at, verdict

    def _add_record(self, rows: Records, raw: bytes, end: int) -> None:
        try:
            fields = self._grammar.fields(raw.decode())
        except UnicodeDecodeError as error:
            rows.add_malformed(raw, f"not UTF-8 text at byte {error.start + 1} of the row", end)
            return
        if b"\0" in raw:
            rows.add_malformed(raw, f"NUL at byte {raw.index(0) + 1} of the row", end)
        elif len(fields) != len(self._columns):
            count = f"{len(fields)} field{'s' * (len(fields) != 1)}"
            rows.add_malformed(raw, f"{count} where the header has {len(self._columns)}", end)
        else:
            rows.add(fields, end)


def cut_off(columns: Sequence[str], raw: bytes, end: int) -> Batch:
    """The one row that a damaged file ends in."""
    rows = Records(columns)
    rows.add_malformed(raw, "file ends here inside a row", end)
    return rows.batch()
