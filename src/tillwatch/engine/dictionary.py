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

SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)  # what Unicode calls White_Space, as Polars and Rust do; Python's own strip() takes four control characters more
_GENDERS = {"f": "F", "female": "F", "m": "M", "male": "M", "e": "E", "enterprise": "E"}


def clean(text: str) -> str:
    """White space stripped, then one layer of matching quotes.

    >>> clean(" 'M348934600' "), clean('"x"'), clean("'"), clean("'a\\"")
    ('M348934600', 'x', "'", '\\'a"')
    """
    text = text.strip(SPACE)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def cleaned(text: pl.Expr) -> pl.Expr:
    """The same as `clean`, as a Polars expression."""
    bare = text.str.strip_chars()
    inner = bare.str.slice(1).str.head(-1)
    quoted = pl.any_horizontal(bare.str.starts_with(q) & bare.str.ends_with(q) for q in ("'", '"'))
    return pl.when(quoted & (bare.str.len_bytes() >= 2)).then(inner).otherwise(bare)


def clean_gender(text: str) -> str:
    """F, M, E or U.

    >>> [clean_gender(t) for t in ("'F'", "female", "MALE", "enterprise", "x", "")]
    ['F', 'F', 'M', 'E', 'U', 'U']
    """
    return _GENDERS.get(clean(text).lower(), "U")


class Dictionary:
    """Codes 0, 1, 2 … for cleaned texts. The same text always has the same code; other spellings share it."""

    unknown: int | None = None
    """The code of a text that is not known; None where there is none such."""

    def __init__(self, cleaner: Callable[[str], str] = clean) -> None:
        self.values: list[str] = []
        self._codes: dict[str, int] = {"": EMPTY}
        self._cleaner = cleaner
        # Polars forgets the codes of a category that no series holds: `_held` holds one.
        self._raw = pl.Categorical(pl.Categories(f"tillwatch-{uuid.uuid4().hex}"))
        self._held = pl.Series([""], dtype=pl.String).cast(self._raw)
        self._cleaned = np.array([self.code(cleaner(""))], np.int64)

    def raw_codes(self, column: str) -> pl.Expr:
        """An expression for the codes of a column's texts as spelled; `cleaned` takes its result. No nulls."""
        return pl.col(column).cast(self._raw).to_physical()

    def cleaned(self, texts: pl.Series, raw: NDArray[np.uint32]) -> Ints:
        """The codes of the cleaned texts; EMPTY where nothing is left after cleaning."""
        known = len(self._cleaned)
        if len(raw) and int(raw.max()) >= known:
            self._learn(texts, raw, known)
        codes: Ints = self._cleaned[raw]
        return codes

    def encode(self, texts: pl.Series) -> Ints:
        """The codes of the cleaned texts of one series without nulls."""
        raw = texts.to_frame("x").select(self.raw_codes("x")).to_series()
        return self.cleaned(texts, raw.to_numpy())

    def _learn(self, texts: pl.Series, raw: NDArray[np.uint32], known: int) -> None:
        unknown = np.flatnonzero(raw >= known)
        new, first = np.unique(raw[unknown], return_index=True)
        grown = np.full(int(new[-1]) + 1, EMPTY, np.int64)
        grown[:known] = self._cleaned
        # A list: from an array Polars would import numpy.ma first, which takes longer than all the rest.
        grown[new] = self.codes(self._cleaner(t) for t in texts.gather(unknown[first].tolist()).to_list())
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

    def distinct_codes(self, texts: pl.Series) -> Ints:
        """The codes of cleaned texts without nulls, each distinct one looked up once."""
        distinct = texts.unique(maintain_order=True)
        places = texts.cast(pl.Enum(distinct)).to_physical().to_numpy()
        codes: Ints = np.array(self.codes(distinct.to_list()), np.int64)[places]
        return codes

    def texts(self, codes: Ints) -> list[str]:
        """The cleaned texts of codes."""
        return [self.values[c] for c in codes.tolist()]


class NullableDictionary(Dictionary):
    """Of texts that may be unknown: the empty text stands for that, and has a code like any other."""

    unknown = 0

    def __init__(self) -> None:
        super().__init__()
        self.values, self._codes = [""], {"": self.unknown}
        self._cleaned = np.array([self.unknown], np.int64)
