"""Numbers and times as people read them."""

from __future__ import annotations

import datetime
import math
from typing import Any

from tillwatch.config import masked


def whole(number: int | float | None) -> str:
    """With separators; a dash where it is unknown.

    >>> whole(50000), whole(None)
    ('50,000', '–')
    """
    return "–" if number is None else f"{number:,.0f}"


def value(found: Any) -> str:
    """A value of a feature: as many digits as are of use.

    >>> value(0.9912345), value(23), value(None), value(1234.5), value(True), value(1e-9)
    ('0.991235', '23', 'unknown', '1,234.5', 'true', '1e-09')
    """
    if found is None:
        return "unknown"
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int):
        return f"{found:,}"
    if isinstance(found, float):
        if found and abs(found) < 1e-4:
            return f"{found:.4g}"
        digits = 2 if abs(found) >= 1000 else 4 if abs(found) >= 1 else 6
        return f"{found:,.{digits}f}".rstrip("0").rstrip(".")
    return str(found)


def rate(found: float | None) -> str:
    """Rows a second.

    >>> rate(12345.6), rate(0.26), rate(None), rate(0.0)
    ('12,346', '0.3', '–', '0')
    """
    if found is None:
        return "–"
    return f"{found:,.1f}" if 0 < found < 10 else f"{found:,.0f}"


def share(part: int, of: int) -> str:
    """A part of a number in per cent.

    >>> share(1, 3), share(0, 0), share(1, 100000), share(0, 5)
    ('33.3 %', '–', '< 0.01 %', '0 %')
    """
    if not of:
        return "–"
    percent = 100 * part / of
    if part and percent < 0.01:
        return "< 0.01 %"
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


def seconds(found: float | None) -> str:
    """A length of time.

    >>> seconds(0.025), seconds(3.2), seconds(75), seconds(7300), seconds(200000), seconds(None)
    ('25 ms', '3.2 s', '1 min 15 s', '2 h 1 min', '2 d 7 h', '–')
    """
    if found is None:
        return "–"
    if found < 0.9995:
        return f"{found * 1000:.0f} ms"
    if found < 60:
        return f"{found:.1f} s"
    steps = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    at = next(n for n, (size, _) in enumerate(steps) if found >= size)
    (big, unit), (small, below) = steps[at], steps[at + 1]
    count, rest = divmod(math.floor(found), big)
    return f"{count} {unit} {rest // small} {below}" if rest // small else f"{count} {unit}"


def size(count: int | None) -> str:
    """Bytes.

    >>> size(2_300_000), size(12), size(None)
    ('2.3 MB', '12 B', '–')
    """
    if count is None:
        return "–"
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def moment(at: str | None) -> str:
    """A time of the state, to the second.

    >>> moment("2026-11-20T13:05:07.123+05:30"), moment(None)
    ('2026-11-20 13:05:07', '–')
    """
    return "–" if at is None else at[:19].replace("T", " ")


def clock(at: str | None) -> str:
    """The time of day of a time of the state.

    >>> clock("2026-11-20T13:05:07.123+05:30")
    '13:05:07'
    """
    return "–" if at is None else at[11:19]


def epoch(at: str) -> float:
    """Seconds since 1970 of a time of the state."""
    return datetime.datetime.fromisoformat(at).timestamp()


def age(at: str | None, now: float) -> float | None:
    """Seconds that have passed since a time of the state; clocks of two machines may differ, none below 0 is said."""
    return None if at is None else max(0.0, now - epoch(at))


def many(count: int, noun: str) -> str:
    """
    >>> many(1, "chunk"), many(1200, "chunk")
    ('1 chunk', '1,200 chunks')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def source_name(uri: str) -> str:
    """What people call a source: the last part of its place.

    >>> source_name("s3://bank/till/transactions.csv"), source_name("/data/")
    ('transactions.csv', 'data')
    """
    return masked(uri).rstrip("/").rpartition("/")[2].partition("?")[0] or "tillwatch"


FILTERS = {
    "whole": whole,
    "value": value,
    "rate": rate,
    "share": share,
    "seconds": seconds,
    "size": size,
    "moment": moment,
    "clock": clock,
    "many": many,
}
