"""Dense numbers for keys: a hash table of 64-bit keys in NumPy arrays, looked up many keys at a time.

A lookup costs the same however many keys are held, which neither sorted arrays nor joins give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_FREE = np.int64(-1)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Knuth's multiplicative hashing


class HashSlots:
    """Slots 0, 1, 2 … for non-negative int64 keys, in the order in which keys were first seen."""

    def __init__(self, capacity: int = 1 << 12) -> None:
        self._bits = max(4, int(capacity - 1).bit_length())
        self._keys = np.full(1 << self._bits, _FREE, np.int64)
        self._slots = np.zeros(1 << self._bits, np.int64)
        self.size = 0

    def find(self, keys: Ints) -> Ints:
        """The slot of each key, -1 for keys never added."""
        found = np.full(len(keys), -1, np.int64)
        place = self._hash(keys)
        todo = np.arange(len(keys))
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
