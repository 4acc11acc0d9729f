"""Text to dense codes and back, with the cleaning of CONTRACT 3 done once per distinct text."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]

EMPTY = -1
"""Code of the empty text."""

_GENDERS = {"f": "F", "female": "F", "m": "M", "male": "M", "e": "E", "enterprise": "E"}


def clean(text: str) -> str:
    """White space stripped, then one layer of matching quotes.

    >>> clean(" 'M348934600' "), clean('"x"'), clean("'"), clean("'a\\"")
    ('M348934600', 'x', "'", '\\'a"')
    """
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def clean_gender(text: str) -> str:
    """F, M, E or U.

    >>> [clean_gender(t) for t in ("'F'", "female", "MALE", "enterprise", "x", "")]
    ['F', 'F', 'M', 'E', 'U', 'U']
    """
    return _GENDERS.get(clean(text).lower(), "U")


class Dictionary:
    """Codes 0, 1, 2 … for cleaned texts. The same text always has the same code; other spellings share it."""

    def __init__(self, cleaner: Callable[[str], str] = clean) -> None:
        self.values: list[str] = []
        self._codes: dict[str, int] = {"": EMPTY}
        self._cleaner = cleaner
        # Polars forgets the codes of a category that no series holds: `_held` holds one.
        self._raw = pl.Categorical(pl.Categories(f"tillwatch-{uuid.uuid4().hex}"))
        self._held = pl.Series([""], dtype=pl.String).cast(self._raw)
        self._cleaned = np.array([self.code(cleaner(""))], np.int64)

    def encode(self, texts: pl.Series) -> Ints:
        """The codes of the cleaned texts; EMPTY where nothing is left after cleaning. No nulls allowed."""
        encoded = texts.cast(self._raw)
        raw = encoded.to_physical().to_numpy()
        known = len(self._cleaned)
        if len(raw) and int(raw.max()) >= known:
            self._learn(texts, raw, known)
        codes: Ints = self._cleaned[raw]
        return codes

    def _learn(self, texts: pl.Series, raw: NDArray[np.uint32], known: int) -> None:
        new_codes, rows = np.unique(raw, return_index=True)
        rows = rows[new_codes >= known]
        new_codes = new_codes[new_codes >= known]
        grown = np.full(int(new_codes.max()) + 1, EMPTY, np.int64)
        grown[:known] = self._cleaned
        grown[new_codes] = self.codes(self._cleaner(t) for t in texts.gather(rows).to_list())
        self._cleaned = grown

    def code(self, value: str) -> int:
        """The code of a cleaned text, a new one if need be."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self.values)
            self.values.append(value)
        return code

    def codes(self, values: Iterable[str]) -> list[int]:
        """The codes of cleaned texts."""
        return [self.code(v) for v in values]

    def texts(self, codes: Ints) -> list[str]:
        """The cleaned texts of codes."""
        return [self.values[c] for c in codes.tolist()]
