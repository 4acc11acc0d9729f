"""Near misses as pages show them: every clause with its values, its cut-off, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tillwatch.dashboard import words
from tillwatch.history.clauses import Clause
from tillwatch.history.near import Near


@dataclass(frozen=True, slots=True)
class Part:
    """A clause: whether it is true, the values in it, and what it lacks, empty where it lacks nothing."""

    text: str
    truth: bool | None
    values: tuple[str, ...]
    need: str
    possible: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A near miss. `share` is how much of the way is gone, 0 to 1; `joined` says how its parts are."""

    key: Mapping[str, str]
    share: float
    percent: str
    missing: int
    of: int
    parts: tuple[Part, ...]
    joined: str
    seq: int | None


def near(found: Near) -> Row:
    """A near miss as it is shown."""
    leaves = found.condition.leaves()
    share = max(0.0, 1 - found.gap)
    parts = tuple(_part(leaf) for leaf in leaves)
    joined = "" if found.condition.kind in ("all", "clause") else found.condition.text
    return Row(found.key, share, percent(share), found.missing, len(leaves), parts, joined, found.seq)


def percent(share: float) -> str:
    """Rounded down, so that what is missing is never shown as nothing.

    >>> percent(0.98765), percent(0.99999), percent(0), percent(1)
    ('98.7 %', '99.9 %', '0 %', '100 %')
    """
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{int(share * 1000) / 10:.1f} %"


def _part(leaf: Clause) -> Part:
    need = leaf.need
    return Part(leaf.text, leaf.truth, tuple(_values(leaf)), need.text if need else "", need is None or need.possible)


def _values(leaf: Clause) -> Iterator[str]:
    """The values that a clause is made of: features, ranks with their cut-offs, quantiles."""
    for part in ("columns", "features"):
        for name, value in leaf.facts.get(part, {}).items():
            yield f"{name} {words.value(value)}"
    for rank in leaf.facts.get("ranks", {}).values():
        yield from _rank(rank)
    for quantile in leaf.facts.get("quantiles", {}).values():
        yield f"cut-off {words.value(quantile['value'])}"


def _rank(rank: Mapping[str, Any]) -> Iterator[str]:
    place = "no rank" if rank["rank"] is None else f"rank {rank['rank']:,} of {rank['population']:,}"
    yield f"{place}, {words.value(rank['value'])}"
    if rank["cut_off"] is not None:
        yield f"cut-off {words.value(rank['cut_off'])}"


def key_text(key: Mapping[str, str]) -> str:
    """A key in words.

    >>> key_text({"merchant": "M1"})
    'merchant M1'
    """
    return ", ".join(f"{name} {value}" for name, value in key.items()) or "nothing"
