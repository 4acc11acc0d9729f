"""Windows: the last rows of a key by event time, as a feature says them at its end: `count(*) within 3 steps`.

>>> split_window("sum(amount) within 24h")
('sum(amount)', Window(kind='duration', size=86400000000, text='24h'))
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tillwatch.patterns.expression import ExpressionError

WindowKind = Literal["number", "duration", "transactions"]

MICRO = 1_000_000
"""A time is kept as a whole number of millionths: of the unit of a number column, or of a second."""

MOST = 10_000
"""Transactions of the longest window of these: they are kept for every key."""

_LARGEST = 10**18
_WITHIN = re.compile(r"\s+within\b([^'\"()]*)$", re.IGNORECASE)  # not what stands in a filter's text
_SPAN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-z]*)", re.IGNORECASE)
_NUMBERS = ("", "step", "steps")
_COUNTS = ("transaction", "transactions")
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_EXPECTED = (
    "expected a number with steps (or nothing) for a column of numbers, with s, min, h, d, w for timestamps, or with "
    "transactions"
)


@dataclass(frozen=True, slots=True)
class Window:
    """The rows whose time is at most the present one and later than it less `size`; or the last `size` of these.

    `size` is in millionths of the unit of a time column of numbers, in microseconds, or in transactions; `text` is how
    it was written.
    """

    kind: WindowKind
    size: int
    text: str = field(compare=False)


def split_window(text: str) -> tuple[str, Window | None]:
    """A feature's aggregate and its window, if it has one. Raises ExpressionError."""
    match = _WITHIN.search(text)
    if match is None:
        return text, None
    try:
        return text[: match.start()], parse_window(match[1].strip())
    except ValueError as error:
        raise ExpressionError(f"within {match[1].strip()}: {error}", match.start() + 1) from None


def parse_window(text: str) -> Window:
    """The window of `3 steps`, `24h`. Raises ValueError with what is wrong.

    >>> parse_window("1.5 steps").size, parse_window("2 weeks").kind
    (1500000, 'duration')
    """
    window = parse_span(text)
    if window.size == 0:
        raise ValueError("a window is longer than nothing")
    return window


def parse_span(text: str) -> Window:
    """As `parse_window`, of any length from 0 up."""
    match = _SPAN.fullmatch(text)
    unit = match[2].lower() if match else ""
    if unit in _COUNTS:
        return _transactions(match[1] if match else "", text)
    if match is None or unit not in (*_NUMBERS, *_SECONDS):
        raise ValueError(_EXPECTED)
    size = int(Decimal(match[1]) * _SECONDS.get(unit, 1) * MICRO)
    if size > _LARGEST:
        raise ValueError("that is longer than all of time")
    return Window("number" if unit in _NUMBERS else "duration", size, " ".join(text.split()))


def _transactions(number: str, text: str) -> Window:
    if not number.isdigit() or not 0 < int(number) <= MOST:
        raise ValueError(f"expected a whole number of transactions from 1 to {MOST:,}")
    return Window("transactions", int(number), " ".join(text.split()))


def kind_of(windows: Iterable[Window]) -> WindowKind | None:
    """What the time column must hold for these windows. Raises ValueError when they do not go together."""
    by_kind = {window.kind: window for window in windows if window.kind != "transactions"}
    if len(by_kind) > 1:
        one, other = by_kind.values()
        raise ValueError(f"'{one.text}' and '{other.text}': a time column holds numbers or timestamps, not both")
    return next(iter(by_kind), None)
