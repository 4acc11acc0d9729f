"""Why a detection fired: every clause with its values, and the transactions, found again in the landing zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tillwatch.detect.setup import Setup
from tillwatch.engine.row_judge import RowJudge
from tillwatch.errors import ConfigError, LogError
from tillwatch.history.clauses import Clause, EvidenceView, KeyView, View, as_json
from tillwatch.history.reading import check_whole, time_of
from tillwatch.history.refold import Place, Progress, Refold, alone, slot_of
from tillwatch.landing import Landing
from tillwatch.model import RESERVED, SOURCE_ROW, Detection
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Plan
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry
from tillwatch.state.base import StoredDetection


@dataclass(frozen=True, slots=True)
class Transaction:
    """A row as it came: where it is, and its cells by source column."""

    place: Place
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A detection explained. `rows` are the valid rows of its key up to its chunk, or up to its transaction where that
    was judged; `newest` are the last of them, in order. `row` is that transaction's, else None.

    `first_row` and `last_row` are those of the chunk in its source `file`; `time` is what `time_column` says in the
    chunk's last row, None without such a column.
    """

    stored: StoredDetection
    pattern: Pattern
    condition: Clause
    file: str
    first_row: int
    last_row: int
    time_column: str | None
    time: str | None
    rows: int
    newest: tuple[Transaction, ...]

    @property
    def row(self) -> int | None:
        """The number in the source file of the transaction that was judged."""
        row: int | None = self.stored.detection.evidence.get("row")
        return row

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        d = self.stored.detection
        return {
            "seq": self.stored.seq,
            "patternId": d.pattern,
            "ActionType": d.action,
            "title": self.pattern.title,
            "key": d.key,
            "chunk": {
                "number": d.chunk,
                "file": self.file,
                "row": self.row,
                "first_row": self.first_row,
                "last_row": self.last_row,
                "time": self.time,
                "detectionTime": self.stored.at,
            },
            "holds": self.stored.holds,
            "condition": as_json(self.condition),
            "transactions": {
                "found": self.rows,
                "newest": [
                    {"chunk": t.place.chunk, "file": t.place.file, "row": t.place.row, "cells": t.cells}
                    for t in self.newest
                ],
            },
        }


def explain(
    pipeline: Pipeline, seq: int, rows: int, retry: Retry, on_progress: Progress = lambda done, total: None
) -> Explanation:
    """Explains detection `seq` with the newest `rows` of its transactions.

    Its condition is worked out from the landing zone alone. Raises LogError when that is not what was stored, or when
    the log does not reach back to its first chunk; ConfigError when there is no such detection; StateError when there
    is no state, or the configuration is another one now.
    """
    pipeline.read_setup(retry)
    stored, setup = retry(lambda: _stored(pipeline, seq))
    landing, detection = pipeline.landing, stored.detection
    retry(lambda: check_whole(landing))
    place = (detection.chunk, detection.evidence["row"]) if "row" in detection.evidence else None
    again = Refold(alone(setup, detection.pattern), detection.key, rows, place)
    again.read(landing, detection.chunk, retry, on_progress)
    _check_same(stored, again)
    view = _view(again, detection)
    chunk = retry(lambda: landing.read(detection.chunk))
    info, time_column = chunk.info, pipeline.settings.columns.time
    return Explanation(
        stored,
        again.plan.pattern,
        view.clause(again.plan.tree),
        info.file.name,
        info.first_row,
        info.first_row + info.rows - 1,
        time_column,
        time_of(chunk, time_column),
        again.rows.count,
        tuple(_newest(landing, again, retry)),
    )


def _view(again: Refold, detection: Detection) -> View:
    """The condition as it was when it was detected."""
    judge = again.fold.judges[0]
    if isinstance(judge, RowJudge):
        return EvidenceView(again.plan, detection.evidence, again.setup.program.digits)
    slot = slot_of(again.fold, again.plan.per, detection.key)
    assert slot is not None  # it was just detected
    return KeyView(judge.condition, slot, detection.chunk)


def _stored(pipeline: Pipeline, seq: int) -> tuple[StoredDetection, Setup]:
    """The detection, and the patterns that were in force then."""
    with pipeline.opened(readonly=True) as state, state.snapshot():
        history = pipeline.history(state)
        found = list(state.detections(seq, seq))
        if not found:
            last = state.cursor().seq - 1
            raise ConfigError(f"there is no detection {seq}; {f'the last one is {last}' if last else 'there are none'}")
        return found[0], history.at(found[0].detection.chunk)


def _check_same(stored: StoredDetection, again: Refold) -> None:
    """Raises LogError when the landing zone does not give the detection with its evidence."""
    row = stored.detection.evidence.get("row")
    same = [d for d in again.detections if d.chunk == stored.detection.chunk and d.evidence.get("row") == row]
    if not same:
        chunks = ", ".join(str(d.chunk) for d in again.detections) or "none up to there"
        raise LogError(
            f"seq {stored.seq} is not what the landing zone gives: detected at chunk {stored.detection.chunk}, found "
            f"again at {chunks}. Run 'tillwatch audit' to see what was changed."
        )
    difference = _difference(stored.detection, same[0])
    said = counted(stored.detection, again.plan)
    if said is not None and said != again.rows.count:
        difference = f"found again: {again.rows.count} of {said} transactions"
    if difference:
        raise LogError(
            f"seq {stored.seq} has other evidence than the landing zone gives: {difference}. Run 'tillwatch audit' to "
            "see what was changed."
        )


def counted(detection: Detection, plan: Plan) -> int | None:
    """How many transactions the evidence says there were, the one that was judged included; None if it does not."""
    use = plan.uses.get("transactions")
    if use is None or use.parts != ("transactions",):  # a feature of its own by that name
        return None
    return int(detection.evidence["features"]["transactions"]) + ("row" in detection.evidence)


def _difference(stored: Detection, found: Detection) -> str:
    """Where the evidence differs, empty when it does not."""
    parts = {**stored.evidence, **found.evidence}
    differing = [
        f"{part} are {found.evidence.get(part)}, stored {stored.evidence.get(part)}"
        for part in parts
        if found.evidence.get(part) != stored.evidence.get(part)
    ]
    return "; ".join(differing)


def _newest(landing: Landing, again: Refold, retry: Retry) -> list[Transaction]:
    """The newest rows of the key with all their cells; only their chunks are read once more, whole."""
    by_chunk: dict[int, list[Place]] = {}
    for place in again.rows.newest:
        by_chunk.setdefault(place.chunk, []).append(place)
    found: list[Transaction] = []
    for number, places in by_chunk.items():
        frame = retry(lambda n=number: landing.read(n)).frame  # type: ignore[misc]
        rows = {row[SOURCE_ROW]: row for row in _rows(frame, [p.row for p in places])}
        for place in places:
            cells = {c: v for c, v in rows[place.row].items() if c not in RESERVED}
            found.append(Transaction(place, cells))
    return found


def _rows(frame: pl.DataFrame, numbers: list[int]) -> list[dict[str, Any]]:
    return frame.filter(pl.col(SOURCE_ROW).is_in(numbers)).to_dicts()
