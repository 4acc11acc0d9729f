"""What lookups say of each row: a text that is joined to it by its keys, and whether it has these keys at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary, NullableDictionary
from tillwatch.engine.lookup import Lookup, key_slots
from tillwatch.patterns.program import LookupSpec

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Require = Literal["quarantine", "mark"]
"""What becomes of rows whose keys a lookup lacks."""


@dataclass(frozen=True, slots=True)
class RowLookups:
    """Lookups that rows are looked up in: those that give them `texts`, columns by the lookups' names, and those that
    keys are required to be in. Of each there may be several versions, in the order in which they come into force.
    """

    lookups: tuple[Lookup, ...] = ()
    require: Mapping[str, Require] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, lookups: Iterable[Lookup], require: Mapping[str, Require]) -> RowLookups:
        """Those of some lookups that rows are looked up in."""
        mine = tuple(data for data in lookups if is_by_row(data.spec, require))
        return cls(mine, require, tuple({data.spec.name: None for data in mine if data.spec.kind == "text"}))

    def at(self, chunk: int) -> tuple[Lookup, ...]:
        """The versions in force at a chunk."""
        return tuple({data.spec.name: data for data in self.lookups if data.first <= chunk}.values())


NO_LOOKUPS = RowLookups()


def is_by_row(spec: LookupSpec, require: Mapping[str, Require]) -> bool:
    """Whether rows are looked up in a lookup."""
    return spec.kind == "text" or spec.name in require


def dictionaries_of(names: Iterable[str]) -> dict[str, Dictionary]:
    """A dictionary for each column that lookups join to rows."""
    return {name: NullableDictionary() for name in names}


class RowIndex:
    """Finds what these versions of lookups say of rows by the codes of their keys."""

    def __init__(
        self, lookups: RowLookups, versions: tuple[Lookup, ...], dictionaries: Mapping[str, Dictionary]
    ) -> None:
        self.require, self._versions = lookups.require, versions
        self._each = [_Each(data, dictionaries) for data in versions]

    def is_of(self, versions: tuple[Lookup, ...]) -> bool:
        """Whether it is of these versions."""
        return [id(version) for version in versions] == [id(version) for version in self._versions]

    def columns(self, codes: Mapping[str, Ints]) -> tuple[dict[str, Ints], dict[str, Bools]]:
        """The joined columns of rows; and, by the name of a lookup that is required, which rows it does not have."""
        joined: dict[str, Ints] = {}
        missing: dict[str, Bools] = {}
        for each in self._each:
            slots = each.slots_of(codes)
            if each.texts is not None:
                joined[each.spec.name] = each.texts[slots]
            if each.spec.name in self.require:
                missing[each.spec.name] = slots < 0
        return joined, {name: missing[name] for name in self.require}

    def problem(self, name: str, codes: Mapping[str, Ints], row: int, dictionaries: Mapping[str, Dictionary]) -> str:
        """Why a row is not valid, whose keys a lookup lacks."""
        (spec,) = (each.spec for each in self._each if each.spec.name == name)
        shown = _shown(spec, codes, row, dictionaries)
        return f"{', '.join(shown)} {'is' if len(spec.grain) == 1 else 'are'} not in the lookup {name}"


def _shown(
    spec: LookupSpec, codes: Mapping[str, Ints], row: int, dictionaries: Mapping[str, Dictionary]
) -> Iterator[str]:
    for key in spec.grain:
        (text,) = dictionaries[key].texts(codes[key][row : row + 1])
        yield f"{key} {text[:60]!r}"


class _Each:
    """One lookup. `texts` has the code of each key's text, in the last place that of no key."""

    def __init__(self, data: Lookup, dictionaries: Mapping[str, Dictionary]) -> None:
        self.spec, frame = data.spec, data.frame
        self._slots, slots = key_slots(data.spec, frame, dictionaries)
        self.texts: Ints | None = None
        if data.spec.kind == "text":
            self.texts = np.zeros(self._slots.size + 1, np.int64)  # NullableDictionary.unknown
            self.texts[slots] = dictionaries[data.spec.name].distinct_codes(frame["value"].fill_null(""))

    def slots_of(self, codes: Mapping[str, Ints]) -> Ints:
        """The number of each row's key, -1 where the lookup does not have it or the row has no such key."""
        mine = {key: codes[key] for key in self.spec.grain}
        empty = np.logical_or.reduce([values < 0 for values in mine.values()])
        found = self._slots.find({key: np.maximum(values, 0) for key, values in mine.items()}, len(empty))
        return np.where(empty, -1, found)
