"""Whether a CSV file is tidy: no quotes, and as many values in every line as in the header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.dictionary import clean

_BLOCK = 8 << 20


def clean_header(path: Path, delimiter: str) -> list[str] | None:
    """The column names of a tidy file, cleaned; None when the file needs careful reading."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
        names = [clean(n) for n in first.decode("utf-8-sig", "replace").rstrip("\r\n").split(delimiter)]
        if not first.endswith(b"\n") or b'"' in first or len(set(names)) < len(names) or "" in names:
            return None
        separators = len(names) - 1
        for block in _lines(file):
            letters = np.frombuffer(block, np.uint8)
            ends = np.flatnonzero(letters == ord("\n"))
            if b'"' in block or b"\0" in block or not _fits(letters, ends, ord(delimiter), separators):
                return None
    return names


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in blocks of whole lines; a line end that lacks at the end is added."""
    rest = b""
    while block := file.read(_BLOCK):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
        else:
            rest += block
    if rest:
        yield rest + b"\n"


def _fits(letters: NDArray[np.uint8], ends: NDArray[np.int64], delimiter: int, separators: int) -> bool:
    """Every line has that many separators: the first after the line before has ended, the last before its own end."""
    places = np.flatnonzero(letters == delimiter)
    if len(places) != len(ends) * separators or not separators:
        return False
    begins = np.concatenate([[-1], ends[:-1]])
    return bool((places[0::separators] > begins).all() and (places[separators - 1 :: separators] < ends).all())
