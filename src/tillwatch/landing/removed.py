"""What stays of chunks that retention removed: their metadata, and when they were removed.

A record is named after the merged object for which it stands, such as `_removed/000000000000-000000000099.json`, in
every layout. It is JSON with a digest of itself made as for a chunk, the time under `at`, and under `removed` the
metadata of each chunk as text, with the digest that the chunk had. From the moment it is there its chunks are removed.

Records hold the beginning of the log: every chunk below the last one in a record is in a record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tillwatch.errors import LogError
from tillwatch.landing.metadata import check_seal, info_of, metadata_with_digest, seal, sealed
from tillwatch.model import ChunkInfo
from tillwatch.stores.base import Store

_FOLDER = "_removed/"
_NAME = re.compile(r"_removed/([0-9]{12})-([0-9]{12})\.json")


@dataclass(frozen=True, slots=True)
class Record:
    """Chunks that were removed at a time (ISO 8601)."""

    infos: Sequence[ChunkInfo]
    at: str


def record_name(first: int, last: int) -> str:
    """The name of a record.

    >>> record_name(0, 99)
    '_removed/000000000000-000000000099.json'
    """
    return f"{_FOLDER}{first:012}-{last:012}.json"


def records(store: Store) -> Iterator[tuple[int, int, str]]:
    """The first chunk, the last one and the name of every record, in order, by listing."""
    for name in store.list(_FOLDER):
        if match := _NAME.fullmatch(name):
            yield int(match[1]), int(match[2]), name


def encode_record(record: Record) -> bytes:
    """The bytes of a record."""
    infos = [metadata_with_digest(info) for info in record.infos]
    return seal(sealed({"at": record.at, "removed": infos}).encode() + b"\n")[0]


def decode_record(data: bytes, first: int, last: int, where: str) -> Record:
    """The record of these chunks. Raises LogError when it is not what was put, or that of others."""
    check_seal(data, where)
    texts: list[str] = []
    at = ""
    try:
        fields = json.loads(data)
        texts, at = fields["removed"], fields["at"]
        whole = len(texts) == last - first + 1
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise LogError(
            f"{where} is whole, but does not say that chunks {first} to {last} were removed. It was renamed, "
            "or written by another program or version."
        )
    return Record([info_of(text, number, where) for number, text in enumerate(texts, first)], at)
