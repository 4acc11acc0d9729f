"""CSV files as ingest cuts them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tillwatch.ingest.readers.base import FileBroken, FileRefused, Piece, Reading
from tillwatch.ingest.readers.csv import cut, cut_blocks
from tillwatch.ingest.readers.csv_records import Limits
from tillwatch.model import Position

NO_START = Position()


def pieces(folder: Path, content: bytes, rows: int = 100, delimiter: str = ",", **required: str) -> list[Piece]:
    """The pieces of a file with this content."""
    path = folder / "a.csv"
    path.write_bytes(content)
    return list(cut(path, rows, NO_START, Reading("a.csv", "", delimiter, required)))


def rows(folder: Path, content: bytes, delimiter: str = ",") -> list[dict[str, object]]:
    """The rows of a file with this content, without the name of the file."""
    return [
        {name: value for name, value in row.items() if name != "_source_file"}
        for piece in pieces(folder, content, delimiter=delimiter)
        for row in piece.frame.rows(named=True)
    ]


def malformed(folder: Path, content: bytes) -> list[tuple[int, str, str]]:
    """Row number, raw text and problem of the malformed rows, whose source columns must all be null."""
    found = []
    for row in rows(folder, content):
        if row.get("_malformed") is not None:
            number, raw, problem = row.pop("_source_row"), row.pop("_malformed"), row.pop("_problem")
            assert set(row.values()) == {None}
            found.append((number, raw, problem))
    return found


def refusal(folder: Path, content: bytes, delimiter: str = ",", **required: str) -> str:
    """Why a file with this content is refused."""
    with pytest.raises(FileRefused) as refused:
        pieces(folder, content, delimiter=delimiter, **required)
    return str(refused.value)


def test_columns_come_as_they_are(tmp_path: Path) -> None:
    """Values stay text, quotes that are not CSV's and white space included, and RESERVED columns are added."""
    [piece] = pieces(tmp_path, b"step,'customer', amount \n0,'C1', 4.50\n1,\"C\"\"2\",\n")
    assert piece.frame.rows(named=True) == [
        {"step": "0", "customer": "'C1'", "amount": " 4.50", "_source_file": "a.csv", "_source_row": 1},
        {"step": "1", "customer": 'C"2', "amount": "", "_source_file": "a.csv", "_source_row": 2},
    ]


def test_quoted_fields_hold_separators_and_lines(tmp_path: Path) -> None:
    """A quoted field may hold separators, line ends of either kind and doubled quotes."""
    assert [r["b"] for r in rows(tmp_path, b'a,b\r\n1,"x,y"\r\n2,"x\ny\r\nz"\r\n3,"""q"""\r\n')] == [
        "x,y",
        "x\ny\r\nz",
        '"q"',
    ]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [b"", b"end"])
def test_line_ends_and_bom(tmp_path: Path, ends: bytes, bom: bytes, last: bytes) -> None:
    """LF and CRLF, with BOM and without, with a last line end and without: the same rows."""
    content = bom + ends.join([b"a,b", b"1,2", b"", b"3,4", b""])
    content = content[: -len(ends)] if last else content
    assert [(r["a"], r["b"]) for r in rows(tmp_path, content)] == [("1", "2"), ("3", "4")]


def test_pieces_have_a_set_size(tmp_path: Path) -> None:
    """Pieces have exactly the rows asked for, fewer at the end, and only the last has the file's digest."""
    content = b"a\n" + b"".join(b"%d\n" % n for n in range(7))
    found = pieces(tmp_path, content, rows=3)
    assert [(p.first_row, p.frame.height, p.position.row) for p in found] == [(1, 3, 3), (4, 3, 6), (7, 1, 7)]
    assert [p.position.offset for p in found] == [8, 14, 16]
    assert [p.file_digest for p in found] == [None, None, hashlib.sha256(content).hexdigest()]


def test_last_piece_may_be_full(tmp_path: Path) -> None:
    """When the rows come out even, the last full piece has the digest, and no empty piece follows."""
    found = pieces(tmp_path, b"a\n1\n2\n3\n4\n", rows=2)
    assert [p.file_digest is None for p in found] == [True, False]


def test_ragged_rows_are_kept(tmp_path: Path) -> None:
    """A row with too few or too many fields is kept as text, also over several lines, and the others are read."""
    content = b'a,b\n1,2\n1\n1,2,3\n"x\ny",2,3\n5,6\n'
    assert malformed(tmp_path, content) == [
        (2, "1", "malformed: 1 field where the header has 2"),
        (3, "1,2,3", "malformed: 3 fields where the header has 2"),
        (4, '"x\ny",2,3', "malformed: 3 fields where the header has 2"),
    ]
    assert rows(tmp_path, content)[-1]["a"] == "5"


def test_unfit_quotes_spoil_one_line(tmp_path: Path) -> None:
    """A line with a quote that is never closed, or closed and followed by text, is kept, and the next is read."""
    content = b'a,b\n"1,2\n3,4\n5,"6"x\n7,8\n'
    assert malformed(tmp_path, content) == [
        (1, '"1,2', "malformed: quoted field is not closed properly"),
        (3, '5,"6"x', "malformed: quoted field is not closed properly"),
    ]
    assert [r["a"] for r in rows(tmp_path, content)] == [None, "3", None, "7"]


def test_quotes_within_a_field_are_text(tmp_path: Path) -> None:
    """A quote that does not start a field is part of its value."""
    assert rows(tmp_path, b'a,b\n5" pipe,x\n')[0]["a"] == '5" pipe'


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    r"""A row that is not UTF-8 is kept reversibly: such bytes as \xNN, backslashes doubled."""
    assert malformed(tmp_path, b"a,b\n1,\xc3\xa9\nC:\\x,caf\xe9\n") == [
        (2, "C:\\\\x,caf\\xe9", "malformed: not UTF-8 text at byte 9 of the row")
    ]


def test_binary_rows_are_kept(tmp_path: Path) -> None:
    """NUL bytes make a row malformed: databases do not take them."""
    assert malformed(tmp_path, b"a,b\n1,\0\n") == [(1, r"1,\x00", "malformed: NUL at byte 3 of the row")]


def test_very_long_line_is_a_row(tmp_path: Path) -> None:
    """A line of 10 MB, longer than a block, is read like any other, and kept whole when it does not fit."""
    long = b"x" * 10_000_000
    found = rows(tmp_path, b"a,b\n1," + long + b"\n" + long + b"\n3,4\n")
    assert found[0]["b"] == long.decode()
    assert found[1]["_malformed"] == long.decode()
    assert found[2]["a"] == "3"


def test_row_over_the_limit_breaks_the_file(tmp_path: Path) -> None:
    """Reading ends before a row over the limit; the rows before it are there, without the file's digest."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,2\n3,4\n" + b"x" * (3 << 20) + b"\n5,6\n")
    found = []
    with pytest.raises(FileBroken, match="a row is longer than 2 MiB, after row 2"):
        for piece in cut_blocks(path, 10, NO_START, Reading("a", "", ",", {}), 1 << 20, Limits(1 << 20, 2 << 20)):
            found.append(piece)
    assert [(p.frame.height, p.file_digest) for p in found] == [(2, None)]


def test_resuming_gives_the_same_pieces(tmp_path: Path) -> None:
    """From the position of any piece the same pieces follow, digest included."""
    found = pieces(tmp_path, b"a,b\n" + b'1,2\n"3\n",4\n\n5\n' * 50, rows=7)
    for done, piece in enumerate(found):
        rest = list(cut(tmp_path / "a.csv", 7, piece.position, Reading("a.csv", "", ",", {})))
        assert [(p.frame.rows(), p.first_row, p.position, p.file_digest) for p in rest] == [
            (p.frame.rows(), p.first_row, p.position, p.file_digest) for p in found[done + 1 :]
        ]


def test_header_only_has_no_piece(tmp_path: Path) -> None:
    """A header without rows gives no piece."""
    assert pieces(tmp_path, b"a,b\n") == []


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\r\n\n"])
def test_empty_file(tmp_path: Path, content: bytes) -> None:
    """A file without a header is refused as empty."""
    assert refusal(tmp_path, content) == "is empty: it has not even a header"


def test_header_faults(tmp_path: Path) -> None:
    """A header with a name twice, without a name, with our names or unfit quotes is refused, each in its words."""
    assert refusal(tmp_path, b"a,b, 'a' \n") == "has a header with 'a' twice, in columns 1 and 3"
    assert refusal(tmp_path, b"a,,b\n") == "has a header whose column 2 has no name"
    assert "has a column '_source_row'" in refusal(tmp_path, b"a,_source_row\n")
    assert refusal(tmp_path, b'a,"b\n1,2\n') == "has a header with a quoted name that is not closed properly"


def test_not_a_text_file(tmp_path: Path) -> None:
    """Binary files, UTF-16, other encodings and old Mac line ends are refused, each in its words."""
    assert "NUL bytes" in refusal(tmp_path, b"\x89PNG\0\0\n\x1a\n")
    assert "UTF-16" in refusal(tmp_path, "a,b\n1,2\n".encode("utf-16"))
    assert "byte 2 of its header" in refusal(tmp_path, b"a\xe9,b\n1,2\n")
    assert "carriage return" in refusal(tmp_path, b"a,b\r1,2\r")


def test_missing_column(tmp_path: Path) -> None:
    """A missing column is named with its logical name, a near name and the columns found."""
    text = refusal(tmp_path, b"step,Custommer,amount\n", customer="customer", amount="amount")
    assert text == (
        "has no column 'customer' (columns.customer; did you mean 'Custommer'?). Columns found: step, Custommer, amount"
    )


@pytest.mark.parametrize("delimiter, name", [(";", "';'"), ("\t", "a tab"), ("|", "'|'")])
def test_wrong_delimiter(tmp_path: Path, delimiter: str, name: str) -> None:
    """When another delimiter would give more columns, the error says so; set, it works."""
    content = delimiter.join(["a", "b", "c"]).encode() + b"\n" + delimiter.join(["1", "2", "3"]).encode()
    text = refusal(tmp_path, content, a="a")
    assert text.endswith(f"It looks like {name} is the delimiter: set source.delimiter")
    assert rows(tmp_path, content, delimiter)[0]["c"] == "3"


def test_file_without_permission(tmp_path: Path) -> None:
    """A file that must not be read is refused with the system's reason."""
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(FileRefused, match="cannot be opened: Permission denied"):
            next(cut(path, 10, NO_START, Reading("a.csv", "", ",", {})))
    finally:
        os.seteuid(user)


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that cannot be opened is refused with the system's reason."""
    with pytest.raises(FileRefused, match="cannot be opened: Is a directory"):
        next(cut(tmp_path, 10, NO_START, Reading("a.csv", "", ",", {})))
