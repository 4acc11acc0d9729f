"""Old chunks merged into larger Parquet objects: how these are named, found, verified and read.

A merged object stands beside the chunks that it replaces, such as `000000000000-000000000099.parquet`. Its rows are
those of its chunks, in order. Its footer holds, under the key `tillwatch`, a digest of the object made as for a chunk,
and under `merged` the metadata of each chunk as text, with the digest that the chunk had when it was merged, and under
`columns` the names of its columns: the object has all columns of all of them. So a chunk read from it has the rows, the
columns, the metadata and the digest that it had before.

Merged objects hold the beginning of the log: every chunk below the last merged one is in one of them, or is said to be
removed by a record (`landing.removed`) that stands for a merged object.
"""

from __future__ import annotations

import io
import json
import re
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from tillwatch.errors import LogError, ObjectMissing
from tillwatch.landing.codec import decode
from tillwatch.landing.layout import Layout
from tillwatch.landing.metadata import KEY, check_seal, info_of, metadata_with_digest, seal, sealed
from tillwatch.landing.removed import decode_record, records
from tillwatch.model import Chunk, ChunkInfo
from tillwatch.stores.base import Store

_NAME = re.compile(r"(?:.*/)?([0-9]{12})-([0-9]{12})\.parquet")
_CHUNK = re.compile(r"(?:.*/)?([0-9]{12})\.(?:parquet|csv)")


@dataclass(frozen=True, slots=True)
class Range:
    """Chunks `first`…`last`, merged into the object `name`; or removed, as the record `name` says."""

    first: int
    last: int
    name: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class _Opened:
    """A merged object, verified: its chunks, at which row each begins, their columns, and its bytes.

    Of chunks that were removed there are their infos, and since when (`removed_at`).
    """

    infos: Sequence[ChunkInfo]
    starts: Sequence[int] = ()
    columns: Sequence[Sequence[str]] = ()
    data: bytes = b""
    removed_at: str | None = None


class MergedChunks:
    """The merged objects of a landing zone. The one last read is kept, so that reading on does not read it again."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store, self._layout = store, layout
        self._ranges: list[Range] | None = None
        self.superseded: Sequence[Range] = ()
        self._lock = threading.Lock()
        self._opened: tuple[str, _Opened] | None = None
        self._decoded: tuple[object, pl.DataFrame] | None = None

    def look(self) -> Sequence[Range]:
        """The ranges that are merged or removed now, in order, by listing the beginning of the log.

        `superseded` are then the merged objects that are there although their chunks are removed.
        """
        removed = [Range(*record, removed=True) for record in records(self._store)]
        gone = covered = max((r.last for r in removed), default=-1)
        merged: list[Range] = []
        for name in self._layout.names():
            if match := _NAME.fullmatch(name):
                merged.append(Range(int(match[1]), int(match[2]), name))
                covered = max(covered, merged[-1].last)
            elif (match := _CHUNK.fullmatch(name)) and int(match[1]) > covered:
                break
        self.superseded = [r for r in merged if r.last <= gone]
        self._ranges = [*removed, *(r for r in merged if r.last > gone)]
        return self._ranges

    def find(self, number: int, *, again: bool) -> Range | None:
        """The range with the chunk. With `again` it looks anew when it knows of none; otherwise once at most."""
        if self._ranges is None or (again and not self.known(number)):
            self.look()
        return self.known(number)

    def known(self, number: int) -> Range | None:
        """The range with the chunk, of those seen when it looked last."""
        ranges = self._ranges or ()
        at = bisect_right(ranges, number, key=lambda r: r.first) - 1
        return ranges[at] if at >= 0 and number <= ranges[at].last else None

    def kept_from(self) -> int:
        """The first number that was not removed, as seen when it looked last."""
        return max((r.last + 1 for r in self._ranges or () if r.removed), default=0)

    def read(self, number: int, within: Range, columns: Sequence[str] | None) -> Chunk:
        """The chunk as `Landing.read` gives it. Raises LogError when it was removed or is not what was put."""
        with self._lock:
            opened = self._open(within)
            if opened.removed_at is not None:
                raise self._gone(number, opened.removed_at)
            at = number - within.first
            rows = self._rows(within, opened, columns)
            mine = [name for name in opened.columns[at] if name in rows.columns]
            return Chunk(opened.infos[at], rows.slice(opened.starts[at], opened.infos[at].rows).select(mine))

    def info(self, number: int, within: Range) -> ChunkInfo:
        """The chunk's metadata, also when the chunk was removed. Raises LogError."""
        with self._lock:
            return self._open(within).infos[number - within.first]

    def removed_at(self, within: Range) -> str | None:
        """When the chunks of the range were removed, None when they are there. Raises LogError."""
        with self._lock:
            return self._open(within).removed_at

    def _open(self, within: Range) -> _Opened:
        if self._opened is None or self._opened[0] != within.name:
            self._decoded = None
            self._opened = (within.name, self._fetch(within))
        return self._opened[1]

    def _fetch(self, within: Range) -> _Opened:
        where = f"{self._store.uri}/{within.name}"
        try:
            data = self._store.get(within.name)
        except ObjectMissing:
            self.look()
            now = self.known(within.first)
            if now is None or now != Range(within.first, within.last, now.name, removed=not within.removed):
                raise
            return self._fetch(now)  # it was removed since we looked
        if within.removed:
            record = decode_record(data, within.first, within.last, where)
            return _Opened(record.infos, removed_at=record.at)
        return _verified(data, within, where)

    def _gone(self, number: int, at: str) -> LogError:
        return LogError(
            f"chunks 0 to {self.kept_from() - 1} of {self._store.uri} were removed by retention, chunk {number} at "
            f"{at}. What is made from their rows, such as a new state, cannot be made from this landing zone: go on "
            "with the state that has processed them."
        )

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
