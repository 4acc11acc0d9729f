"""A condition as it would be for the next transaction of a key, as far as that can be known before it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tillwatch.engine.decode import Rows
from tillwatch.engine.evaluate import evaluate
from tillwatch.engine.evidence import plain
from tillwatch.engine.filters import Filters
from tillwatch.engine.fold import Fold
from tillwatch.engine.row_judge import RowJudge, Seen
from tillwatch.engine.running import Running
from tillwatch.engine.table import Touch
from tillwatch.engine.values import Vector
from tillwatch.history.clauses import View, known, one
from tillwatch.patterns.expression import Compare, Expr, IsNull, Name
from tillwatch.patterns.kinds import null_text, text_compared

_UNKNOWN = "\0"
"""A text that no key has: what is not known of the next transaction."""


class NextRowView(View):
    """The values before a transaction of the key that would come now, by the clock of the stream.

    Its own columns are unknown, but for those that the pattern is per.
    """

    def __init__(self, fold: Fold, judge: RowJudge, key: Mapping[str, str], chunk: int) -> None:
        self.plan, self.digits, self._key = judge.plan, fold.program.digits, key
        self._seen = Seen(judge, _running(fold, key))
        features = {u.label: u for u in self.plan.uses.values() if u.column is None}
        values = {label: plain(one(self._seen.value(Name(*_named(label)))), self.digits)[0] for label in features}
        columns = {u.label: self._column(u.label) for u in self.plan.uses.values() if u.column is not None}
        self.facts: Mapping[str, Any] = {"chunk": chunk, "features": values, "columns": columns}

    def vector(self, tree: Expr) -> Vector:
        return one(evaluate(tree, self._leaf, 1, self.digits))

    def _column(self, name: str) -> Any:
        """A column of the next transaction, None when it is not known."""
        text = self._key.get(name)
        return float(text) if text is not None and name == "amount" else text

    def _leaf(self, node: Expr) -> Vector | None:
        if isinstance(node, IsNull) and (asked := null_text(node, self.plan.uses)) is not None:
            value = self._column(str(asked))
            return Vector("bool", np.array([value == ""]), np.array([value is None]))
        if isinstance(node, Name):
            use = self.plan.uses[str(node)]
            return known(use.kind, self._column(str(node)), self.digits) if use.column else one(self._seen.value(node))
        if isinstance(node, Compare) and (found := text_compared(node, self.plan.uses)):
            column, text = found
            value = self._column(str(column))
            if not value:
                return Vector("bool", np.zeros(1, np.bool_), np.ones(1, np.bool_))
            return Vector("bool", np.array([(value == text.value) == (node.op == "=")]))
        return None


def _named(label: str) -> tuple[str, str | None]:
    """Name and qualifier of a label such as merchant.transactions."""
    qualifier, dot, name = label.rpartition(".")
    return name, qualifier if dot else None


def _running(fold: Fold, key: Mapping[str, str]) -> Running:
    """One row of the key that is about to be added, at the present time. Nothing of it is added."""
    texts = {name: "0" if name == "amount" else _UNKNOWN for name in fold.decoder.dictionaries} | dict(key)
    codes = {
        name: np.array([dictionary.code(texts[name])], np.int64)
        for name, dictionary in fold.decoder.dictionaries.items()
    }
    clock = fold.windows.clock
    time = None if clock is None else np.array([clock], np.int64)
    rows = Rows(codes, np.zeros(1, np.int64), time=time, number=np.zeros(1, np.int64))
    slots = {grain: table.slots_of(codes, 1) for grain, table in fold.tables.items()}
    touches = {grain: Touch(slot, slot, slot[:0]) for grain, slot in slots.items()}
    filters = Filters(fold.decoder.dictionaries, fold.program.digits)
    return Running(rows, fold.tables, touches, fold.windows, filters)
