"""The uncompressed bytes of a file, block by block, with the digest of the file as it is."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import zstandard

from tillwatch.errors import SourceError
from tillwatch.ingest.readers.base import Compression, FileRefused
from tillwatch.sources.base import RangeReader, Readable, Remote

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

FEED = 1 << 16
ZSTD_FEED = 1 << 10
"""zstd has no limit on what one call returns: small bites keep a very repetitive file from filling memory."""


class _Damage(Exception):
    """The compressed data end early or are corrupt."""


class Stream:
    """One file, read once from its start to its end.

    `damage` says after the last block whether the text ended before the file's real end, and why.
    Raises FileRefused when the file cannot be opened, SourceError when the disk fails on the way, and what reading
    a file elsewhere raises.
    """

    def __init__(self, file: Readable, compression: Compression) -> None:
        self.damage: str | None = None
        self._path = file
        self._compression = compression
        self._hash = hashlib.sha256()
        self._file = RangeReader(file) if isinstance(file, Remote) else opened(file)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def blocks(self, size: int) -> Iterator[bytes]:
        """The text in blocks of at most `size` bytes, none of them empty."""
        if not self._compression:
            while block := self._raw(size):
                yield block
            return
        parts: list[bytes] = []
        held = 0
        inflated = self._gunzip(size) if self._compression == "gz" else self._unzstd()
        try:
            for part in inflated:
                parts.append(part)
                held += len(part)
                if held >= size:
                    yield from _blocks(parts, size)
                    parts, held = [], 0
        except (_Damage, zlib.error, zstandard.ZstdError) as error:
            what = str(error) if isinstance(error, _Damage) else f"are corrupt ({error})"
            self.damage = f"the compressed data {what}"
        yield from _blocks(parts, size)

    def digest(self) -> str | None:
        """SHA-256 of the whole file, or its place's checksum; None when it was not read to its real end."""
        if self.damage:
            return None
        return self._path.checksum if isinstance(self._path, Remote) else self._hash.hexdigest()

    def go_on(self, offset: int) -> bool:
        """Passes over what is before `offset` unread, if that can be and no digest needs it; whether it did."""
        if self._compression or not isinstance(self._file, RangeReader):
            return False
        self._file.seek(offset)
        return True

    def _raw(self, size: int) -> bytes:
        try:
            block = self._file.read(size)
        except OSError as error:
            raise _failed(self._path, error) from error
        if isinstance(self._path, Path):
            self._hash.update(block)
        return block

    def _gunzip(self, size: int) -> Iterator[bytes]:
        data = self._raw(FEED)
        if data and not data.startswith(b"\x1f\x8b"):
            raise FileRefused("is not a gzip file, although its name ends in .gz")
        member = None
        while data or (data := self._raw(FEED)):
            if member is None:
                data = data.lstrip(b"\0")  # padding between members
                if not data:
                    continue
                member = zlib.decompressobj(wbits=31)
            yield member.decompress(data, size)
            data = member.unconsumed_tail
            if member.eof:
                data, member = member.unused_data, None
        while member and (rest := member.decompress(b"", size)):
            yield rest
        if member and not member.eof:
            raise _Damage("end early: the file was cut off")

    def _unzstd(self) -> Iterator[bytes]:
        data = self._raw(ZSTD_FEED)
        if data and not _is_zstd(data):
            raise FileRefused("is not a zstd file, although its name ends in .zst")
        frame = None
        while data or (data := self._raw(ZSTD_FEED)):
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(data)
            data = b""
            if frame.eof:
                data, frame = frame.unused_data, None
        if frame:
            raise _Damage("end early: the file was cut off")


def _blocks(parts: list[bytes], size: int) -> Iterator[bytes]:
    text = b"".join(parts)
    return (text[at : at + size] for at in range(0, len(text), size))


class Window:
    """A moving window over the text: `data` starts at offset `base`; when `final`, no text follows it.

    A line end that lacks at the end of a whole text is added; `end` is where the text itself ends.
    """

    def __init__(self, stream: Stream, block: int) -> None:
        self.stream = stream
        self._blocks = stream.blocks(block)
        self.data = b""
        self.base = 0
        self.end = 0
        self.final = False

    @property
    def whole(self) -> bool:
        """Whether the text is known to its real end."""
        return self.final and not self.stream.damage

    def grow(self) -> None:
        """Adds the next block, or finds that there is none."""
        block = next(self._blocks, None)
        self.final = block is None
        self.data += block or b""
        self.end = self.base + len(self.data)
        if self.whole and self.data and not self.data.endswith(b"\n"):
            self.data += b"\n"

    def drop(self, count: int) -> None:
        """Forgets the first `count` bytes."""
        self.data = self.data[count:]
        self.base += count

    def skip_bom(self) -> None:
        """Forgets the byte order mark at the start of the text. Raises FileRefused when it is that of UTF-16."""
        while len(self.data) < len(_BOM) and not self.final:
            self.grow()
        if self.data.startswith(_UTF16):
            raise FileRefused("is UTF-16 text: save it as UTF-8")
        if self.data.startswith(_BOM):
            self.drop(len(_BOM))

    def skip_to(self, offset: int) -> None:
        """Forgets everything before `offset`."""
        if self.end < offset and self.stream.go_on(offset):
            self.data, self.base, self.end = b"", offset, offset
        while self.end < offset and not self.final:
            self.drop(len(self.data))
            self.grow()
        self.drop(min(max(offset - self.base, 0), len(self.data)))


def strip_line_end(line: bytes) -> bytes:
    """The line without its LF or CRLF."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _is_zstd(data: bytes) -> bool:
    """A frame, or a skippable frame (magic 0x184D2A50 to 5F), comes first."""
    return data[:4] == zstandard.FRAME_HEADER or (data[1:4] == b"\x2a\x4d\x18" and data[0] >> 4 == 5)


def opened(path: Path) -> io.FileIO:
    """The file, to be read. Raises FileRefused."""
    try:
        return io.FileIO(path)
    except OSError as error:
        raise FileRefused(f"cannot be opened: {_reason(error)}") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises FileRefused when it cannot be opened, SourceError when the disk fails."""
    with opened(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _failed(path, error) from error


def _failed(path: Readable, error: OSError) -> SourceError:
    return SourceError(
        f"{path}: reading failed on the way ({_reason(error)}). The rows before that are landed; "
        "the next start goes on behind them."
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
