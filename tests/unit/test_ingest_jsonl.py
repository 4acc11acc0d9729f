"""JSON Lines files as ingest cuts them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.ingest.readers.base import FileBroken, FileRefused, Piece, Reading
from tillwatch.ingest.readers.jsonl import cut, cut_blocks
from tillwatch.model import Position


def pieces(folder: Path, content: bytes, rows: int = 100) -> list[Piece]:
    """The pieces of a file with this content."""
    path = folder / "a.jsonl"
    path.write_bytes(content)
    return list(cut(path, rows, Position(), Reading("a.jsonl", "", ",", {})))


def problem(folder: Path, line: bytes) -> str:
    """What is wrong with a line, which must be kept as it is, with all columns null."""
    [piece] = pieces(folder, b'{"a":"1"}\n' + line + b'\n{"a":"2"}\n')
    good, bad, other = piece.frame.rows(named=True)
    assert (good["a"], good["_problem"], bad["a"], other["a"]) == ("1", None, None, "2")
    assert bad["_malformed"] == line.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return str(bad["_problem"])


def test_values_keep_their_text(tmp_path: Path) -> None:
    """Numbers come as they are written, true, false and null as such, nested values as compact JSON text."""
    line = '{"n": 1.50, "e": 1E+400, "i": -0, "s": "1.5", "t": true, "f": false, "z": null, "nan": NaN}'
    nested = '{"o": {"k": [1.0, "é\\"", null, true]}, "l": []}'
    [piece] = pieces(tmp_path, f"{line}\n{nested}\n".encode())
    first, second = piece.frame.rows(named=True)
    assert {k: first[k] for k in ("n", "e", "i", "s", "t", "f", "z", "nan")} == {
        "n": "1.50",
        "e": "1E+400",
        "i": "-0",
        "s": "1.5",
        "t": "true",
        "f": "false",
        "z": None,
        "nan": "NaN",
    }
    assert (second["o"], second["l"], second["n"]) == ('{"k":[1.0,"é\\"",null,true]}', "[]", None)


def test_columns_are_those_of_the_piece(tmp_path: Path) -> None:
    """A piece has the keys of its own rows as columns, all String, in the order in which they first come."""
    found = pieces(tmp_path, b'{"b":1}\n{"a":2,"b":3}\n{"c":null}\n', rows=2)
    assert [p.frame.columns for p in found] == [
        ["b", "a", "_source_file", "_source_row"],
        ["c", "_source_file", "_source_row"],
    ]
    assert found[1].frame["c"].dtype == pl.String


def test_malformed_lines_are_kept(tmp_path: Path) -> None:
    """A line that is not one good object is kept as text, each with its reason, and the others are read."""
    assert problem(tmp_path, b"{bad}").startswith("malformed: not JSON: Expecting property name")
    assert problem(tmp_path, b"[1]") == "malformed: not a JSON object"
    assert problem(tmp_path, b"1.5") == "malformed: not a JSON object"
    assert problem(tmp_path, b'{"a":1} {"a":2}') == "malformed: not JSON: Extra data at character 9 of the row"
    assert problem(tmp_path, b'{"a":1,"a":2}') == "malformed: key 'a' twice in one object"
    assert problem(tmp_path, b'{"a":{"k":1,"k":2}}') == "malformed: key 'k' twice in one object"
    assert problem(tmp_path, b'{"a":"\xff"}') == "malformed: not UTF-8 text at byte 7 of the row"
    assert problem(tmp_path, rb'{"a":"\ud800"}') == "malformed: half a surrogate pair in a text"
    assert problem(tmp_path, rb'{"a":"\u0000"}') == "malformed: NUL in a text"
    assert "'_source_row' is a name that tillwatch keeps" in problem(tmp_path, b'{"_source_row":1}')
    assert problem(tmp_path, b'{"a":' * 100_000) == "malformed: JSON nested too deeply"


def test_rows_without_columns(tmp_path: Path) -> None:
    """An empty object is a row, and so is a piece of nothing else."""
    [piece] = pieces(tmp_path, b"{}\n{}\n")
    assert piece.frame.rows() == [("a.jsonl", 1), ("a.jsonl", 2)]


def test_empty_lines_bom_and_crlf(tmp_path: Path) -> None:
    """Blank lines are no rows; BOM, CRLF and a missing last line end change nothing."""
    content = b'\xef\xbb\xbf{"a":1}\r\n\r\n  \t\n{"a":2}'
    [piece] = pieces(tmp_path, content)
    assert piece.frame["a"].to_list() == ["1", "2"]
    assert piece.position == Position(2, len(content))
    assert piece.file_digest == hashlib.sha256(content).hexdigest()


def test_empty_file(tmp_path: Path) -> None:
    """A file without a line has no rows."""
    assert pieces(tmp_path, b"") == []


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A JSON array and UTF-16 text are refused, with what was expected."""
    with pytest.raises(FileRefused, match="JSON array, expected JSON Lines"):
        pieces(tmp_path, b'[{"a":1}]')
    with pytest.raises(FileRefused, match="UTF-16"):
        pieces(tmp_path, '{"a":1}'.encode("utf-16"))


def test_row_over_the_limit_breaks_the_file(tmp_path: Path) -> None:
    """Reading ends before a line over the limit, also when it never ends."""
    for rest in (b"\n", b""):
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"a":1}\n{"a":"' + b"x" * (2 << 20) + b'"}' + rest)
        found = []
        with pytest.raises(FileBroken, match="a row is longer than 1 MiB, after row 1"):
            for piece in cut_blocks(path, 9, Position(), Reading("a", "", ",", {}), 1 << 19, 1 << 20):
                found.append(piece)
        assert [p.frame.height for p in found] == [1]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for every example to write."""
    return tmp_path_factory.mktemp("cutting") / "a.jsonl"


def as_json(value: object) -> str | None:
    """What a value must have become."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@settings(max_examples=100, deadline=None)
@given(
    objects=st.lists(OBJECTS, max_size=12),
    ascii=st.booleans(),
    rows=st.integers(1, 5),
    block=st.integers(1, 200),
    data=st.data(),
)
def test_any_objects_come_back(
    path: Path, objects: list[dict[str, object]], ascii: bool, rows: int, block: int, data: st.DataObject
) -> None:
    """Whatever JSON writes is read as it was meant, at any block size, and on from any piece."""
    path.write_text("".join(json.dumps(o, ensure_ascii=ascii) + "\n\n" for o in objects), encoding="utf-8")
    reading = Reading("a", "", ",", {})
    found = list(cut_blocks(path, rows, Position(), reading, block, 1 << 20))
    read = [row for piece in found for row in piece.frame.rows(named=True)]
    assert len(read) == len(objects)
    for row, meant in zip(read, objects, strict=True):
        assert {k: row[k] for k in meant} == {k: as_json(v) for k, v in meant.items()}
    assert [p.frame.height for p in found[:-1]] == [rows] * (len(found) - 1) if found else not objects
    if found:
        done = data.draw(st.integers(0, len(found) - 1))
        rest = list(cut_blocks(path, rows, found[done].position, reading, data.draw(st.integers(1, 200)), 1 << 20))
        assert [(p.frame.rows(), p.position) for p in rest] == [(p.frame.rows(), p.position) for p in found[done + 1 :]]
