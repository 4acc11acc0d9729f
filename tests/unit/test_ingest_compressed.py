"""Compressed source files, whole and damaged."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tillwatch.ingest.readers.base import Compression, FileBroken, FileRefused, Piece, Reading
from tillwatch.ingest.readers.csv import cut, cut_blocks
from tillwatch.ingest.readers.csv_records import Limits
from tillwatch.ingest.readers.stream import Stream
from tillwatch.model import Position

TEXT = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000))
COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor().compress,
}
START = Position()
BOTH = pytest.mark.parametrize("kind", ["gz", "zst"])


def cut_all(
    folder: Path, kind: Compression, data: bytes, rows: int = 7_000, start: Position = START
) -> tuple[list[Piece], str | None]:
    """The pieces of a compressed file, and what it broke off with."""
    path = folder / f"a.csv.{kind}"
    path.write_bytes(data)
    found = []
    try:
        for piece in cut(path, rows, start, Reading(path.name, kind, ",", {})):
            found.append(piece)
    except FileBroken as broken:
        return found, str(broken)
    return found, None


def numbers(pieces: list[Piece]) -> list[int]:
    """The column `a` of well-formed rows."""
    return [int(a) for piece in pieces for a in piece.frame["a"] if a is not None]


@BOTH
def test_rows_are_those_of_the_plain_file(tmp_path: Path, kind: Compression) -> None:
    """A compressed file has the rows and positions of its text; the digest is that of the compressed bytes."""
    data = COMPRESS[kind](TEXT)
    found, broken = cut_all(tmp_path, kind, data)
    assert broken is None
    assert numbers(found) == list(range(20_000))
    assert found[-1].position == Position(20_000, len(TEXT))
    assert found[-1].file_digest == hashlib.sha256(data).hexdigest()


@BOTH
def test_several_members(tmp_path: Path, kind: Compression) -> None:
    """Files made by joining compressed files are read to the end."""
    data = COMPRESS[kind](TEXT[:50_001]) + COMPRESS[kind](b"") + COMPRESS[kind](TEXT[50_001:])
    assert numbers(cut_all(tmp_path, kind, data)[0]) == list(range(20_000))


def test_padding_and_skippable_frames(tmp_path: Path) -> None:
    """Zeros behind a gzip member, and zstd frames that hold no data, are passed over."""
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    for found, broken in (
        cut_all(tmp_path, "gz", gzip.compress(TEXT) + bytes(100_000)),
        cut_all(tmp_path, "zst", skippable + COMPRESS["zst"](TEXT) + skippable),
    ):
        assert (numbers(found), broken) == (list(range(20_000)), None)


@BOTH
def test_resuming(tmp_path: Path, kind: Compression) -> None:
    """Reading goes on inside a compressed file, with the same pieces and the same digest."""
    data = COMPRESS[kind](TEXT)
    whole, _ = cut_all(tmp_path, kind, data)
    rest, _ = cut_all(tmp_path, kind, data, start=whole[0].position)
    assert [(p.frame.rows(), p.position, p.file_digest) for p in rest] == [
        (p.frame.rows(), p.position, p.file_digest) for p in whole[1:]
    ]


@BOTH
def test_truncated_file_keeps_its_whole_rows(tmp_path: Path, kind: Compression) -> None:
    """Of a file that was cut off the whole rows are kept, the one it ends in as malformed; no digest."""
    parts = [COMPRESS[kind](TEXT[:100_003]), COMPRESS[kind](TEXT[100_003:])]
    data = parts[0] + parts[1][: len(parts[1]) // 2]
    found, broken = cut_all(tmp_path, kind, data)
    last = found[-1].frame.row(-1, named=True)
    count = last["_source_row"]
    assert broken == f"the compressed data end early: the file was cut off, after row {count}"
    assert numbers(found) == list(range(count - 1))
    assert last["_problem"] == "malformed: file ends here inside a row"
    assert TEXT.split(b"\n")[count].startswith(last["_malformed"].encode())
    assert [p.file_digest for p in found] == [None] * len(found)


@BOTH
def test_corrupt_data(tmp_path: Path, kind: Compression) -> None:
    """Rows before corrupt data are kept, and the file is said to be corrupt."""
    data = COMPRESS[kind](TEXT[:100_000]) + b"\x28\xb5\x2f\xfd garbage, not data"
    found, broken = cut_all(tmp_path, kind, data)
    assert numbers(found) == list(range(len(numbers(found))))
    assert len(numbers(found)) > 5_000
    assert broken is not None
    assert "are corrupt" in broken


@BOTH
def test_cut_off_before_the_header_ends(tmp_path: Path, kind: Compression) -> None:
    """A file without a whole header is refused, with the damage as the reason."""
    with pytest.raises(FileRefused, match="the compressed data end early"):
        cut_all(tmp_path, kind, COMPRESS[kind](TEXT)[:12])


@BOTH
def test_suffix_without_compression(tmp_path: Path, kind: Compression) -> None:
    """Plain text under a compressed name is refused, an empty file as empty."""
    with pytest.raises(FileRefused, match=f"although its name ends in .{kind}"):
        cut_all(tmp_path, kind, TEXT)
    with pytest.raises(FileRefused, match="is empty"):
        cut_all(tmp_path, kind, b"")


def test_open_quote_at_the_cut(tmp_path: Path) -> None:
    """What follows an open quote in a cut off file is one malformed row: none of it is taken for rows."""
    data = gzip.compress(b'a,b\n1,2\n3,"x\n5,6\n')[:-8]
    found, broken = cut_all(tmp_path, "gz", data)
    assert found[-1].frame.select("a", "_malformed").rows() == [("1", None), (None, '3,"x\n5,6\n')]
    assert broken is not None


@BOTH
def test_repetitive_file_comes_in_blocks(tmp_path: Path, kind: Compression) -> None:
    """However well a file is compressed, its text comes in blocks of bounded size."""
    path = tmp_path / "a"
    path.write_bytes(COMPRESS[kind](b"1,2\n" * 3_000_000))
    with Stream(path, kind) as stream:
        sizes = [len(block) for block in stream.blocks(1 << 20)]
    assert sum(sizes) == 12_000_000
    assert max(sizes) <= 1 << 20


@BOTH
def test_block_size_does_not_matter(tmp_path: Path, kind: Compression) -> None:
    """Small blocks give the rows that large ones give, for a damaged file too."""
    path = tmp_path / "a.csv"
    path.write_bytes(COMPRESS[kind](TEXT[:300]) + COMPRESS[kind](TEXT[300:600])[:-20])
    seen = set()
    for block in (1, 7, 100, 1 << 20):
        found = []
        with pytest.raises(FileBroken) as broken:
            for piece in cut_blocks(path, 9, Position(), Reading("a", kind, ",", {}), block, Limits()):
                found.append(piece)
        seen.add((str(broken.value), *(str(p.frame.rows()) for p in found)))
    assert len(seen) == 1
