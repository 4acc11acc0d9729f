"""A lookup's values by key codes: aggregated once, before it is joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.slots import KeySlots
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
        codes = {k: dictionaries[k].distinct_codes(data.frame[k]) for k in data.spec.grain}
        self._slots = KeySlots(data.spec.grain, data.frame.height)
        slots = self._slots.add(codes, data.frame.height)
        size = self._slots.size
        self._value: NDArray[Any] = np.zeros(size + 1, data.frame["value"].to_numpy().dtype)
        self._known = np.zeros(size + 1, np.bool_)
        self._value[slots], self._known[slots] = data.frame["value"].to_numpy(), True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self._value.dtype

    def find(self, keys: Mapping[str, Ints]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The values of keys, and which are known."""
        slots = self._slots.find(keys, len(keys[self.spec.grain[0]]))
        # A slot of -1 is the last place of the arrays, which is never known.
        return self._value[slots], self._known[slots]
