"""Dense numbers for keys: a hash table of 64-bit keys in NumPy arrays, looked up many keys at a time.

A lookup costs the same however many keys are held, which neither sorted arrays nor joins give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_FREE = np.int64(-1)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Knuth's multiplicative hashing


class DirectSlots:
    """Slots 0, 1, 2 … for small dense keys such as dictionary codes, in the order in which keys were first seen."""

    def __init__(self) -> None:
        self._slots = np.full(1024, -1, np.int64)
        self.size = 0

    def find(self, keys: Ints) -> Ints:
        """The slot of each key, -1 for keys never added."""
        known = (keys >= 0) & (keys < len(self._slots))
        return np.where(known, self._slots[np.where(known, keys, 0)], -1)

    def add(self, keys: Ints) -> Ints:
        """The slot of each key; keys not seen before get new ones."""
        top = int(keys.max()) + 1 if len(keys) else 0
        if top > len(self._slots):
            self._slots = np.concatenate([self._slots, np.full(max(top, len(self._slots)), -1, np.int64)])
        missing = keys[self._slots[keys] < 0]
        if len(missing):
            new = missing[np.sort(np.unique(missing, return_index=True)[1])]
            self._slots[new] = np.arange(self.size, self.size + len(new))
            self.size += len(new)
        return self._slots[keys]


class HashSlots:
    """Slots 0, 1, 2 … for non-negative int64 keys, in the order in which keys were first seen."""

    def __init__(self, capacity: int = 1 << 12) -> None:
        self._bits = max(4, int(capacity - 1).bit_length())
        self._keys = np.full(1 << self._bits, _FREE, np.int64)
        self._slots = np.zeros(1 << self._bits, np.int64)
        self.size = 0

    def find(self, keys: Ints) -> Ints:
        """The slot of each key, -1 for keys never added."""
        place = self._hash(keys)
        held = self._keys[place]
        hit = held == keys
        found = np.where(hit, self._slots[place], -1)
        todo = np.flatnonzero(~hit & (held != _FREE))
        place[todo] = (place[todo] + 1) & (len(self._keys) - 1)
        while len(todo):
            held = self._keys[place[todo]]
            hit = held == keys[todo]
            found[todo[hit]] = self._slots[place[todo[hit]]]
            todo = todo[~hit & (held != _FREE)]
            place[todo] = (place[todo] + 1) & (len(self._keys) - 1)
        return found

    def add(self, keys: Ints) -> Ints:
        """The slot of each key; keys not seen before get new ones."""
        found = self.find(keys)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            new, first, inverse = np.unique(keys[missing], return_index=True, return_inverse=True)
            order = np.argsort(first, kind="stable")
            numbers = np.empty(len(new), np.int64)
            numbers[order] = np.arange(self.size, self.size + len(new))
            self._insert(new, numbers)
            found[missing] = numbers[inverse]
        return found

    def make_room(self) -> None:
        """Grows now when three quarters of the room are used, so that adding keys need not."""
        if 8 * self.size > 3 * len(self._keys):
            self._grow()

    def _insert(self, keys: Ints, slots: Ints) -> None:
        self.size += len(keys)
        while 2 * self.size > len(self._keys):
            self._grow()
        self._place(keys, slots)

    def _place(self, keys: Ints, slots: Ints) -> None:
        place = self._hash(keys)
        todo = np.arange(len(keys))
        while len(todo):
            at = place[todo]
            free = self._keys[at] == _FREE
            self._keys[at[free]] = keys[todo[free]]  # of several keys for one place the last is kept
            won = self._keys[at] == keys[todo]
            self._slots[at[won]] = slots[todo[won]]
            todo = todo[~won]
            place[todo] = (place[todo] + 1) & (len(self._keys) - 1)

    def _grow(self) -> None:
        used = self._keys != _FREE
        keys, slots = self._keys[used], self._slots[used]
        self._bits += 1
        self._keys = np.full(1 << self._bits, _FREE, np.int64)
        self._slots = np.zeros(1 << self._bits, np.int64)
        self._place(keys, slots)

    def _hash(self, keys: Ints) -> Ints:
        mixed = (keys.astype(np.uint64) * _MULTIPLIER) >> np.uint64(64 - self._bits)
        return mixed.astype(np.int64)


class KeySlots:
    """Slots for keys of several columns, given by their codes."""

    def __init__(self, columns: Sequence[str], expected: int = 1 << 11) -> None:
        self._columns = tuple(columns)
        self._direct = DirectSlots()
        self._hashed = [HashSlots(2 * expected) for _ in columns[1:]]

    @property
    def size(self) -> int:
        """How many keys have slots; the key of no columns always has one."""
        if not self._columns:
            return 1
        return self._hashed[-1].size if self._hashed else self._direct.size

    def find(self, codes: Mapping[str, Ints], length: int) -> Ints:
        """The slot of each of `length` keys, -1 for keys never added."""
        if not self._columns:
            return np.zeros(length, np.int64)
        slots = self._direct.find(codes[self._columns[0]])
        for column, hashed in zip(self._columns[1:], self._hashed, strict=True):
            slots = np.where(slots < 0, -1, hashed.find(np.maximum(slots, 0) << 32 | codes[column]))
        return slots

    def add(self, codes: Mapping[str, Ints], length: int) -> Ints:
        """The slot of each of `length` keys; keys not seen before get the next ones."""
        if not self._columns:
            return np.zeros(length, np.int64)
        slots = self._direct.add(codes[self._columns[0]])
        for column, hashed in zip(self._columns[1:], self._hashed, strict=True):
            slots = hashed.add(slots << 32 | codes[column])
        return slots

    def make_room(self) -> None:
        """Grows now what would have to before long."""
        for hashed in self._hashed:
            hashed.make_room()
