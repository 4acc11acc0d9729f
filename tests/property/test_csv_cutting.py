"""Cutting CSV files: what a row is depends neither on blocks, nor on pieces, nor on where reading resumes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tillwatch.ingest.readers.base import FileBroken, Piece, Reading
from tillwatch.ingest.readers.csv import cut_blocks
from tillwatch.ingest.readers.csv_blocks import BlockReader
from tillwatch.ingest.readers.csv_records import Grammar, Limits, Verdict
from tillwatch.model import MALFORMED, PROBLEM, SOURCE_ROW, Position

COLUMNS = ("x", "y", "z")
Row = tuple[str | None, ...]
"""The values, the raw text of a malformed row, and the first word of its problem."""


# The rules once more, letter by letter, as slow and plain as can be: what the readers must agree with.


class Long(Exception):
    """A row is over the limit."""


class Stray(Exception):
    """The quotes of a line do not fit."""


def quoted_field(text: bytes, at: int, limit: int) -> tuple[bytes, int]:
    """The value of the quoted field at `at`, and where it ends."""
    value, start = b"", at
    at += 1
    while at < len(text) and at + 1 - start <= limit:
        if text[at : at + 2] == b'""':
            value, at = value + b'"', at + 2
        elif text[at : at + 1] == b'"':
            return value, at + 1
        else:
            value, at = value + text[at : at + 1], at + 1
    raise Stray


def record(text: bytes, start: int, delimiter: bytes, limits: Limits) -> tuple[list[bytes], int]:
    """The fields of the record at `start`, and where its last field ends."""
    fields, at = [], start
    while True:
        if at - start > limits.row:
            raise Long
        if text[at : at + 1] == b'"':
            value, at = quoted_field(text, at, limits.quoted)
            if text[at : at + 1] not in (delimiter, b"\n") and text[at : at + 2] != b"\r\n":
                raise Stray
        else:
            end = min(text.index(b"\n", at), text.find(delimiter, at) % (len(text) + 1))
            value, at = text[at:end], end
            if text[at : at + 1] == b"\n":
                value = value.removesuffix(b"\r")
        fields.append(value)
        if text[at : at + 1] != delimiter:
            return fields, at
        at += 1


def as_text(raw: bytes) -> str:
    """A malformed row as it is kept."""
    doubled = raw.replace(b"\\", b"\\\\")
    return doubled.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def judged(fields: list[bytes], raw: bytes, columns: int) -> Row:
    """The row that a record is."""
    nothing = (None,) * columns
    try:
        raw.decode()
    except UnicodeDecodeError:
        return (*nothing, as_text(raw), "malformed: not UTF-8")
    if b"\0" in raw:
        return (*nothing, as_text(raw), "malformed: NUL at byte")
    if len(fields) != columns:
        return (*nothing, as_text(raw), f"malformed: {len(fields)} field")
    return (*(field.decode() for field in fields), None, None)


def expected(body: bytes, columns: int, delimiter: str, limits: Limits) -> Iterator[tuple[Row, int]]:
    """The rows below the header and where each ends; raises Long."""
    text = body if body.endswith(b"\n") or not body else body + b"\n"
    at = 0
    while at < len(text):
        try:
            fields, end = record(text, at, delimiter.encode(), limits)
        except Stray:
            fields, end = [], text.index(b"\n", at)
        end = text.index(b"\n", end) + 1
        raw = text[at : end - 1].removesuffix(b"\r")
        if end - at > limits.row:
            raise Long
        if raw:
            stray = (*(None,) * columns, as_text(raw), "malformed: quoted field")
            yield (judged(fields, raw, columns) if fields else stray), min(end, len(body))
        at = end


# Texts in which everything occurs that matters, and texts in which nearly all is well.

SNIPPETS = (
    [b"a", b"b", b",", b",", b";", b'"', b'"', b'""', b"\n", b"\n", b"\r\n", b"\r", b"\\", b"\0", b" "],
    [b"\xc3\xa9", b"\xc3", b"\xa9", b"\xed\xa0\x80", b'","', b'"\n"', b"\n\n", b"a,b,c\n", b'"a","b","c"\r\n'],
)
ANYTHING = st.lists(st.sampled_from([*SNIPPETS[0], *SNIPPETS[1]]), max_size=60).map(b"".join)
PLAIN = st.sampled_from([b"", b"a", b" b ", b"1.50", b"'q'", b"\xc3\xa9", b"x" * 20])
QUOTED = st.sampled_from(
    [b'""', b'"a"', b'"a;b"', b'"a,b"', b'"a""b"', b'"\n"', b'"\r\n"', b'"""x"""', b'"\xe2\x82\xac"', b'"\n\n"']
)


FAULTS = (
    [
        b"\n",
        b"\r\n",
        b"a,b\n",
        b"a,b,c,d\n",
        b"a,b\n,,,\n",
        b"a,b,c",
        b"a\xff,b,c\n",
        b"a,\0,c\n",
        b"a,b," + b"x" * 13 + b"\xc3\n\xa9,b,c\n",
    ],
    [
        b'a"b,c,d\n',
        b'"a,b,c\n',
        b'"a"b,c,d\n',
        b'"a"\r,c,d\n',
        b'a, "b",c\n',
        b'a,"b" ,c\n',
        b'a,b,"c',
        b'"a\nb"x,c,d\n',
    ],
)


def lines(field: st.SearchStrategy[bytes], columns: int) -> st.SearchStrategy[bytes]:
    """Lines in which all is well."""
    cells = st.lists(field, min_size=columns, max_size=columns).map(b",".join)
    good = st.tuples(cells, st.sampled_from([b"\n", b"\r\n"])).map(b"".join)
    return st.lists(good, min_size=1, max_size=20).map(b"".join)


@st.composite
def bodies(draw: st.DrawFn, columns: int) -> bytes:
    """Texts in which everything occurs, and good lines with few others among them."""
    if draw(st.integers(0, 2)) == 0:
        return draw(ANYTHING)
    good = lines(draw(st.sampled_from([PLAIN, st.one_of(PLAIN, QUOTED)])), columns)
    faults = FAULTS[0] if draw(st.booleans()) else FAULTS[1]
    fault = st.sampled_from([b"", *faults])
    return draw(good) + draw(fault) + draw(st.one_of(st.just(b""), good)) + draw(fault)


LIMITS = st.one_of(st.just(Limits()), st.builds(Limits, quoted=st.integers(2, 20), row=st.integers(20, 80)))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for every example to write."""
    return tmp_path_factory.mktemp("cutting") / "a.csv"


def pieces_of(
    path: Path, rows: int, start: Position, delimiter: str, block: int, limits: Limits
) -> tuple[list[Piece], bool]:
    """The pieces, and whether the file broke off behind them."""
    pieces: list[Piece] = []
    try:
        for piece in cut_blocks(path, rows, start, Reading("a.csv", "", delimiter, {}), block, limits):
            pieces.append(piece)
    except FileBroken:
        return pieces, True
    return pieces, False


def rows_in(piece: Piece, columns: int) -> list[Row]:
    """The rows of a piece, problems cut to their first words."""
    frame = piece.frame
    if MALFORMED not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias(MALFORMED), pl.lit(None).alias(PROBLEM))
    rows = frame.select(*COLUMNS[:columns], MALFORMED, PROBLEM).rows()
    words = ("malformed: not UTF-8", "malformed: NUL at byte", "malformed: quoted field")
    return [(*row[:-1], _first_words(row[-1], words)) for row in rows]


def _first_words(problem: str | None, words: tuple[str, ...]) -> str | None:
    if problem is None:
        return None
    known = [word for word in words if problem.startswith(word)]
    return known[0] if known else problem[: problem.index(" field") + len(" field")]


@settings(max_examples=400, deadline=None)
@given(
    columns=st.sampled_from([3, 3, 2, 1]),
    delimiter=st.sampled_from([",", ";"]),
    bom=st.booleans(),
    rows=st.integers(1, 7),
    block=st.one_of(st.integers(1, 40), st.sampled_from([256, 1 << 10, 1 << 20])),
    limits=LIMITS,
    data=st.data(),
)
def test_rows_are_those_of_the_rules(
    path: Path,
    columns: int,
    delimiter: str,
    bom: bool,
    rows: int,
    block: int,
    limits: Limits,
    data: st.DataObject,
) -> None:
    """Every text is cut as the plain rules say, at any block size, from the start and from any piece on."""
    body = data.draw(bodies(columns))
    if delimiter == ";":
        body = body.replace(b",", b";")
    header = (b"\xef\xbb\xbf" if bom else b"") + delimiter.join(COLUMNS[:columns]).encode() + b"\r\n"
    path.write_bytes(header + body)
    wanted: list[tuple[Row, int]] = []
    long = False
    try:
        for row in expected(body, columns, delimiter, limits):
            wanted.append(row)
    except Long:
        long = True

    pieces, broken = pieces_of(path, rows, Position(), delimiter, block, limits)

    assert broken == long
    assert [row for piece in pieces for row in rows_in(piece, columns)] == [row for row, _ in wanted]
    assert [piece.frame.height for piece in pieces[:-1]] == [rows] * len(pieces[:-1])
    assert [piece.position for piece in pieces] == [
        Position(last, len(header) + wanted[last - 1][1])
        for last in [*range(rows, len(wanted), rows), len(wanted)][: len(pieces)]
    ]
    numbers = [number for piece in pieces for number in piece.frame[SOURCE_ROW]]
    assert numbers == list(range(1, len(wanted) + 1))
    digest = None if long else hashlib.sha256(header + body).hexdigest()
    assert [piece.file_digest for piece in pieces] == [None] * (len(pieces) - 1) + [digest] * bool(pieces)
    if pieces:
        done = data.draw(st.integers(0, len(pieces) - 1))
        rest, _ = pieces_of(path, rows, pieces[done].position, delimiter, data.draw(st.integers(1, 300)), limits)
        assert [as_tuple(piece) for piece in rest] == [as_tuple(piece) for piece in pieces[done + 1 :]]


def as_tuple(piece: Piece) -> tuple[object, ...]:
    """All that a piece is, comparable."""
    return piece.frame.columns, piece.frame.rows(), piece.first_row, piece.position, piece.file_digest


@settings(max_examples=300, deadline=None)
@given(text=ANYTHING, quoted=st.integers(2, 12), more=st.integers(0, 5))
@example(text=b'a,"\n' + b"b" * 12, quoted=12, more=0)
@example(text=b'"\n' + b"b" * 12, quoted=12, more=0)
def test_a_verdict_stands(text: bytes, quoted: int, more: int) -> None:
    """What is said about the start of a text, other than that more is needed, holds whatever follows."""
    limits = Limits(quoted=quoted, row=quoted + more)
    grammar = Grammar(",", limits)
    final = grammar.look(text + b"\n", 0, True)
    for known in range(1, len(text) + 1):
        verdict, end = grammar.look(text[:known], 0, False)
        assert verdict is Verdict.MORE or verdict is final[0]
        assert verdict not in (Verdict.RECORD, Verdict.STRAY) or end == final[1]


@settings(max_examples=100, deadline=None)
@given(lines(st.one_of(PLAIN, QUOTED), 3))
@example(b"a,b,c\n")
def test_clean_text_is_taken_at_once(text: bytes) -> None:
    """The fast reader takes every text in which all is well, and finds the rows that the plain rules find."""
    batch = BlockReader(COLUMNS, Grammar(",", Limits())).read(text, 0)
    assert batch is not None
    wanted = list(expected(text, 3, ",", Limits()))
    assert batch.frame.rows() == [row[:3] for row, _ in wanted]
    assert batch.ends.tolist() == [end for _, end in wanted]
