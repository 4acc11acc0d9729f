"""Some of the quarantined rows, read back from the quarantine, each with the cells that were wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tillwatch.detect.quarantine import name
from tillwatch.errors import ObjectMissing
from tillwatch.patterns.derived import Derived
from tillwatch.state.review import WrongChunk
from tillwatch.stores.base import Store

MOST_BYTES = 256 * 1024
"""What is read of a chunk's file; rows behind it are not looked at."""

MOST_TEXT = 400
"""Characters of a cell or a malformed row that are kept."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a row as it came, None when it was not there; `wrong` when it is why the row was quarantined."""

    column: str
    text: str | None
    wrong: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A quarantined row: where it was, why it is not valid, and its cells, or its text when it was malformed."""

    chunk: int
    file: str
    row: int
    code: str
    reason: str
    cells: tuple[Cell, ...]
    text: str | None


def samples(
    store: Store,
    chunks: Sequence[WrongChunk],
    columns: Mapping[str, str | Derived],
    reason: str | None,
    limit: int,
    each: int,
) -> list[Sample]:
    """At most `limit` rows of these chunks, in their order, no more than `each` of one; only those of `reason`, if any.

    `columns` are the mapped columns by logical name. What is not in the quarantine any more is left out. Raises
    StoreError.
    """
    found: list[Sample] = []
    for chunk in chunks:
        if len(found) >= limit:
            break
        try:
            data = store.get_range(name(chunk.number), 0, MOST_BYTES)
        except ObjectMissing:
            continue
        mine = [_sample(said, columns) for said in _records(data) if reason in (None, said["code"])]
        found += mine[: min(each, limit - len(found))]
    return found


def _records(data: bytes) -> Iterator[dict[str, Any]]:
    """The whole lines; the last one may have been cut off."""
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        yield json.loads(line)


def _sample(said: Mapping[str, Any], columns: Mapping[str, str | Derived]) -> Sample:
    wrong = wrong_columns(said["code"], columns)
    cells = tuple(Cell(column, _short(text), column in wrong) for column, text in said.get("row_data", {}).items())
    return Sample(
        said["chunk"], said["file"], said["row"], said["code"], said["reason"], cells, _short(said.get("text"))
    )


def wrong_columns(code: str, columns: Mapping[str, str | Derived]) -> frozenset[str]:
    """The columns of the source that a reason code is about.

    >>> sorted(wrong_columns("amount_negative", {"amount": "paid", "customer": "who"}))
    ['paid']
    >>> sorted(wrong_columns("late", {"amount": "paid", "time": "step"})), sorted(wrong_columns("malformed", {}))
    (['step'], [])
    """
    logical = max((n for n in columns if code.startswith(f"{n}_")), key=len, default="time" if code == "late" else "")
    column = columns.get(logical)
    if column is None:
        return frozenset()
    return frozenset(column.names) if isinstance(column, Derived) else frozenset([column])


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
