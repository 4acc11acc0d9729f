"""Landed frames to clean columns of integers; rows that are not valid are told apart, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tillwatch.engine.amounts import AmountDictionary
from tillwatch.engine.cells import as_text, problem_column, worked_out
from tillwatch.engine.dictionary import Dictionary, clean, clean_gender, cleaned
from tillwatch.engine.filters import Filters
from tillwatch.engine.joined import NO_LOOKUPS, RowIndex, RowLookups, dictionaries_of
from tillwatch.engine.lookup import Lookup
from tillwatch.engine.squares import square_digit
from tillwatch.engine.times import TimeRule, parse
from tillwatch.errors import PatternError
from tillwatch.model import MALFORMED, PROBLEM, SOURCE_FILE, SOURCE_ROW
from tillwatch.patterns.derived import Derived
from tillwatch.patterns.expression import Expr
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
    `marked` says by the name of a lookup which rows it does not have.
    """

    codes: Mapping[str, Ints]
    amount: Ints
    times: Ints | None = None
    least: Ints | None = None
    greatest: Ints | None = None
    time: Ints | None = None
    number: Ints | None = None
    source: str = ""
    marked: Mapping[str, Bools] = field(default_factory=dict)

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
        marked = {name: v[at] for name, v in self.marked.items()}
        codes = {c: v[at] for c, v in self.codes.items()}
        return Rows(codes, self.amount[at], time=time, number=number, marked=marked)


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
    """A chunk decoded: the rows that count, and those that are not valid.

    `passed` says which of the valid ones count, None for all; then `seen` are the times of all valid ones, where times
    are read.
    """

    rows: Rows
    rejects: tuple[Reject, ...]
    passed: Bools | None = None
    seen: Ints | None = None

    @property
    def times(self) -> Ints | None:
        """The times of all valid rows; None where times are not read."""
        return self.rows.time if self.passed is None else self.seen

    @property
    def clock(self) -> int | None:
        """The greatest time of all valid rows; None where there is none."""
        times = self.times
        return int(times.max()) if times is not None and len(times) else None

    @property
    def filtered(self) -> int:
        """How many valid rows do not count."""
        return 0 if self.passed is None else int(np.count_nonzero(~self.passed))

    @property
    def marked(self) -> dict[str, int]:
        """How many of the rows that count a lookup does not have, by its name; those that have all are not named."""
        counts = {name: int(np.count_nonzero(missing)) for name, missing in self.rows.marked.items()}
        return {name: count for name, count in counts.items() if count}


@dataclass(slots=True)
class Decoder:
    """Decodes chunks with one set of dictionaries, so that codes mean the same in all of them.

    `columns` maps logical names to column names, or to what is worked out from columns; those in `optional` may be
    missing from a frame or null in a row, and are then not mapped there. `digits` are the fraction digits kept of
    amounts. Of the valid rows those are kept that pass `where`. `lookups` are those that rows are looked up in.
    """

    columns: Mapping[str, str | Derived]
    digits: int = 4
    negative: bool = False
    optional: frozenset[str] = frozenset()
    detail: Detail = PLAIN
    where: Expr | None = None
    lookups: RowLookups = NO_LOOKUPS
    dictionaries: dict[str, Dictionary] = field(init=False)
    _derived: dict[str, Derived] = field(init=False)
    _texts: dict[str, Dictionary] = field(init=False)
    _index: RowIndex = field(init=False)
    _of_lookups: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._derived = {name: c for name, c in self.columns.items() if isinstance(c, Derived)}
        self._texts = {
            c: Dictionary(clean_gender if c == "gender" else clean) for c in self.columns if c not in ("amount", "time")
        }
        self.dictionaries = self._texts | dictionaries_of(self.lookups.texts)
        if self.detail.amounts:
            self.dictionaries["amount"] = AmountDictionary(self.digits)
        self._index = RowIndex(NO_LOOKUPS, (), self.dictionaries)  # that of the chunk is made when there is one

    @property
    def sources(self) -> list[str]:
        """The columns of the source that are read."""
        return sources_of(self.columns)

    @property
    def own_texts(self) -> int:
        """How many distinct texts its dictionaries hold beside those that lookups have brought."""
        return self._known_texts - self._of_lookups

    @property
    def _known_texts(self) -> int:
        return sum(len(d.values) for d in self.dictionaries.values())

    def expect(self, versions: Iterable[Lookup]) -> None:
        """Takes versions of lookups that come into force at chunks to come."""
        known = self.lookups
        more = RowLookups.of(versions, known.require).lookups
        self.lookups = replace(known, lookups=(*known.lookups, *more))

    def decode(self, frames: Sequence[pl.DataFrame], numbers: Sequence[int] = ()) -> list[Decoded]:
        """Decodes frames in one go, for speed; each is judged on its own.

        `numbers` are those of the chunks, without which the first versions of lookups count. Where lookups that rows
        are looked up in change on the way, there are several goes.
        """
        decoded: list[Decoded] = []
        pairs = zip(frames, numbers or [0] * len(frames), strict=True)
        for _, some in groupby(pairs, lambda pair: [id(version) for version in self.lookups.at(pair[1])]):
            alike = list(some)
            self._look_up_in(self.lookups.at(alike[0][1]))
            decoded += self._decoded([frame for frame, _ in alike])
        return decoded

    def _look_up_in(self, versions: tuple[Lookup, ...]) -> None:
        """Rows are looked up in these versions from now on."""
        if not self._index.is_of(versions):
            before = self._known_texts
            self._index = RowIndex(self.lookups, versions, self.dictionaries)
            self._of_lookups += self._known_texts - before

    def _decoded(self, frames: Sequence[pl.DataFrame]) -> list[Decoded]:
        frame = self._joined(frames)
        # One select, so that Polars works on the columns in parallel.
        texts = self._texts
        raw = frame.select(*(d.raw_codes(c) for c, d in texts.items()), self._scaled(pl.col("amount")))
        codes = {c: d.cleaned(frame[c], raw[c].to_numpy()) for c, d in texts.items()}
        amount, numeric = self._amounts(frame["amount"], raw["amount"])
        valid = numeric & frame[MALFORMED].is_null().to_numpy()
        for column in texts:
            valid &= codes[column] >= 0
        for column in self._derived:
            valid &= frame[problem_column(column)].is_null().to_numpy()
        if not self.negative:
            valid &= ~self._below_zero(frame["amount"], amount)
        joined, missing = self._index.columns(codes)
        marked = {name: rows for name, rows in missing.items() if self.lookups.require[name] == "mark"}
        rows = Rows(codes | joined, amount, marked=marked)
        if self.detail != PLAIN:
            rows, valid = self._detailed(frame, rows, valid)
        refused = {name: rows for name, rows in missing.items() if name not in marked}
        for lacking in refused.values():
            valid &= ~lacking
        return self._split(frames, frame, rows, valid, refused)

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
        wanted = [*self._texts, "amount", *(["time"] if self.detail.times else [])]
        have = set(frame.columns)
        exprs = [
            as_text(self.columns[c], frame.schema).fill_null(_UNMAPPED if c in self.optional else "").alias(c)
            for c in wanted
            if c not in self._derived
        ]
        marks = [pl.col(c) if c in have else pl.lit(None, pl.String).alias(c) for c in (MALFORMED, PROBLEM)]
        if self.detail.numbers:
            number = pl.col(SOURCE_ROW) if SOURCE_ROW in have else pl.int_range(1, pl.len() + 1)
            marks.append(number.cast(pl.Int64).alias(SOURCE_ROW))
        return frame.select(*exprs, *marks, *(s for c, d in self._derived.items() for s in worked_out(frame, c, d)))

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
        self,
        frames: Sequence[pl.DataFrame],
        frame: pl.DataFrame,
        rows: Rows,
        valid: Bools,
        refused: Mapping[str, Bools],
    ) -> list[Decoded]:
        ends = np.cumsum([f.height for f in frames])
        out = []
        for raw, start, stop in zip(frames, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            mine, keep = rows.take(slice(start, stop)), valid[start:stop]
            if self.detail.numbers and SOURCE_FILE in raw.columns and raw.height:
                mine = replace(mine, source=str(raw[SOURCE_FILE][0]))
            if keep.all():
                out.append(self._filtered(mine, ()))
                continue
            self._check_times(frame[start:stop], keep)
            kept = replace(mine.take(keep), source=mine.source)
            wrong = (np.flatnonzero(~keep) + start).tolist()
            rejects = tuple(
                Reject(row - start, *(self._problem_of(frame, row) or self._lacking(rows, row, refused)))
                for row in wrong
            )
            out.append(self._filtered(kept, rejects))
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

    def _filtered(self, rows: Rows, rejects: tuple[Reject, ...]) -> Decoded:
        """The chunk with the valid rows that pass `where`."""
        if self.where is None:
            return Decoded(rows, rejects)
        passed = Filters(self.dictionaries, self.digits).mask(self.where, rows)
        return Decoded(replace(rows.take(passed), source=rows.source), rejects, passed, rows.time)

    def _problem_of(self, frame: pl.DataFrame, row: int) -> tuple[str, str] | None:
        """Why a row is not valid, as far as that is to be seen in it: a code word and the reason."""
        cells = frame.row(row, named=True)
        if cells[MALFORMED] is not None:
            return "malformed", cells[PROBLEM] or "malformed"
        for column in self._texts:
            if problem := cells.get(problem_column(column)):
                return self._not_computed(column, problem)
            if column != "gender" and clean(cells[column]) == "":
                return f"{column}_empty", f"{column} ({self.columns[column]}) is empty"
        if problem := cells.get(problem_column("amount")):
            return self._not_computed("amount", problem)
        return self._amount_problem(cells["amount"]) or self._time_problem(frame, row)

    def _not_computed(self, column: str, problem: str) -> tuple[str, str]:
        name = f"{column} ({self.columns[column]})"
        return f"{column}_not_computed", f"{name} cannot be worked out: {problem}"

    def _time_problem(self, frame: pl.DataFrame, row: int) -> tuple[str, str] | None:
        rule = self.detail.times
        if rule is None or rule.read(frame["time"][row : row + 1]).null_count() == 0:
            return None
        return rule.problem(frame["time"][row], str(self.columns["time"]))

    def _lacking(self, rows: Rows, row: int, refused: Mapping[str, Bools]) -> tuple[str, str]:
        """Which lookup does not have a row."""
        name = next(name for name, lacking in refused.items() if lacking[row])
        return f"{name}_unknown", self._index.problem(name, rows.codes, row, self.dictionaries)

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


def sources_of(columns: Mapping[str, str | Derived]) -> list[str]:
    """The columns of the source that mapped columns are made of."""
    names = (c.names if isinstance(c, Derived) else (c,) for c in columns.values())
    return list(dict.fromkeys(name for some in names for name in some))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
