"""Results of back-tests that are kept, so that they can be looked at again, beside each other.

Each is one JSON object of a store, what `tillwatch backtest --format json` prints with when it was made and what was
tried. Its name is the time, in UTC, and a short digest. Nothing of the pipeline depends on it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tillwatch.clock import iso
from tillwatch.config import masked
from tillwatch.errors import StoreError
from tillwatch.history.backtest import Backtest
from tillwatch.history.figures import as_json
from tillwatch.stores.base import Store, put_same

MOST_BYTES = 32 * 2**20
"""What is larger is not read."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A detection that is at another chunk with the draft, or, where one is None, not there at all."""

    key: tuple[tuple[str, str], ...]
    now: int | None
    draft: int | None

    @property
    def change(self) -> str:
        """`added`, `removed` or `moved`."""
        if self.now is None:
            return "added"
        return "removed" if self.draft is None else "moved"


@dataclass(frozen=True, slots=True)
class OfPattern:
    """What a back-test says of a pattern: how many detections in force and with the draft, and what changes."""

    pattern: str
    now: int
    draft: int
    changes: tuple[Moved, ...]

    def count(self, change: str) -> int:
        """How many changes of a kind there are."""
        return sum(each.change == change for each in self.changes)


@dataclass(frozen=True, slots=True)
class OfChunk:
    """A chunk's detections by pattern, those in force and the draft's; `time` and `day` where they are known."""

    number: int
    time: str | None
    day: str | None
    now: Mapping[str, int]
    draft: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Curve:
    """A sweep: the value of the threshold with the detections that it gives. `now` is what is in force."""

    pattern: str
    threshold: str
    now: float | None
    points: tuple[tuple[float, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A result. `at` is when it was made, ISO 8601; `tried` is what the call said, fit to be shown."""

    name: str
    at: str
    tried: tuple[str, ...]
    first: int
    last: int
    rows: int
    as_run: bool
    patterns: tuple[OfPattern, ...]
    chunks: tuple[OfChunk, ...]
    curves: tuple[Curve, ...]


def keep(store: Store, found: Backtest, tried: Sequence[str], now: datetime.datetime) -> str:
    """Keeps a result; returns its name. `tried` are the arguments of the call, secrets in them are not kept."""
    said = {"made_at": iso(now), "tried": [masked(text) for text in tried], **as_json(found)}
    data = json.dumps(said, ensure_ascii=False).encode()
    moment = now.astimezone(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    name = f"{moment}-{hashlib.sha256(data).hexdigest()[:8]}.json"
    put_same(store, name, data)
    return name


def names(store: Store) -> list[str]:
    """The results that are kept, newest first. Raises StoreError."""
    return sorted((name for name in store.list() if is_name(name)), reverse=True)


def is_name(name: str) -> bool:
    """Whether a result may have that name: a file of the place itself.

    >>> is_name("20261120T130507123456Z-0a1b2c3d.json"), is_name("../x.json"), is_name(".json")
    (True, False, False)
    """
    stem, dot, suffix = name.partition(".")
    return suffix == "json" and bool(stem and dot) and stem.replace("-", "").isalnum() and stem.isascii()


def read(store: Store, name: str) -> Kept:
    """A result. Raises ObjectMissing when there is none of that name, StoreError when it is none."""
    data = store.get_range(name, 0, MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise StoreError(f"{store.uri}/{name} is larger than {MOST_BYTES // 2**20} MiB: open it with another program")
    try:
        return _read(name, json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise StoreError(f"{store.uri}/{name} is not the result of a back-test") from None


def _read(name: str, said: Any) -> Kept:
    return Kept(
        name,
        str(said["made_at"]),
        tuple(str(text) for text in said["tried"]),
        int(said["first_chunk"]),
        int(said["last_chunk"]),
        int(said["rows"]),
        bool(said["as_run"]),
        tuple(_of_pattern(each) for each in said["patterns"]),
        tuple(_of_chunk(each) for each in said["chunks"]),
        tuple(_curve(each) for each in said["sweeps"]),
    )


def _of_pattern(said: Any) -> OfPattern:
    changes = [Moved(_key(each), None, int(each["chunk"])) for each in said["added"]]
    changes += [Moved(_key(each), int(each["chunk"]), None) for each in said["removed"]]
    changes += [Moved(_key(each), int(each["chunk_now"]), int(each["chunk_draft"])) for each in said["moved"]]
    return OfPattern(str(said["patternId"]), int(said["now"]), int(said["draft"]), tuple(changes))


def _key(said: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(value)) for name, value in said["key"].items())


def _of_chunk(said: Any) -> OfChunk:
    now, draft = ({str(p): int(n) for p, n in said[side].items()} for side in ("now", "draft"))
    return OfChunk(int(said["chunk"]), _text(said["time"]), _text(said["day"]), now, draft)


def _text(said: Any) -> str | None:
    return None if said is None else str(said)


def _curve(said: Any) -> Curve:
    columns = ("detections", "added", "removed", "moved")
    points = sorted((float(p["value"]), *(int(p[c]) for c in columns)) for p in said["points"])
    now = None if said["now"] is None else float(said["now"])
    return Curve(str(said["patternId"]), str(said["threshold"]), now, tuple(points))  # type: ignore[arg-type]
