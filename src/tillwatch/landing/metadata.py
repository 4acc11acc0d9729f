"""What an object of the log says about itself: its metadata as JSON, and the digest that seals it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from tillwatch.errors import LogError
from tillwatch.model import ChunkInfo, Position, SourceFile

KEY = "tillwatch"
"""The key of the metadata in a Parquet footer."""

DAMAGED = "It was damaged or changed after it was landed: bring it back from a copy."

_VERSION = 1
_ELSEWHERE = ("id", "revision")
_SEAL = b'{"digest":"'
_BLANK = b"0" * 64


def metadata(info: ChunkInfo, data_digest: str | None = None) -> str:
    # The digest comes first, so that it is found by what precedes it.
    fields: dict[str, Any] = {"digest": _BLANK.decode(), "version": _VERSION}
    fields |= {name: value for name, value in asdict(info).items() if name not in ("digest", "bytes")}
    # A file on a disk has no id and no revision, and its chunks are as they were before there were any.
    fields["file"] = {name: value for name, value in fields["file"].items() if value or name not in _ELSEWHERE}
    if data_digest is not None:
        fields["data"] = data_digest
    return json.dumps(fields, separators=(",", ":"))


def metadata_with_digest(info: ChunkInfo) -> str:
    """The metadata of a landed chunk, its digest filled in."""
    return metadata(info).replace(_BLANK.decode(), info.digest, 1)


def sealed(fields: dict[str, Any]) -> str:
    """Fields as JSON, with room for the digest of the object that they will be in."""
    return json.dumps({"digest": _BLANK.decode(), "version": _VERSION, **fields}, separators=(",", ":"))


def info_of(text: str, number: int, where: str, data_digest: str | None = None) -> ChunkInfo:
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


def seal(data: bytes) -> tuple[bytes, str]:
    at = data.rindex(_SEAL) + len(_SEAL)
    digest = hashlib.sha256(data).hexdigest()
    return data[:at] + digest.encode() + data[at + len(_BLANK) :], digest


def check_seal(data: bytes, where: str) -> None:
    at = data.rfind(_SEAL) + len(_SEAL)
    expected = data[at : at + len(_BLANK)]
    if at < len(_SEAL):
        raise LogError(f"{where} is not what was landed: it has no digest ({len(data)} bytes). {DAMAGED}")
    found = hashlib.sha256(data[:at] + _BLANK + data[at + len(_BLANK) :]).hexdigest()
    if found.encode() != expected:
        raise LogError(
            f"{where} is not what was landed: the digest of its bytes is {found}, "
            f"expected {expected.decode(errors='replace')}. {DAMAGED}"
        )
