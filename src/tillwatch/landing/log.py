"""The landing zone: chunks put, read, found and verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

import polars as pl

from tillwatch.errors import ChunkRefused, LogError, ObjectExists, ObjectMissing
from tillwatch.landing.codec import Format, decode, encode_csv, encode_parquet
from tillwatch.landing.layout import LayoutName, found_layout, layout_of, utc_now
from tillwatch.landing.merged import MergedChunks, Range
from tillwatch.landing.metadata import DAMAGED, KEY, check_seal, info_of, metadata, seal
from tillwatch.model import SOURCE_FILE, SOURCE_ROW, Chunk, ChunkInfo
from tillwatch.stores.base import Store, put_same

_LIMIT = 10**12


@dataclass(frozen=True, slots=True)
class Removed:
    """The first `chunks` chunks of the log were removed, the last of them at this time (ISO 8601; empty for none)."""

    chunks: int
    at: str


class Landing:
    """The log: immutable chunks numbered from 0 without a gap.

    `format` says how chunks are written; chunks of both formats are read. `layout` says where they are, and is one for
    the whole landing zone; dated folders go by `now`, in UTC. Any number may read. Of many that put one number as
    Parquet exactly one wins. Beyond that the log needs one writer at a time, by the lease of ingest: two that put one
    number in two formats at the same instant both succeed, which `numbers` reports; and two that put the same rows as
    CSV with other metadata can both succeed, and the later metadata then counts.

    Of chunks that retention removed everything is there but their rows: only `read` fails.

    >>> from tillwatch.model import Position, SourceFile
    >>> from tillwatch.testing.stores import MemoryStore
    >>> landing = Landing(MemoryStore())
    >>> info = ChunkInfo(0, 1, SourceFile(0, "a.csv", 20, 0), first_row=1, position=Position(1, 20))
    >>> frame = pl.DataFrame({"amount": ["4.55"], "_source_file": ["a.csv"], "_source_row": [1]})
    >>> landed = landing.put(info, frame)
    >>> landing.read(0).info == landed, landing.next_number()
    (True, 1)
    """

    def __init__(
        self,
        store: Store,
        format: Format = "parquet",
        layout: LayoutName = "flat",
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._format: Format = format
        self._other: Format = "csv" if format == "parquet" else "parquet"
        self._layout_name: LayoutName = layout
        self._layout = layout_of(layout, store, now)
        self._merged = MergedChunks(store, self._layout)
        self._seen = -1
        self._free_from = _LIMIT

    def put(self, info: ChunkInfo, frame: pl.DataFrame) -> ChunkInfo:
        """Lands the chunk, durably, and returns its info with the digest. `info.digest` is not looked at.

        `frame` has every source column as it came, `_source_file` and `_source_row`. Putting the same content
        again is success. Raises LogError when the number is taken by other content or the frame cannot be
        landed as it is, StoreError when the store fails.
        """
        info = replace(info, digest="")
        _check(info, frame, f"{self._store.uri}/{info.number:012}.{self._format}")
        if merged := self._merged.known(info.number):
            raise LogError(
                f"{self._store.uri}/{merged.name} has chunk {info.number} already. See that one run is at work here, "
                "and start it again: it goes on after what is landed."
            )
        stem = self._layout.fix(info.number)
        if not self._is_free_from(info.number) and self._store.has(f"{stem}.{self._other}"):
            raise LogError(
                f"{self._where(stem, self._format)}: chunk {info.number} is landed already as {self._other}, and a "
                "number is never landed twice. See that one run is at work here, and start it again: it goes on after "
                "it."
            )
        write = self._put_parquet if self._format == "parquet" else self._put_csv
        return write(info, frame, stem)

    def read(self, number: int, columns: Sequence[str] | None = None) -> Chunk:
        """The chunk, its digest verified before anything is parsed, with all columns or with `columns`.

        Columns come in the chunk's order. A column that the chunk lacks is absent from the frame; the
        RESERVED columns are there whenever the chunk has them. From a CSV chunk every column is String,
        except `_source_row`, which is Int64. Raises LogError when the chunk is missing, was removed by
        retention, or is not what was landed.
        """
        got = self._get(number)
        if isinstance(got, Range):
            return self._merged.read(number, got, columns)
        stem, format, data = got
        info = self._verified(number, stem, format, data)
        frame = decode(format, data, columns)
        if frame.height != info.rows:
            raise LogError(f"{self._where(stem, format)} says {info.rows} rows, but has {frame.height}.")
        return Chunk(info, frame)

    def info(self, number: int) -> ChunkInfo:
        """The chunk's metadata, verified as `read` does, without parsing the rows. Raises LogError."""
        got = self._get(number)
        return self._merged.info(number, got) if isinstance(got, Range) else self._verified(number, *got)

    def has(self, number: int) -> bool:
        """Whether the chunk is landed."""
        if self._merged.known(number):
            return True
        stem = self._layout.find(number)
        found = stem is not None and any(self._store.has(f"{stem}.{f}") for f in (self._format, self._other))
        # Merged chunks are far behind the end: whoever waits for the next one must not look for merged ones each time.
        found = found or self._merged.find(number, again=number <= self._seen) is not None
        self._seen = max(self._seen, number if found else -1)
        return found

    @property
    def remote(self) -> bool:
        """Whether reading a chunk is mostly waiting for an answer."""
        return self._store.remote

    def waiting(self, start: int, limit: int) -> range:
        """The numbers from `start` on that are landed without a gap, at most `limit` of them.

        Costs a look per chunk on this machine, and where a listing is always of all; elsewhere a look while there is
        none, else a listing of what is new.
        """
        end, by_listing = start, self._store.remote and self._store.resumes
        if by_listing and limit > 0 and self.has(start):
            if merged := self._merged.known(start):
                return range(start, min(merged.last + 1, start + limit))
            for number in islice(self._listed(start, start - 1), limit):
                if number != end:
                    break
                end += 1
            end = max(end, start + 1)  # it is there, also when it is merged by now and not listed
        while not by_listing and end - start < limit and self.has(end):
            end += 1
        return range(start, end)

    def next_number(self, known: int = 0) -> int:
        """The first number from `known` on that is not landed. Costs one look per landed chunk from there.

        Raises LogError when no chunk is there in this layout, but chunks are in another one.
        """
        self._free_from = _LIMIT
        while self.has(known):
            known += 1
        if known == self._merged.kept_from():
            self.check_layout()
        return known

    def removed(self) -> Removed:
        """What retention has removed until now: the beginning of the log. Raises LogError."""
        last = next((r for r in reversed(self._merged.look()) if r.removed), None)
        return Removed(last.last + 1, self._merged.removed_at(last) or "") if last else Removed(0, "")

    def numbers(self, start: int = 0) -> Iterator[int]:
        """The landed numbers from `start` on, in order, by listing the store; gaps are the caller's to find.

        Raises LogError for a number that is landed twice, in both formats, and as `next_number` does.
        """
        previous = -1
        for merged in self._merged.look():
            yield from range(max(start, merged.first, previous + 1), merged.last + 1)
            previous = max(previous, merged.last)
        for number in self._listed(max(start, previous + 1), previous):
            previous = number
            yield number
        if start == 0 and previous < self._merged.kept_from():
            self.check_layout()

    def _listed(self, start: int, previous: int) -> Iterator[int]:
        """The numbers from `start` on that are not merged, in order; `previous` is the one before."""
        for number, name in self._layout.chunks(start):
            if number == previous:
                raise LogError(
                    f"{self._store.uri}: chunk {number} is landed twice, as Parquet and as CSV. "
                    "Find out which of them was processed and remove the other."
                )
            if number < previous:
                raise LogError(f"{self._store.uri}/{name} comes after chunk {previous}: it was moved. Bring it back.")
            previous = number
            yield number

    def _is_free_from(self, number: int) -> bool:
        """Whether nothing is landed from the number on, where one listing tells that for a whole run.

        Who holds the lease of ingest is alone, so that it stays so but for what is put here.
        """
        if number < self._free_from and self._store.remote and next(self._layout.chunks(number), None) is None:
            self._free_from = number
        return number >= self._free_from

    def check_layout(self) -> None:
        """Raises LogError when chunks are there, but in another layout."""
        found = found_layout(self._store)
        if found not in (None, self._layout_name):
            raise LogError(
                f"{self._store.uri} has chunks in the layout '{found}', and the configuration says "
                f"'{self._layout_name}'. Set landing.layout to {found}, or choose a new place for landing."
            )

    def _where(self, stem: str, format: Format) -> str:
        return f"{self._store.uri}/{stem}.{format}"

    def _get(self, number: int) -> tuple[str, Format, bytes] | Range:
        if merged := self._merged.known(number):
            return merged
        stem = self._layout.find(number)
        for format in (self._format, self._other) if stem is not None else ():
            try:
                return str(stem), format, self._store.get(f"{stem}.{format}")
            except ObjectMissing:
                continue
        if merged := self._merged.find(number, again=True):
            return merged
        raise LogError(f"chunk {number} is not in the landing zone {self._store.uri}.")

    def _verified(self, number: int, stem: str, format: Format, data: bytes) -> ChunkInfo:
        if format == "csv":
            return self._verified_csv(number, data, stem)
        where = self._where(stem, format)
        check_seal(data, where)
        info = info_of(pl.read_parquet_metadata(data).get(KEY, ""), number, where)
        return replace(info, bytes=len(data))

    def _verified_csv(self, number: int, data: bytes, stem: str) -> ChunkInfo:
        found = hashlib.sha256(data).hexdigest()
        last = self._last_sidecar(stem, found)
        if last == 0:
            beside = [name for name in self._store.list(self._layout.beside(stem)) if name.endswith(".json")]
            raise LogError(
                f"{self._where(stem, 'csv')} is not what was landed: its digest starts with {found[:16]}, "
                f"expected that of a sidecar: {', '.join(beside) or 'there is none'}. {DAMAGED}"
            )
        name = self._sidecar_name(stem, found, last)
        sidecar, where = self._store.get(name), f"{self._store.uri}/{name}"
        check_seal(sidecar, where)
        return replace(info_of(sidecar.decode(), number, where, found), bytes=len(data))

    def _put_parquet(self, info: ChunkInfo, frame: pl.DataFrame, stem: str) -> ChunkInfo:
        where = self._where(stem, "parquet")
        data, digest = seal(encode_parquet(info, frame, where))
        try:
            self._store.put(f"{stem}.parquet", data)
        except ObjectExists:
            return self._same(info, data, where)
        return replace(info, digest=digest, bytes=len(data))

    def _put_csv(self, info: ChunkInfo, frame: pl.DataFrame, stem: str) -> ChunkInfo:
        name, where = f"{stem}.csv", self._where(stem, "csv")
        data = encode_csv(frame, where)
        if not self._is_free_from(info.number) and self._store.has(name):
            return self._same(info, data, where)
        digest = self._put_sidecar(info, stem, hashlib.sha256(data).hexdigest())
        try:
            self._store.put(name, data)
        except ObjectExists:
            return self._same(info, data, where)
        return replace(info, digest=digest, bytes=len(data))

    def _put_sidecar(self, info: ChunkInfo, stem: str, found: str) -> str:
        sidecar, digest = seal(metadata(info, found).encode() + b"\n")
        try:
            self._store.put(self._sidecar_name(stem, found, 1), sidecar)
        except ObjectExists:
            last = self._last_sidecar(stem, found)
            if self._store.get(self._sidecar_name(stem, found, last)) != sidecar:
                put_same(self._store, self._sidecar_name(stem, found, last + 1), sidecar)
        return digest

    def _last_sidecar(self, stem: str, found: str) -> int:
        last = 0
        while self._store.has(self._sidecar_name(stem, found, last + 1)):
            last += 1
        return last

    def _sidecar_name(self, stem: str, data_digest: str, attempt: int) -> str:
        again = f".{attempt}" if attempt > 1 else ""
        return f"{self._layout.beside(stem)}{data_digest[:16]}{again}.json"

    def holds(self, number: int, frame: pl.DataFrame) -> bool:
        """Whether the rows of the landed chunk are these, as one of the formats writes them. Raises as `read` does."""
        landed = self.read(number)
        where = f"{self._store.uri}/{number:012}"
        if _are_equal(landed.frame, decode("parquet", encode_parquet(landed.info, frame, where), None)):
            return True
        try:
            return _are_equal(landed.frame, decode("csv", encode_csv(frame, where), None))
        except ChunkRefused:
            return False

    def _same(self, info: ChunkInfo, data: bytes, where: str) -> ChunkInfo:
        # Rows are compared, not bytes: another version of Polars may write the same rows in other bytes.
        landed = self.read(info.number)
        rows = decode(self._format, data, None)
        same_rows = _are_equal(landed.frame, rows)
        if same_rows and replace(landed.info, digest="") == info:
            return landed.info
        what = f"other metadata: {landed.info}, this one has {info}" if same_rows else "other rows"
        raise LogError(
            f"{where}: chunk {info.number} is landed already with {what}. Nothing was overwritten. "
            "See that one run is at work here, and that the source was not changed under it."
        )


def _check(info: ChunkInfo, frame: pl.DataFrame, where: str) -> None:
    if not 0 <= info.number < _LIMIT:
        raise LogError(f"{where}: chunk number {info.number} is out of range, expected 0 to {_LIMIT - 1}.")
    if info.rows != frame.height:
        raise LogError(f"{where}: chunk {info.number} says {info.rows} rows, its frame has {frame.height}.")
    for column, dtype in ((SOURCE_FILE, pl.String), (SOURCE_ROW, pl.Int64)):
        if frame.schema.get(column) != dtype:
            raise LogError(
                f"{where}: chunk {info.number} needs a column {column} of type {dtype}, "
                f"found {frame.schema.get(column, 'none')}."
            )


def _are_equal(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    return one.schema == other.schema and one.equals(other)
