"""Old chunks merged into larger Parquet objects: how these are named, found, verified and read.

A merged object stands beside the chunks that it replaces, such as `000000000000-000000000099.parquet`. Its rows are
those of its chunks, in order. Its footer holds, under the key `tillwatch`, a digest of the object made as for a chunk,
and under `merged` the metadata of each chunk as text, with the digest that the chunk had when it was merged, and under
`columns` the names of its columns: the object has all columns of all of them. So a chunk read from it has the rows, the
columns, the metadata and the digest that it had before.

Merged objects hold the beginning of the log: every chunk below the last merged one is in one of them.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from tillwatch.errors import LogError
from tillwatch.landing.codec import decode
from tillwatch.landing.layout import Layout
from tillwatch.landing.metadata import KEY, check_seal, info_of, metadata_with_digest, seal, sealed
from tillwatch.model import Chunk, ChunkInfo
from tillwatch.stores.base import Store

_NAME = re.compile(r"(?:.*/)?([0-9]{12})-([0-9]{12})\.parquet")
_CHUNK = re.compile(r"(?:.*/)?([0-9]{12})\.(?:parquet|csv)")


@dataclass(frozen=True, slots=True)
class Range:
    """Chunks `first`…`last`, merged into the object `name`."""

    first: int
    last: int
    name: str


@dataclass(frozen=True, slots=True)
class _Opened:
    """A merged object, verified: its chunks, at which row each begins, their columns, and its bytes."""

    infos: Sequence[ChunkInfo]
    starts: Sequence[int]
    columns: Sequence[Sequence[str]]
    data: bytes


class MergedChunks:
    """The merged objects of a landing zone. The one last read is kept, so that reading on does not read it again."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store, self._layout = store, layout
        self._ranges: list[Range] | None = None
        self._lock = threading.Lock()
        self._opened: tuple[str, _Opened] | None = None
        self._decoded: tuple[object, pl.DataFrame] | None = None

    def look(self) -> Sequence[Range]:
        """The merged ranges that are there now, in order, by listing the beginning of the log."""
        found: list[Range] = []
        covered = -1
        for name in self._layout.names():
            if match := _NAME.fullmatch(name):
                found.append(Range(int(match[1]), int(match[2]), name))
                covered = max(covered, found[-1].last)
            elif (match := _CHUNK.fullmatch(name)) and int(match[1]) > covered:
                break
        self._ranges = found
        return found

    def find(self, number: int, *, again: bool) -> Range | None:
        """The range with the chunk. With `again` it looks anew when it knows of none; otherwise once at most."""
        if self._ranges is None or (again and not self.known(number)):
            self.look()
        return self.known(number)

    def known(self, number: int) -> Range | None:
        """The range with the chunk, of those seen when it looked last."""
        return next((r for r in self._ranges or () if r.first <= number <= r.last), None)

    def read(self, number: int, within: Range, columns: Sequence[str] | None) -> Chunk:
        """The chunk as `Landing.read` gives it. Raises LogError when the object is not what was put."""
        with self._lock:
            opened = self._open(within)
            at = number - within.first
            rows = self._rows(within, opened, columns)
            mine = [name for name in opened.columns[at] if name in rows.columns]
            return Chunk(opened.infos[at], rows.slice(opened.starts[at], opened.infos[at].rows).select(mine))

    def info(self, number: int, within: Range) -> ChunkInfo:
        """The chunk's metadata. Raises LogError."""
        with self._lock:
            return self._open(within).infos[number - within.first]

    def _open(self, within: Range) -> _Opened:
        if self._opened is None or self._opened[0] != within.name:
            self._decoded = None
            opened = _verified(self._store.get(within.name), within, f"{self._store.uri}/{within.name}")
            self._opened = (within.name, opened)
        return self._opened[1]

    def _rows(self, within: Range, opened: _Opened, columns: Sequence[str] | None) -> pl.DataFrame:
        key = (within.name, None if columns is None else tuple(columns))
        if self._decoded is None or self._decoded[0] != key:
            frame = decode("parquet", opened.data, columns)
            expected = opened.starts[-1] + opened.infos[-1].rows
            if frame.height != expected:
                raise LogError(f"{self._store.uri}/{within.name} says {expected} rows, but has {frame.height}.")
            self._decoded = (key, frame)
        return self._decoded[1]


def encode_merged(chunks: Sequence[Chunk]) -> bytes:
    """The bytes of the object that replaces these chunks. Columns of one name have one type in all of them."""
    target = io.BytesIO()
    infos, columns = [metadata_with_digest(c.info) for c in chunks], [c.frame.columns for c in chunks]
    rows = pl.concat([c.frame for c in chunks], how="diagonal")
    rows.write_parquet(target, compression="zstd", metadata={KEY: sealed({"merged": infos, "columns": columns})})
    return seal(target.getvalue())[0]


def merged_name(first: int, last: int) -> str:
    """The name of a merged object, in the folder of its chunks.

    >>> merged_name(0, 99)
    '000000000000-000000000099.parquet'
    """
    return f"{first:012}-{last:012}.parquet"


def _verified(data: bytes, within: Range, where: str) -> _Opened:
    check_seal(data, where)
    texts, columns = _fields(pl.read_parquet_metadata(data).get(KEY, ""), within, where)
    infos = [info_of(text, number, where) for number, text in enumerate(texts, within.first)]
    starts = [0, *accumulate(info.rows for info in infos)][:-1]
    return _Opened(infos, starts, columns, data)


def _fields(text: str, within: Range, where: str) -> tuple[list[str], list[list[str]]]:
    texts, columns = [], []
    try:
        fields = json.loads(text)
        texts, columns = fields["merged"], fields["columns"]
        whole = len(texts) == len(columns) == within.last - within.first + 1
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise LogError(
            f"{where} is whole, but does not say that it holds chunks {within.first} to {within.last}. It was renamed, "
            "or written by another program or version."
        )
    return texts, columns
