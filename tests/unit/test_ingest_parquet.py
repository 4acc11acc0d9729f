"""Parquet files as ingest cuts them."""

from __future__ import annotations

import hashlib
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tillwatch.ingest.readers.base import FileBroken, FileRefused, Piece, Reading
from tillwatch.ingest.readers.parquet import cut
from tillwatch.model import Position

READING = Reading("a.parquet", "", ",", {})


def written(folder: Path, rows: int, group: int) -> Path:
    """A file with one column `n` of numbers from 0, uncompressed, in row groups of `group`."""
    path = folder / "a.parquet"
    pl.DataFrame({"n": range(rows)}).write_parquet(path, compression="uncompressed", row_group_size=group)
    return path


def test_types_are_kept(tmp_path: Path) -> None:
    """Columns come with their own types, and the RESERVED ones are added."""
    frame = pl.DataFrame({"d": [Decimal("4.50")], "t": [date(2026, 1, 1)], "s": ["x"], "l": [[1, 2]], "z": [None]})
    path = tmp_path / "a.parquet"
    frame.write_parquet(path)
    [piece] = cut(path, 10, Position(), READING)
    assert piece.frame.drop("_source_file", "_source_row").equals(frame)
    assert piece.frame.schema["d"] == frame.schema["d"]
    assert piece.frame["_source_row"].to_list() == [1]


@pytest.mark.parametrize("group", [1_000, 250_000])
@pytest.mark.parametrize("rows", [60_000, 125_000, 300_000])
def test_pieces_have_a_set_size(tmp_path: Path, group: int, rows: int) -> None:
    """Pieces have exactly the rows asked for, whatever the row groups, and the digest is on the last one."""
    path = written(tmp_path, 250_000, group)
    found = list(cut(path, rows, Position(), READING))
    assert [p.frame.height for p in found[:-1]] == [rows] * (len(found) - 1)
    assert pl.concat([p.frame for p in found])["n"].to_list() == list(range(250_000))
    assert found[-1].position == Position(250_000, 250_000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert [p.file_digest for p in found] == [None] * (len(found) - 1) + [digest]


def test_resuming(tmp_path: Path) -> None:
    """From the position of any piece the same pieces follow."""
    path = written(tmp_path, 1_050, 300)
    found = list(cut(path, 100, Position(), READING))
    for done, piece in enumerate(found):
        rest = list(cut(path, 100, piece.position, READING))
        assert [as_tuple(p) for p in rest] == [as_tuple(p) for p in found[done + 1 :]]


def as_tuple(piece: Piece) -> tuple[object, ...]:
    """All that a piece is, comparable."""
    return piece.frame.rows(), piece.first_row, piece.position, piece.file_digest


def test_no_rows(tmp_path: Path) -> None:
    """A file without rows gives no piece."""
    assert list(cut(written(tmp_path, 0, 10), 10, Position(), READING)) == []


def test_name_with_wildcards(tmp_path: Path) -> None:
    """A file's name is a name, also when it looks like a pattern."""
    path = written(tmp_path, 3, 10).rename(tmp_path / "[a]*.parquet")
    assert [p.frame.height for p in cut(path, 10, Position(), READING)] == [3]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all, but some text", None])
def test_truncated_or_other_file(tmp_path: Path, data: bytes | None) -> None:
    """A truncated, an empty and another file are refused before a row is read."""
    path = written(tmp_path, 1_000, 100)
    path.write_bytes(path.read_bytes()[:-100] if data is None else data)
    with pytest.raises(FileRefused, match="is not a whole Parquet file"):
        next(cut(path, 10, Position(), READING))


def test_damaged_pages(tmp_path: Path) -> None:
    """Rows before damaged pages are kept in whole pieces, and the error says after which row."""
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"n": [str(n) * 7 for n in range(10_000)]})
    frame.write_parquet(path, compression="zstd", row_group_size=1_000)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    found = []
    with pytest.raises(FileBroken, match="its pages are damaged") as broken:
        for piece in cut(path, 500, Position(), READING):
            found.append(piece)
    rows = sum(p.frame.height for p in found)
    assert 3_000 <= rows <= 6_000
    assert str(broken.value).endswith(f"after row {rows}")
    assert pl.concat([p.frame for p in found])["n"].to_list() == frame["n"].head(rows).to_list()
    assert {p.file_digest for p in found} == {None}


def test_compressed_parquet_is_refused(tmp_path: Path) -> None:
    """Parquet within gzip cannot be read in part: the error says to unpack it."""
    with pytest.raises(FileRefused, match="unpack it"):
        next(cut(written(tmp_path, 3, 3), 10, Position(), Reading("a.parquet.gz", "gz", ",", {})))


def test_columns_are_checked(tmp_path: Path) -> None:
    """A missing column and a column with one of our names are refused."""
    path = written(tmp_path, 3, 3)
    with pytest.raises(FileRefused, match=r"has no column 'm' \(columns.merchant.*Columns found: n"):
        next(cut(path, 10, Position(), Reading("a", "", ",", {"merchant": "m"})))
    pl.DataFrame({"_problem": [1]}).write_parquet(path)
    with pytest.raises(FileRefused, match="has a column '_problem'"):
        next(cut(path, 10, Position(), READING))
