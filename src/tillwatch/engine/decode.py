"""Landed frames to clean columns of integers; rows that are not valid are told apart, with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.engine.amounts import AmountDictionary
from tillwatch.engine.dictionary import Dictionary, clean, clean_gender, cleaned
from tillwatch.engine.squares import square_digit
from tillwatch.engine.times import TimeRule, parse
from tillwatch.errors import PatternError
from tillwatch.model import MALFORMED, PROBLEM, SOURCE_FILE, SOURCE_ROW
from tillwatch.patterns.features import KEY_COLUMNS, TEXT_COLUMNS
from tillwatch.patterns.program import SQUARES, Op

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

AMOUNT_PRECISION = 15
"""Digits of a scaled amount: with four fraction digits, amounts are below 100,000,000,000."""

_UNMAPPED = "-"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rows:
    """The valid rows of one chunk: codes per text column, amounts as scaled integers.

    Rows that were aggregated before stand for several: `times` says for how many, `amount` is their sum, `least` and
    `greatest` are its bounds. Filters on the amount need rows that stand for equal ones.

    `time` is in millionths; `number` counts the rows of the source file `source`. They are there where asked for.
    """

    codes: Mapping[str, Ints]
    amount: Ints
    times: Ints | None = None
    least: Ints | None = None
    greatest: Ints | None = None
    time: Ints | None = None
    number: Ints | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.amount)

    def measure(self, op: Op) -> Ints | None:
        """What each row brings to a sum, a least or greatest value, or a count; None for a count of 1 each."""
        if op == "count":
            return self.times
        if op in SQUARES:
            return square_digit(op, self.amount)
        bound = {"min": self.least, "max": self.greatest}.get(op)
        return self.amount if bound is None else bound

    def take(self, at: slice | NDArray[Any]) -> Rows:
        """Some of the rows."""
        time, number = (None if v is None else v[at] for v in (self.time, self.number))
        return Rows({c: v[at] for c, v in self.codes.items()}, self.amount[at], None, None, None, time, number)


@dataclass(frozen=True, slots=True)
class Detail:
    """What is decoded only where a program asks for it: times, row numbers, codes of amounts."""

    times: TimeRule | None = None
    numbers: bool = False
    amounts: bool = False


PLAIN = Detail()


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not valid: its index in the chunk (from 0), a code word for counting, and the reason."""

    row: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A chunk decoded: its valid rows and the others."""

    rows: Rows
    rejects: tuple[Reject, ...]


@dataclass(slots=True)
class Decoder:
    """Decodes chunks with one set of dictionaries, so that codes mean the same in all of them.

    `columns` maps logical names to column names; those in `optional` may be missing from a frame or null in a row,
    and are then not mapped there. `digits` are the fraction digits kept of amounts.
    """

    columns: Mapping[str, str]
    digits: int = 4
    negative: bool = False
    optional: frozenset[str] = frozenset()
    detail: Detail = PLAIN
    dictionaries: dict[str, Dictionary] = field(init=False)

    def __post_init__(self) -> None:
        self.dictionaries = {
            c: Dictionary(clean_gender if c == "gender" else clean) for c in TEXT_COLUMNS if c in self.columns
        }
        if self.detail.amounts:
            self.dictionaries["amount"] = AmountDictionary(self.digits)

    def decode(self, frames: Sequence[pl.DataFrame]) -> list[Decoded]:
        """Decodes frames in one go, for speed; each is judged on its own."""
        frame = self._joined(frames)
        # One select, so that Polars works on the columns in parallel.
        texts = {c: d for c, d in self.dictionaries.items() if c != "amount"}
        raw = frame.select(*(d.raw_codes(c) for c, d in texts.items()), self._scaled(pl.col("amount")))
        codes = {c: d.cleaned(frame[c], raw[c].to_numpy()) for c, d in texts.items()}
        amount, numeric = self._amounts(frame["amount"], raw["amount"])
        valid = numeric & frame[MALFORMED].is_null().to_numpy()
        for column in KEY_COLUMNS:
            if column in codes:
                valid &= codes[column] >= 0
        if not self.negative:
            valid &= ~self._below_zero(frame["amount"], amount)
        rows = Rows(codes, amount)
        if self.detail != PLAIN:
            rows, valid = self._detailed(frame, rows, valid)
        return self._split(frames, frame, rows, valid)

    def _detailed(self, frame: pl.DataFrame, rows: Rows, valid: Bools) -> tuple[Rows, Bools]:
        """The rows with times, numbers and codes of amounts, as far as these are asked for."""
        if self.detail.amounts:
            codes = self.dictionaries["amount"].encode(pl.Series(rows.amount))
            rows = replace(rows, codes={**rows.codes, "amount": codes})
        if self.detail.numbers:
            rows = replace(rows, number=frame[SOURCE_ROW].to_numpy())
        if self.detail.times is not None:
            times = self.detail.times.read(frame["time"])
            rows = replace(rows, time=times.fill_null(0).to_numpy())
            valid = valid & times.is_not_null().to_numpy()
        return rows, valid

    def _joined(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """The mapped columns of all frames; of frames that are alike, selected once."""
        if all(f.schema == frames[0].schema for f in frames):
            return self._select(pl.concat(frames, rechunk=True))
        return pl.concat([self._select(f) for f in frames], rechunk=True)

    def _select(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The mapped columns by their logical names, as text, absent ones empty."""
        wanted = dict.fromkeys([*self.dictionaries, "amount", *(["time"] if self.detail.times else [])])
        have = set(frame.columns)
        exprs = [
            (_as_text(self.columns[c], frame.schema) if self.columns[c] in have else pl.lit(None, pl.String))
            .fill_null(_UNMAPPED if c in self.optional else "")
            .alias(c)
            for c in wanted
        ]
        marks = [pl.col(c) if c in have else pl.lit(None, pl.String).alias(c) for c in (MALFORMED, PROBLEM)]
        if self.detail.numbers:
            number = pl.col(SOURCE_ROW) if SOURCE_ROW in have else pl.int_range(1, pl.len() + 1)
            marks.append(number.cast(pl.Int64).alias(SOURCE_ROW))
        return frame.select(*exprs, *marks)

    def _amounts(self, texts: pl.Series, scaled: pl.Series) -> tuple[Ints, NDArray[np.bool_]]:
        """Scaled integers, half to even, and which texts are numbers in range (0 where not)."""
        missing = scaled.is_null()
        if missing.any():
            again = self._scaled(cleaned(pl.col("amount")).str.strip_chars())
            scaled = scaled.scatter(
                missing.arg_true(), texts.alias("amount").filter(missing).to_frame().select(again).to_series()
            )
        numeric = scaled.is_not_null().to_numpy()
        return scaled.fill_null(0).to_numpy(), numeric

    def _scaled(self, text: pl.Expr) -> pl.Expr:
        decimal = pl.Decimal(AMOUNT_PRECISION, self.digits)
        return text.cast(decimal, strict=False).to_physical().cast(pl.Int64)

    def _below_zero(self, texts: pl.Series, amount: Ints) -> NDArray[np.bool_]:
        below: NDArray[np.bool_] = amount < 0
        for row in np.flatnonzero(amount == 0).tolist():  # -0.00001 is below zero, though it rounds to 0
            below[row] = _is_negative(clean(texts[row]).strip())
        return below

    def _split(
        self, frames: Sequence[pl.DataFrame], frame: pl.DataFrame, rows: Rows, valid: NDArray[np.bool_]
    ) -> list[Decoded]:
        ends = np.cumsum([f.height for f in frames])
        out = []
        for raw, start, stop in zip(frames, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            mine, keep = rows.take(slice(start, stop)), valid[start:stop]
            if self.detail.numbers and SOURCE_FILE in raw.columns and raw.height:
                mine = replace(mine, source=str(raw[SOURCE_FILE][0]))
            if keep.all():
                out.append(Decoded(mine, ()))
                continue
            self._check_times(frame[start:stop], keep)
            wrong = (np.flatnonzero(~keep) + start).tolist()
            kept = replace(mine.take(keep), source=mine.source)
            out.append(Decoded(kept, tuple(self._reject(frame, row, start) for row in wrong)))
        return out

    def _check_times(self, chunk: pl.DataFrame, valid: Bools) -> None:
        """Raises PatternError when a chunk has no time that the windows can use, but others."""
        rule = self.detail.times
        if valid.any() or rule is None or rule.other is None or rule.read(chunk["time"]).is_not_null().any():
            return
        other = parse(chunk["time"], rule.other, rule.timezone).is_not_null().arg_true()
        if len(other):
            raise PatternError(
                f"time ({self.columns['time']}) is such as {_short(chunk['time'][other[0]])}, and the windows of the "
                f"patterns are in {'steps' if rule.kind == 'number' else 'hours or the like'}: give them units that "
                "fit the column, or set time.format"
            )

    def _reject(self, frame: pl.DataFrame, row: int, start: int) -> Reject:
        cells = frame.row(row, named=True)
        if cells[MALFORMED] is not None:
            return Reject(row - start, "malformed", cells[PROBLEM] or "malformed")
        for column in KEY_COLUMNS:
            if column in self.dictionaries and clean(cells[column]) == "":
                return Reject(row - start, f"{column}_empty", f"{column} ({self.columns[column]}) is empty")
        if (problem := self._amount_problem(cells["amount"])) is None:
            assert self.detail.times is not None
            problem = self.detail.times.problem(cells["time"], self.columns["time"])
        return Reject(row - start, *problem)

    def _amount_problem(self, text: str) -> tuple[str, str] | None:
        bare = clean(text).strip()
        name = f"amount ({self.columns['amount']})"
        if bare == "":
            return "amount_empty", f"{name} is empty"
        if not _NUMBER.fullmatch(bare):
            return "amount_not_a_number", f"{name} is not a finite decimal number: {_short(text)}"
        if _is_negative(bare) and not self.negative:
            return "amount_negative", f"{name} is negative: {_short(text)}"
        if self._amounts(pl.Series([text]), pl.Series([None], dtype=pl.Int64))[1][0]:
            return None
        limit = 10 ** (AMOUNT_PRECISION - self.digits)
        return "amount_out_of_range", f"{name} rounded to {self.digits} digits is not below {limit}: {_short(text)}"


def _is_negative(number: str) -> bool:
    """Whether the text is a number below zero, however great or small its exponent.

    >>> [_is_negative(n) for n in ("-1e99999999999999999999", "-0.0e5", "-x", "1")]
    [True, False, False, False]
    """
    mantissa = number.lower().partition("e")[0]
    return number.startswith("-") and _NUMBER.fullmatch(number) is not None and mantissa.strip("-0.") != ""


def _as_text(column: str, schema: pl.Schema) -> pl.Expr:
    """A column as text; what has none (nested values, bytes that are not UTF-8) is as if it were not there."""
    if schema[column].is_nested() or schema[column] in (pl.Duration, pl.Object):
        return pl.lit(None, pl.String)
    if schema[column] == pl.Binary:
        return pl.col(column).map_elements(_utf8, return_dtype=pl.String)
    return pl.col(column).cast(pl.String)


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
