"""A lookup's values by key codes: aggregated once, before it is joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.slots import HashSlots
from tillwatch.patterns.program import LookupSpec

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LookupData:
    """A lookup as it was read: `frame` has the key columns (clean, distinct) and `value`.

    `value` is Int64 (counts, and decimals scaled by the program's digits) or Float64 (averages). `digest` is
    the SHA-256 of the file it came from.
    """

    spec: LookupSpec
    frame: pl.DataFrame
    digest: str


class LookupIndex:
    """Finds a lookup's values by the codes of its keys."""

    def __init__(self, data: LookupData, dictionaries: Mapping[str, Dictionary]) -> None:
        self.spec = data.spec
        codes = {k: dictionaries[k].encode(data.frame[k]) for k in data.spec.grain}
        self._maps = [HashSlots(2 * data.frame.height) for _ in data.spec.grain]
        slots = np.zeros(data.frame.height, np.int64)
        for column, hashed in zip(data.spec.grain, self._maps, strict=True):
            slots = hashed.add(slots << 32 | codes[column])
        size = self._maps[-1].size
        self._value: NDArray[Any] = np.zeros(size + 1, data.frame["value"].to_numpy().dtype)
        self._known = np.zeros(size + 1, np.bool_)
        self._value[slots], self._known[slots] = data.frame["value"].to_numpy(), True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self._value.dtype

    def find(self, keys: Mapping[str, Ints]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The values of keys, and which are known."""
        slots = np.zeros(len(keys[self.spec.grain[0]]), np.int64)
        for column, hashed in zip(self.spec.grain, self._maps, strict=True):
            slots = np.where(slots < 0, -1, hashed.find(slots << 32 | keys[column]))
        # A slot of -1 is the last place of the arrays, which is never known.
        return self._value[slots], self._known[slots]
