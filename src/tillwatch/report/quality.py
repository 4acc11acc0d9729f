"""The quality of landed rows: measured for each chunk, and added up. The order of adding does not matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

from tillwatch.engine.decode import Decoded, Decoder
from tillwatch.engine.dictionary import SPACE, cleaned
from tillwatch.landing import Landing
from tillwatch.model import MALFORMED, RESERVED, Chunk

BATCH_CHUNKS = 24
_NUMBER = pl.Decimal(38, 9)


@dataclass(frozen=True, slots=True)
class Quality:
    """What some chunks hold: rows in, rows counted, rows quarantined by reason code, rows filtered out.

    `first_time` and `last_time` are of the column `time`, as written; numbers go by value and come before texts, which
    go by code point. `columns` has for each source column the rows in which it was there, and those in which it was
    empty: null, or a text of nothing but white space and quotes around it. A row that could not be cut has no columns.
    `marked` are the counted rows that a lookup does not have, by its name.
    """

    chunks: int = 0
    rows: int = 0
    counted: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    first_time: str | None = None
    last_time: str | None = None
    columns: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    filtered: int = 0
    marked: Mapping[str, int] = field(default_factory=dict)

    @property
    def set_aside(self) -> int:
        """Rows quarantined, all reasons together."""
        return sum(self.quarantined.values())

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON; a null rate is the share of rows with the column in which it was empty, to six digits."""
        return {
            "chunks": self.chunks,
            "rows": self.rows,
            "counted": self.counted,
            "quarantined": dict(self.quarantined),
            "filtered": self.filtered,
            "marked": dict(self.marked),
            "first_time": self.first_time,
            "last_time": self.last_time,
            "columns": {
                name: {"rows": rows, "nulls": nulls, "null_rate": round(nulls / rows, 6) if rows else 0.0}
                for name, (rows, nulls) in self.columns.items()
            },
        }


def measure(chunk: Chunk, decoded: Decoded, time: str | None) -> Quality:
    """One chunk's. `time` is the name of the column of the time of the transaction, if there is one."""
    frame = chunk.frame
    whole = frame.filter(pl.col(MALFORMED).is_null()) if MALFORMED in frame.columns else frame
    first, last = _times(whole, time) if time in whole.columns else (None, None)
    return Quality(
        1,
        frame.height,
        len(decoded.rows),
        dict(sorted(Counter(r.code for r in decoded.rejects).items())),
        first,
        last,
        {name: (whole.height, empty) for name, empty in _empty(whole).items()},
        decoded.filtered,
        decoded.marked,
    )


def total(parts: Iterable[Quality]) -> Quality:
    """All of them together.

    >>> a, b = Quality(1, 5, 4, {"amount_empty": 1}, "9", "10"), Quality(1, 5, 5, {}, "2", "3")
    >>> both = total([a, b])
    >>> (both.chunks, both.rows, both.counted, both.first_time, both.last_time)
    (2, 10, 9, '2', '10')
    """
    chunks = rows = counted = filtered = 0
    reasons: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    there: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    times: list[str] = []
    for part in parts:
        chunks, rows, counted = chunks + part.chunks, rows + part.rows, counted + part.counted
        filtered += part.filtered
        reasons.update(part.quarantined)
        marked.update(part.marked)
        there.update({name: n for name, (n, _) in part.columns.items()})
        empty.update({name: n for name, (_, n) in part.columns.items()})
        times = _outer([*times, *(t for t in (part.first_time, part.last_time) if t is not None)])
    columns = {name: (there[name], empty[name]) for name in sorted(there)}
    first, last = (times[0], times[-1]) if times else (None, None)
    by_reason, by_lookup = dict(sorted(reasons.items())), dict(sorted(marked.items()))
    return Quality(chunks, rows, counted, by_reason, first, last, columns, filtered, by_lookup)


def qualities(
    landing: Landing, decoder: Decoder, time: str | None, numbers: Sequence[int]
) -> Iterator[tuple[int, Quality]]:
    """Each of these chunks with its quality, read from the landing zone. Raises LogError and StoreError."""
    for start in range(0, len(numbers), BATCH_CHUNKS):
        chunks = [landing.read(number) for number in numbers[start : start + BATCH_CHUNKS]]
        found = decoder.decode([c.frame for c in chunks], [c.info.number for c in chunks])
        for chunk, decoded in zip(chunks, found, strict=True):
            yield chunk.info.number, measure(chunk, decoded, time)


def _empty(frame: pl.DataFrame) -> dict[str, int]:
    """Rows by source column in which it is empty."""
    names = sorted(name for name in frame.columns if name not in RESERVED)
    if not names:
        return {}
    perhaps = frame.select(_may_be_empty(name, frame.schema[name]).sum().alias(name) for name in names).row(0)
    return {
        name: int(frame[name].to_frame().select(_is_empty(name, frame.schema[name]).sum()).item()) if count else 0
        for name, count in zip(names, perhaps, strict=True)
    }


def _may_be_empty(name: str, dtype: pl.DataType) -> pl.Expr:
    """True at least wherever `_is_empty` is; costs a fraction of it, and is seldom true."""
    missing = pl.col(name).is_null()
    return missing if dtype != pl.String else missing | (pl.col(name).str.strip_chars(SPACE + "'\"") == "")


def _is_empty(name: str, dtype: pl.DataType) -> pl.Expr:
    missing = pl.col(name).is_null()
    return missing if dtype != pl.String else missing | (cleaned(pl.col(name)).str.strip_chars() == "")


def _times(frame: pl.DataFrame, time: str | None) -> tuple[str | None, str | None]:
    texts = frame.select(t=cleaned(pl.col(str(time)).cast(pl.String))).filter(pl.col("t") != "")
    numbers = texts.with_columns(n=pl.col("t").cast(_NUMBER, strict=False))
    words = numbers.filter(pl.col("n").is_null())["t"]
    numbers = numbers.drop_nulls("n")
    found = [numbers["t"][i] for i in (numbers["n"].arg_min(), numbers["n"].arg_max()) if i is not None]
    found += [str(word) for word in (words.min(), words.max()) if word is not None]
    times = _outer(found)
    return (times[0], times[-1]) if times else (None, None)


def _outer(times: Sequence[str]) -> list[str]:
    """The first and the last of some times."""
    return [min(times, key=_order), max(times, key=_order)] if times else []


def _order(text: str) -> tuple[int, Decimal, str]:
    try:
        number = Decimal(text)
    except ArithmeticError:
        return (1, Decimal(0), text)
    return (0, number, text) if number.is_finite() else (1, Decimal(0), text)
