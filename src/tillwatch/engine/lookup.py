"""A lookup's values by key codes: aggregated once, before it is joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.slots import KeySlots
from tillwatch.patterns.program import LookupSpec

Ints = NDArray[np.int64]


class Lookup(Protocol):
    """A version of a lookup, in force from chunk `first` on; its frame may be read only when it is asked for."""

    @property
    def spec(self) -> LookupSpec:
        """What patterns see of it."""
        ...

    @property
    def frame(self) -> pl.DataFrame:
        """The key columns (clean, distinct) and `value`."""
        ...

    @property
    def digest(self) -> str:
        """By which versions are told apart."""
        ...

    @property
    def first(self) -> int:
        """The first chunk."""
        ...


@dataclass(frozen=True, slots=True)
class LookupData:
    """A lookup as it was read: `frame` has the key columns (clean, distinct) and `value`.

    `value` is Int64 (counts, and decimals scaled by the program's digits), Float64 (averages), String, or Boolean:
    true, of a lookup that has keys only. It is null for keys that are there without a value, which only lookups have
    whose keys are required. `digest` is the SHA-256 of the file it came from. It is in force from chunk `first` on.
    """

    spec: LookupSpec
    frame: pl.DataFrame
    digest: str
    first: int = 0


def key_slots(spec: LookupSpec, frame: pl.DataFrame, dictionaries: Mapping[str, Dictionary]) -> tuple[KeySlots, Ints]:
    """Numbers for the keys of a lookup, and those of its rows."""
    codes = {k: dictionaries[k].distinct_codes(frame[k]) for k in spec.grain}
    found = KeySlots(spec.grain, frame.height)
    return found, found.add(codes, frame.height)


class LookupIndex:
    """Finds a lookup's values by the codes of its keys."""

    def __init__(self, data: Lookup, dictionaries: Mapping[str, Dictionary]) -> None:
        self.spec = data.spec
        frame = data.frame.drop_nulls("value")
        self._slots, slots = key_slots(data.spec, frame, dictionaries)
        size = self._slots.size
        self._value: NDArray[Any] = np.zeros(size + 1, frame["value"].to_numpy().dtype)
        self._known = np.zeros(size + 1, np.bool_)
        self._value[slots], self._known[slots] = frame["value"].to_numpy(), True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self._value.dtype

    def find(self, keys: Mapping[str, Ints]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The values of keys, and which are known."""
        slots = self._slots.find(keys, len(keys[self.spec.grain[0]]))
        # A slot of -1 is the last place of the arrays, which is never known.
        return self._value[slots], self._known[slots]
