"""Whether a CSV file is tidy: no quotes, and as many values in every line as in the header."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tillwatch.engine.dictionary import clean

_BLOCK = 1 << 18
"""Bytes looked at in one go: what stays in the processor's cache for the next look."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Examined:
    """A file read once: its column names, cleaned, None when it needs careful reading; the SHA-256 of its bytes."""

    names: list[str] | None
    digest: str


def examine(path: Path, delimiter: str) -> Examined:
    """Reads a CSV file to its end. Raises OSError."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        first = file.readline(1 << 20)
        sha.update(first)
        names = _names(first, delimiter)
        shape = delimiter.encode() * (len(names) - 1) + b"\n"
        tidy = bool(names)
        for block in _lines(file, sha):
            tidy = tidy and len(shape) > 1 and _fits(block, shape)
    return Examined(names if tidy else None, sha.hexdigest())


def _names(line: bytes, delimiter: str) -> list[str]:
    """The column names of a tidy header, none of another one."""
    names = [clean(n) for n in line.decode("utf-8-sig", "replace").rstrip("\r\n").split(delimiter)]
    odd = not line.endswith(b"\n") or b'"' in line or len(set(names)) < len(names) or "" in names
    return [] if odd else names


def _lines(file: BinaryIO, sha: _Hash) -> Iterator[bytes]:
    """The rest of the file in blocks of whole lines; a line end that lacks at the end is added."""
    rest = b""
    while block := file.read(_BLOCK):
        sha.update(block)
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
        else:
            rest += block
    if rest:
        yield rest + b"\n"


def _fits(block: bytes, shape: bytes) -> bool:
    """Whether every line has exactly the separators of `shape`, and nothing else that needs care."""
    others = bytes(set(range(256)) - set(shape))
    return b'"' not in block and b"\0" not in block and block.translate(None, others) == shape * block.count(b"\n")
