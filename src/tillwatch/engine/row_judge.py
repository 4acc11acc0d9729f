"""Judging a pattern on every transaction, with the running values before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.aggregates import combined
from tillwatch.engine.dictionary import Dictionary
from tillwatch.engine.evaluate import evaluate
from tillwatch.engine.evidence import plain
from tillwatch.engine.filters import Filters
from tillwatch.engine.running import Running
from tillwatch.engine.values import Vector
from tillwatch.patterns.expression import Compare, Expr, IsNull, Name
from tillwatch.patterns.kinds import null_text, text_compared
from tillwatch.patterns.program import Plan, Use

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """Rows that are detections, in their order; slots whose last row is true again, or no more."""

    rows: Ints
    again: Ints
    fallen: Ints
    evidence: list[dict[str, Any]]


@dataclass(slots=True)
class RowJudge:
    """One pattern: for which slots it was detected, and was true for the last row."""

    plan: Plan
    dictionaries: Mapping[str, Dictionary]
    digits: int
    holding: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    detected: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))

    def judge(self, chunk: int, running: Running) -> RowVerdict:
        """Judges the rows of a chunk that is not added yet."""
        touch, table = running.touches[self.plan.per], running.tables[self.plan.per]
        self.room(table.size)
        seen = Seen(self, running)
        true = np.broadcast_to(seen.value(self.plan.tree).true(), len(running.rows))
        judged = self._judged(running)
        true = true & judged
        found = self._found(true, judged, touch.slots)
        again, fallen = self._turned(true[judged], touch.slots[judged], touch.slots[found])
        self.detected[touch.slots[found]] = True
        return RowVerdict(found, again, fallen, seen.evidence(chunk, found))

    def _found(self, true: Bools, judged: Bools, slots: Ints) -> Ints:
        """The rows that are detections, given those for which the condition is true."""
        match self.plan.pattern.emit:
            case "every_transaction":
                return np.flatnonzero(true)
            case "on_enter":
                return self._entering(true, np.flatnonzero(judged), slots)
            case _:
                first = np.flatnonzero(true & ~self.detected[slots])
                return first[np.sort(np.unique(slots[first], return_index=True)[1])]

    def _entering(self, true: Bools, judged: Ints, slots: Ints) -> Ints:
        """True rows of keys whose judged row before was not true, or not there."""
        order = judged[np.argsort(slots[judged], kind="stable")]
        slot, now = slots[order], true[order]
        before = self.holding[slot]
        same = slot[1:] == slot[:-1]
        before[1:][same] = now[:-1][same]
        return np.sort(order[now & ~before])

    def _judged(self, running: Running) -> Bools:
        """The rows that the pattern sees."""
        where = self.plan.pattern.where
        if where is None:
            return np.ones(len(running.rows), np.bool_)
        return Filters(self.dictionaries, self.digits).mask(where, running.rows)

    def _turned(self, true: Bools, slots: Ints, told: Ints) -> tuple[Ints, Ints]:
        """Notes the truth of each key's last row; a detected key for which it changed has turned.

        `told` are the keys detected in this chunk, with one of which it may be over at the chunk's end.
        """
        unique = np.unique(slots)
        before, known = self.holding[unique], self.detected[unique]
        self.holding[slots] = true  # of several rows of a key the last is kept
        now, new = self.holding[unique], np.isin(unique, told)
        return unique[known & ~before & now & ~new], unique[(before | new) & ~now]

    def room(self, size: int) -> None:
        """Makes room for slots up to `size`."""
        if size > len(self.holding):
            more = np.zeros(max(1024, 2 * size) - len(self.holding), np.bool_)
            self.holding = np.concatenate([self.holding, more])
            self.detected = np.concatenate([self.detected, more])


class Seen:
    """What a pattern sees of the rows of a chunk."""

    def __init__(self, judge: RowJudge, running: Running) -> None:
        self._judge, self._running = judge, running
        self._known: dict[str, Vector] = {}

    def value(self, tree: Expr) -> Vector:
        """The value of an expression for every row."""
        return evaluate(tree, self._leaf, len(self._running.rows), self._judge.digits)

    def _leaf(self, node: Expr) -> Vector | None:
        uses = self._judge.plan.uses
        if isinstance(node, Name):
            return self._feature(uses[str(node)])
        if isinstance(node, IsNull) and (asked := null_text(node, uses)) is not None:
            unknown = self._unknown(asked.name)
            return Vector("bool", np.zeros(len(self._running.rows), np.bool_) if unknown is None else unknown)
        if isinstance(node, Compare) and (found := text_compared(node, uses)):
            column, text = found
            code = self._judge.dictionaries[column.name].code(text.value)
            equal: Bools = self._running.rows.codes[column.name] == code
            return Vector("bool", equal if node.op == "=" else ~equal, self._unknown(column.name))
        return None

    def _unknown(self, column: str) -> Bools | None:
        """For which rows a text column is unknown; None where it never is."""
        code = self._judge.dictionaries[column].unknown
        return None if code is None else self._running.rows.codes[column] == code

    def _feature(self, use: Use) -> Vector:
        if use.label not in self._known:
            self._known[use.label] = self._worked_out(use)
        return self._known[use.label]

    def _worked_out(self, use: Use) -> Vector:
        running, digits = self._running, self._judge.digits
        if use.column is not None:
            return Vector("decimal", running.rows.amount)
        if use.lookup is not None:
            joined, slots = running.tables[use.grain].lookups[use.lookup], running.touches[use.grain].slots
            return Vector(use.kind, joined.value[slots], ~joined.known[slots])
        if use.passing:
            found = combined(use, [running.passing(use.grain, acc) for acc in use.passing], digits)
            window, late = use.passing[0].window, running.late
            assert window is not None and late is not None
            unknown = late.of(window) if found.null is None else found.null | late.of(window)
            return Vector(found.kind, found.data, unknown)
        kept = {acc.name: acc for acc in running.tables[use.grain].spec.accumulators}
        return combined(use, [running.accumulated(use.grain, kept[part]) for part in use.parts], digits)

    def evidence(self, chunk: int, rows: Ints) -> list[dict[str, Any]]:
        """Why each row was detected: its place, the values before it, and its own columns that were looked at."""
        source, number = self._running.rows.source, self._running.rows.number
        assert number is not None
        found: list[dict[str, Any]] = [
            {"chunk": chunk, "source": source, "row": row, "features": {}, "columns": {}}
            for row in number[rows].tolist()
        ]
        for use in self._judge.plan.uses.values() if len(rows) else ():
            part, shown = ("columns", self._texts(use, rows)) if use.column else ("features", self._plain(use, rows))
            for record, each in zip(found, shown, strict=True):
                record[part][use.label] = each
        return found

    def _plain(self, use: Use, rows: Ints) -> list[Any]:
        vector = self._feature(use)
        return plain(Vector(vector.kind, vector.data[rows], None if vector.null is None else vector.null[rows]),
                     self._judge.digits)  # fmt: skip

    def _texts(self, use: Use, rows: Ints) -> list[Any]:
        assert use.column is not None
        if use.kind == "text":
            dictionary, codes = self._judge.dictionaries[use.column], self._running.rows.codes[use.column][rows]
            texts = zip(dictionary.texts(codes), codes.tolist(), strict=True)
            return [None if code == dictionary.unknown else text for text, code in texts]
        return self._plain(use, rows)
