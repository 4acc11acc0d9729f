"""The landing zone: the log of immutable numbered chunks, from which everything else follows.

A Parquet chunk is one object, `000000000012.parquet`. Its footer holds the chunk's metadata as JSON under the
key `tillwatch`, which starts with the digest: the SHA-256 of the object's bytes with the 64 characters of the
digest itself replaced by zeros, like the checksum in a tar header. To check a chunk without this program:

    data = open("000000000012.parquet", "rb").read()
    at = data.rindex(b'{"digest":"') + 11
    assert hashlib.sha256(data[:at] + b"0" * 64 + data[at + 64 :]).hexdigest().encode() == data[at : at + 64]

A CSV chunk is `000000000012.csv`, and beside it a sidecar, `000000000012.<first 16 digits of the CSV's
SHA-256>.json`, with the same metadata, the CSV's whole SHA-256 as `data`, and a digest of itself made and
checked as above. The sidecar is written first, so the CSV is the commit. When there is a sidecar already for
the same rows with other metadata (a run ended before its CSV was there, and the source file has grown since),
the next one is `….2.json`: the last one counts.

A digest shows damage and mix-ups. It is no signature: who can write chunks can also write digests.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import polars as pl

from tillwatch.errors import LogError, ObjectExists, ObjectMissing
from tillwatch.model import RESERVED, SOURCE_FILE, SOURCE_ROW, Chunk, ChunkInfo, Position, SourceFile
from tillwatch.stores.base import Store, put_same

Format = Literal["parquet", "csv"]

_VERSION = 1
_KEY = "tillwatch"
_SEAL = b'{"digest":"'
_BLANK = b"0" * 64
_NAME = re.compile(r"([0-9]{12})\.(?:parquet|csv)")
_LIMIT = 10**12
_DAMAGED = "It was damaged or changed after it was landed: bring it back from a copy."


class Landing:
    """The log: immutable chunks numbered from 0 without a gap.

    `format` says how chunks are written; chunks of both formats are read. Any number may read. Of many that put
    one number as Parquet exactly one wins. Beyond that the log needs one writer at a time, by the lease of ingest:
    two that put one number in two formats at the same instant both succeed, which `numbers` reports; and two that
    put the same rows as CSV with other metadata can both succeed, and the later metadata then counts.

    >>> from tillwatch.testing.stores import MemoryStore
    >>> landing = Landing(MemoryStore())
    >>> info = ChunkInfo(0, 1, SourceFile(0, "a.csv", 20, 0), first_row=1, position=Position(1, 20))
    >>> frame = pl.DataFrame({"amount": ["4.55"], "_source_file": ["a.csv"], "_source_row": [1]})
    >>> landed = landing.put(info, frame)
    >>> landing.read(0).info == landed, landing.next_number()
    (True, 1)
    """

    def __init__(self, store: Store, format: Format = "parquet") -> None:
        self._store = store
        self._format: Format = format
        self._other: Format = "csv" if format == "parquet" else "parquet"

    def put(self, info: ChunkInfo, frame: pl.DataFrame) -> ChunkInfo:
        """Lands the chunk, durably, and returns its info with the digest. `info.digest` is not looked at.

        `frame` has every source column as it came, `_source_file` and `_source_row`. Putting the same content
        again is success. Raises LogError when the number is taken by other content or the frame cannot be
        landed as it is, StoreError when the store fails.
        """
        where = self._where(info.number, self._format)
        info = replace(info, digest="")
        _check(info, frame, where)
        if self._store.has(_name(info.number, self._other)):
            raise LogError(
                f"{where}: chunk {info.number} is landed already as {self._other}, and a number is never "
                "landed twice. See that one run is at work here, and start it again: it goes on after it."
            )
        write = self._put_parquet if self._format == "parquet" else self._put_csv
        return write(info, frame, where)

    def read(self, number: int, columns: Sequence[str] | None = None) -> Chunk:
        """The chunk, its digest verified before anything is parsed, with all columns or with `columns`.

        Columns come in the chunk's order. A column that the chunk lacks is absent from the frame; the
        RESERVED columns are there whenever the chunk has them. From a CSV chunk every column is String,
        except `_source_row`, which is Int64. Raises LogError when the chunk is missing or is not what was
        landed.
        """
        format, data = self._get(number)
        info = self._verified(number, format, data)
        frame = _decode(format, data, columns)
        if frame.height != info.rows:
            raise LogError(f"{self._where(number, format)} says {info.rows} rows, but has {frame.height}.")
        return Chunk(info, frame)

    def info(self, number: int) -> ChunkInfo:
        """The chunk's metadata, verified as `read` does, without parsing the rows. Raises LogError."""
        return self._verified(number, *self._get(number))

    def has(self, number: int) -> bool:
        """Whether the chunk is landed."""
        return any(self._store.has(_name(number, format)) for format in (self._format, self._other))

    def next_number(self, known: int = 0) -> int:
        """The first number from `known` on that is not landed. Costs one look per landed chunk from there."""
        while self.has(known):
            known += 1
        return known

    def numbers(self, start: int = 0) -> Iterator[int]:
        """The landed numbers from `start` on, in order, by listing the store; gaps are the caller's to find.

        Raises LogError for a number that is landed twice, in both formats.
        """
        previous = -1
        for name in self._store.list(after=f"{start:012}"):
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            number = int(match[1])
            if number == previous:
                raise LogError(
                    f"{self._store.uri}: chunk {number} is landed twice, as Parquet and as CSV. "
                    "Find out which of them was processed and remove the other."
                )
            previous = number
            yield number

    def _where(self, number: int, format: Format) -> str:
        return f"{self._store.uri}/{_name(number, format)}"

    def _get(self, number: int) -> tuple[Format, bytes]:
        for format in (self._format, self._other):
            try:
                return format, self._store.get(_name(number, format))
            except ObjectMissing:
                continue
        raise LogError(f"chunk {number} is not in the landing zone {self._store.uri}.")

    def _verified(self, number: int, format: Format, data: bytes) -> ChunkInfo:
        where = self._where(number, format)
        if format == "csv":
            return self._verified_csv(number, data, where)
        _check_seal(data, where)
        return _info(pl.read_parquet_metadata(data).get(_KEY, ""), number, where)

    def _verified_csv(self, number: int, data: bytes, where: str) -> ChunkInfo:
        found = hashlib.sha256(data).hexdigest()
        last = self._last_sidecar(number, found)
        if last == 0:
            beside = [name for name in self._store.list(f"{number:012}.") if name.endswith(".json")]
            raise LogError(
                f"{where} is not what was landed: its digest starts with {found[:16]}, "
                f"expected that of a sidecar: {', '.join(beside) or 'there is none'}. {_DAMAGED}"
            )
        name = _sidecar_name(number, found, last)
        sidecar, where = self._store.get(name), f"{self._store.uri}/{name}"
        _check_seal(sidecar, where)
        return _info(sidecar.decode(), number, where, found)

    def _put_parquet(self, info: ChunkInfo, frame: pl.DataFrame, where: str) -> ChunkInfo:
        data, digest = _seal(_encode_parquet(info, frame, where))
        try:
            self._store.put(_name(info.number, "parquet"), data)
        except ObjectExists:
            return self._same(info, data, where)
        return replace(info, digest=digest)

    def _put_csv(self, info: ChunkInfo, frame: pl.DataFrame, where: str) -> ChunkInfo:
        name = _name(info.number, "csv")
        data = _encode_csv(frame, where)
        if self._store.has(name):
            return self._same(info, data, where)
        digest = self._put_sidecar(info, hashlib.sha256(data).hexdigest())
        try:
            self._store.put(name, data)
        except ObjectExists:
            return self._same(info, data, where)
        return replace(info, digest=digest)

    def _put_sidecar(self, info: ChunkInfo, found: str) -> str:
        sidecar, digest = _seal(_metadata(info, found).encode() + b"\n")
        last = self._last_sidecar(info.number, found)
        if last == 0 or self._store.get(_sidecar_name(info.number, found, last)) != sidecar:
            put_same(self._store, _sidecar_name(info.number, found, last + 1), sidecar)
        return digest

    def _last_sidecar(self, number: int, found: str) -> int:
        last = 0
        while self._store.has(_sidecar_name(number, found, last + 1)):
            last += 1
        return last

    def _same(self, info: ChunkInfo, data: bytes, where: str) -> ChunkInfo:
        # Rows are compared, not bytes: another version of Polars may write the same rows in other bytes.
        landed = self.read(info.number)
        rows = _decode(self._format, data, None)
        same_rows = landed.frame.schema == rows.schema and landed.frame.equals(rows)
        if same_rows and replace(landed.info, digest="") == info:
            return landed.info
        what = f"other metadata: {landed.info}, this one has {info}" if same_rows else "other rows"
        raise LogError(
            f"{where}: chunk {info.number} is landed already with {what}. Nothing was overwritten. "
            "See that one run is at work here, and that the source was not changed under it."
        )


def _name(number: int, format: Format) -> str:
    return f"{number:012}.{format}"


def _sidecar_name(number: int, data_digest: str, attempt: int) -> str:
    again = f".{attempt}" if attempt > 1 else ""
    return f"{number:012}.{data_digest[:16]}{again}.json"


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


def _metadata(info: ChunkInfo, data_digest: str | None = None) -> str:
    # The digest comes first, so that it is found by what precedes it.
    fields: dict[str, Any] = {"digest": _BLANK.decode(), "version": _VERSION}
    fields |= {name: value for name, value in asdict(info).items() if name != "digest"}
    if data_digest is not None:
        fields["data"] = data_digest
    return json.dumps(fields, separators=(",", ":"))


def _info(text: str, number: int, where: str, data_digest: str | None = None) -> ChunkInfo:
    try:
        fields = json.loads(text)
        known = (fields.pop("version"), fields.pop("data", None)) == (_VERSION, data_digest)
        file, position = SourceFile(**fields.pop("file")), Position(**fields.pop("position"))
        info = ChunkInfo(file=file, position=position, **fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        known = False
    if not known or info.number != number:
        raise LogError(
            f"{where} is whole, but its metadata is not that of chunk {number} as this version of tillwatch "
            f"writes it: {text[:300]!r}. It was renamed, or written by another program or version."
        )
    return info


def _seal(data: bytes) -> tuple[bytes, str]:
    at = data.rindex(_SEAL) + len(_SEAL)
    digest = hashlib.sha256(data).hexdigest()
    return data[:at] + digest.encode() + data[at + len(_BLANK) :], digest


def _check_seal(data: bytes, where: str) -> None:
    at = data.rfind(_SEAL) + len(_SEAL)
    expected = data[at : at + len(_BLANK)]
    if at < len(_SEAL):
        raise LogError(f"{where} is not what was landed: it has no digest ({len(data)} bytes). {_DAMAGED}")
    found = hashlib.sha256(data[:at] + _BLANK + data[at + len(_BLANK) :]).hexdigest()
    if found.encode() != expected:
        raise LogError(
            f"{where} is not what was landed: the digest of its bytes is {found}, "
            f"expected {expected.decode(errors='replace')}. {_DAMAGED}"
        )


def _decode(format: Format, data: bytes, columns: Sequence[str] | None) -> pl.DataFrame:
    return _decode_parquet(data, columns) if format == "parquet" else _decode_csv(data, columns)


def _wanted(names: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    return [name for name in names if columns is None or name in columns or name in RESERVED]


def _encode_parquet(info: ChunkInfo, frame: pl.DataFrame, where: str) -> bytes:
    target = io.BytesIO()
    try:
        frame.write_parquet(
            target,
            compression="zstd",
            compression_level=1,
            statistics=False,
            metadata={_KEY: _metadata(info)},
        )
    except pl.exceptions.PolarsError as error:
        raise LogError(f"{where}: cannot be written as Parquet: {_brief(error)}") from error
    return target.getvalue()


def _decode_parquet(data: bytes, columns: Sequence[str] | None) -> pl.DataFrame:
    if columns is None:
        return pl.read_parquet(data)
    return pl.read_parquet(data, columns=_wanted(list(pl.read_parquet_schema(data)), columns))


def _encode_csv(frame: pl.DataFrame, where: str) -> bytes:
    """RFC 4180 in UTF-8 with a header: null is an empty field, the empty string is `""`.

    Nested values are JSON text, durations ISO 8601, bytes the text that they are in UTF-8. JSON has no NaN:
    within nested values it becomes null.
    """
    target = io.BytesIO()
    try:
        frame.select(_as_text(name, dtype) for name, dtype in frame.schema.items()).write_csv(target)
    except pl.exceptions.PolarsError as error:
        raise LogError(f"{where}: cannot be written as CSV; use Parquet: {_brief(error)}") from error
    return target.getvalue()


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.Binary:
        return column.cast(pl.String)
    if isinstance(dtype, pl.Duration):
        return column.dt.to_string("iso")
    if not dtype.is_nested():
        return column
    if _holds_bytes(dtype):
        raise pl.exceptions.InvalidOperationError(f"column {name!r} holds bytes within {dtype}")
    text = pl.struct(column.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(column.is_not_null()).then(text).alias(name)


def _holds_bytes(dtype: object) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in dtype.fields)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _holds_bytes(dtype.inner)
    return dtype == pl.Binary


def _decode_csv(data: bytes, columns: Sequence[str] | None) -> pl.DataFrame:
    # The header is read apart: Polars takes quotes within a column's name as they stand.
    names = next(csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")))
    schema = {name: pl.Int64 if name == SOURCE_ROW else pl.String for name in names}
    frame = pl.read_csv(data, schema=schema, has_header=False, skip_rows=1)
    return frame.select(_wanted(names, columns))
