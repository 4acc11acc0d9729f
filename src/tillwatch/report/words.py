"""Evidence, times and moments as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def evidence_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    """A detection's evidence, a line for each feature, rank and quantile.

    >>> list(evidence_lines({"features": {"transactions": 80, "avg_amount": 22.125}}))
    ['transactions is 80', 'avg_amount is 22.125']
    >>> rank = {"value": 0.9375, "rank": 1201, "population": 1281, "cut_off": 93}
    >>> list(evidence_lines({"ranks": {"percent_rank(transactions) over merchant": rank}}))
    ['percent_rank(transactions) over merchant is 0.9375: rank 1,201 of 1,281, cut-off at 93']
    """
    for name, value in (*evidence.get("columns", {}).items(), *evidence.get("features", {}).items()):
        yield f"{name} is {_value(value)}"
    for name, rank in evidence.get("ranks", {}).items():
        place = f"rank {_value(rank['rank'])} of {_value(rank['population'])}"
        cut = "" if rank["cut_off"] is None else f", cut-off at {_value(rank['cut_off'])}"
        yield f"{name} is {_value(rank['value'])}: {place}{cut}"
    for name, quantile in evidence.get("quantiles", {}).items():
        yield f"{name} is {_value(quantile['value'])}, over {_value(quantile['population'])}"


def _value(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def many(count: int, noun: str) -> str:
    """A count with its noun.

    >>> many(1, "chunk"), many(1200, "row")
    ('1 chunk', '1,200 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds(value: float) -> str:
    """A time between two moments, as exactly as it is of use.

    >>> seconds(0), seconds(0.0123), seconds(2.345), seconds(75), seconds(7260)
    ('0 ms', '12 ms', '2.3 s', '1 min 15 s', '2 h 01 min')
    """
    if value < 0.9995:
        return f"{1000 * value:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"
