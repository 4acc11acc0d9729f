"""CSV a block at a time: text in which nothing is out of order, parsed by Polars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.ingest.readers.csv_records import Grammar
from tillwatch.ingest.readers.cutting import Batch

_LF, _CR, _QUOTE = b'\n\r"'


class BlockReader:
    """Parses clean text at once; leaves all other text to the careful reader."""

    def __init__(self, columns: Sequence[str], grammar: Grammar) -> None:
        self._schema = dict.fromkeys(columns, pl.String())
        self._separators = len(columns) - 1
        self._delimiter = grammar.delimiter
        self._limits = grammar.limits

    def read(self, text: bytes, base: int) -> Batch | None:
        """The complete records of `text`, which starts with one; None when there is none or one is not clean.

        Clean text has no NUL, no CR but before LF and no empty lines, well placed quotes, and as many separators
        as it should. Polars raises when they are in the wrong records, and when text is not UTF-8.
        """
        text = text[: text.rfind(b"\n") + 1]
        letters = np.frombuffer(text, np.uint8)
        lines = np.flatnonzero(letters == _LF)
        if not text or b"\0" in text or not _cr_only_before_lf(text, letters, lines):
            return None
        quoted = b'"' in text
        ends = self._quoted_ends(letters) if quoted else self._plain_ends(letters, lines + 1)
        if ends is None or not self._fits(text, ends):
            return None
        frame = self._parse(text[: ends[-1]], quoted)
        if frame is None or frame.height != len(ends):
            return None
        return Batch(frame, ends + base)

    def _plain_ends(self, letters: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64] | None:
        fits = np.count_nonzero(letters == self._delimiter[0]) == len(ends) * self._separators
        return ends if fits else None

    def _quoted_ends(self, letters: NDArray[np.uint8]) -> NDArray[np.int64] | None:
        quotes = letters == _QUOTE
        outside = ~np.bitwise_xor.accumulate(quotes)
        ends = np.flatnonzero((letters == _LF) & outside) + 1
        if not len(ends):
            return None
        letters, quotes, outside = letters[: ends[-1]], quotes[: ends[-1]], outside[: ends[-1]]
        separators = np.count_nonzero((letters == self._delimiter[0]) & outside)
        fits = separators == len(ends) * self._separators
        return ends if fits and self._well_placed(letters, np.flatnonzero(quotes)) else None

    def _well_placed(self, letters: NDArray[np.uint8], quotes: NDArray[np.int64]) -> bool:
        """Quotes open and close by turns; a doubled quote in a field closes it and opens it again.

        So what opens must start a field or follow a quote, and what closes must end a field or precede one.
        """
        opening, closing = quotes[0::2], quotes[1::2]
        before = letters[opening[opening > 0] - 1]
        after = letters[closing + 1]
        separator = self._delimiter[0]
        opens = (before == separator) | (before == _LF) | (before == _QUOTE)
        closes = (after == separator) | (after == _LF) | (after == _QUOTE) | (after == _CR)
        return bool(opens.all() and closes.all())

    def _fits(self, text: bytes, ends: NDArray[np.int64]) -> bool:
        """No row comes near a limit, and no line is empty when there is one column, so no separator to count."""
        longest = np.diff(ends, prepend=0).max() if len(text) > self._limits.quoted else 0
        empty_lines = self._separators == 0 and (
            text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text
        )
        return longest <= self._limits.quoted and not empty_lines

    def _parse(self, text: bytes, quoted: bool) -> pl.DataFrame | None:
        try:
            return pl.read_csv(
                text,
                has_header=False,
                schema=self._schema,
                separator=self._delimiter.decode(),
                quote_char='"' if quoted else None,
                infer_schema=False,
                empty_string_is_null=False,
            )
        except pl.exceptions.PolarsError:
            return None


def _cr_only_before_lf(text: bytes, letters: NDArray[np.uint8], lines: NDArray[np.int64]) -> bool:
    if b"\r" not in text:
        return True
    # NumPy counts single bytes several times as fast as bytes.count does.
    before = letters[lines[lines > 0] - 1]
    return bool(np.count_nonzero(letters == _CR) == np.count_nonzero(before == _CR))
