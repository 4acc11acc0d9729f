"""Amounts as keys: codes for scaled integers, shown as canonical decimals."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.slots import HashSlots

Ints = NDArray[np.int64]


class AmountDictionary(Dictionary):
    """Codes 0, 1, 2 … for scaled amounts; their texts are decimals without needless digits.

    >>> amounts = AmountDictionary(2)
    >>> amounts.texts(amounts.encode(pl.Series([455, -100, 455])))
    ['4.55', '-1', '4.55']
    """

    def __init__(self, digits: int) -> None:  # nothing of a dictionary of texts is needed but its values
        self.values = []
        self._digits = digits
        self._slots = HashSlots()

    def encode(self, texts: pl.Series) -> Ints:
        """The codes of scaled integers."""
        amounts = texts.to_numpy()
        codes = self._slots.add((amounts << 1) ^ (amounts >> 63))  # a hash table takes no negative keys
        if self._slots.size > len(self.values):
            at = np.unique(codes, return_index=True)[1][len(self.values) - self._slots.size :]
            self.values += [self._shown(amount) for amount in amounts[at].tolist()]
        return codes

    def code(self, value: str) -> int:
        """The code of a decimal."""
        scaled = int(Decimal(value).scaleb(self._digits))
        return int(self.encode(pl.Series([scaled], dtype=pl.Int64))[0])

    def codes(self, values: Iterable[str]) -> list[int]:
        """The codes of decimals."""
        scaled = [int(Decimal(value).scaleb(self._digits)) for value in values]
        return [int(code) for code in self.encode(pl.Series(scaled, dtype=pl.Int64))]

    def _shown(self, amount: int) -> str:
        text = f"{Decimal(amount).scaleb(-self._digits):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
