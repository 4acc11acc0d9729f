"""Named NumPy arrays as bytes and back, with a checksum: what travels between tasks, and what state objects hold."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.errors import StoreError

Arrays = Mapping[str, NDArray[Any]]

_MAGIC = b"TWA1"
_HEAD = struct.Struct("<4sII")


def pack(arrays: Arrays) -> bytes:
    """The arrays as bytes: a JSON header of (name, type, length), then their values.

    >>> unpack(pack({"a": np.array([1, 2])}), "here")["a"].tolist()
    [1, 2]
    """
    header = json.dumps([(name, a.dtype.str, len(a)) for name, a in arrays.items()]).encode()
    body = b"".join([header, *(np.ascontiguousarray(a).tobytes() for a in arrays.values())])
    return _HEAD.pack(_MAGIC, len(header), zlib.crc32(body)) + body


def unpack(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    """The arrays, read-only. Raises StoreError when the bytes are not what was packed.

    >>> unpack(pack({"a": np.array([1, 2])})[:-1], "here")
    Traceback (most recent call last):
    tillwatch.errors.StoreError: here is damaged: its checksum is not the one of its content.
    """
    view = memoryview(data)
    magic, length, checksum = _HEAD.unpack_from(view) if len(data) >= _HEAD.size else (b"", 0, 0)
    body = view[_HEAD.size :]
    if magic != _MAGIC or zlib.crc32(body) != checksum:
        raise StoreError(f"{where} is damaged: its checksum is not the one of its content.")
    arrays, offset = {}, length
    for name, dtype, count in json.loads(bytes(body[:length])):
        kind = np.dtype(dtype)
        arrays[name] = np.frombuffer(body, kind, count, offset) if count else np.zeros(0, kind)
        offset += kind.itemsize * count
    return arrays


def pack_texts(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as an array of bytes.

    >>> unpack_texts(pack_texts(["a", "ä, b"]))
    ['a', 'ä, b']
    """
    return np.frombuffer(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "surrogatepass"), np.uint8)


def unpack_texts(array: NDArray[Any]) -> list[str]:
    """What `pack_texts` was given."""
    found: list[str] = json.loads(array.tobytes().decode("utf-8", "surrogatepass"))
    return found
