"""An example of a pattern, run: its rows decoded and folded as any, its detections beside those expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

import numpy as np
import polars as pl

from tillwatch.compose import Composed, compose, setup
from tillwatch.config import Settings
from tillwatch.engine.dictionary import clean
from tillwatch.engine.fold import Fold
from tillwatch.engine.lookup import LookupData
from tillwatch.engine.row_judge import RowJudge
from tillwatch.errors import PatternError
from tillwatch.history.clauses import Clause, KeyView
from tillwatch.history.stepping import fold_of, stepped
from tillwatch.model import Detection
from tillwatch.patterns.examples import Example, Expected
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import LookupSpec

KEYS_SHOWN = 3
"""Of a key that was expected and not found, so many keys that it may be are looked at."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs from what is expected, and the condition of the key, clause by clause, that shows why."""

    text: str
    clause: Clause | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of an example."""

    pattern: str
    example: Example
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether all is as expected."""
        return not self.differences


def trials_of(settings: Settings, pattern: Pattern) -> Iterator[Trial]:
    """Runs the examples of a pattern, one after the other."""
    return (run(settings, pattern, example) for example in pattern.examples)


def run(settings: Settings, pattern: Pattern, example: Example) -> Trial:
    """Runs an example as a pipeline with these settings would. Raises ConfigError when the pattern cannot be used."""
    composed = compose(settings, [pattern.with_thresholds(example.thresholds)])
    rows = [(row.chunk, cells) for row in example.rows for cells in row.repeated()]
    try:
        data = [_lookup(s.spec, [cells for _, cells in rows], composed.program.digits) for s in composed.lookups]
    except PatternError as error:
        return Trial(pattern.id, example, (Difference(str(error)),))
    frames = _frames(example, rows, list(composed.columns))
    return Trial(pattern.id, example, tuple(_Run(_fold(composed, data), example).differences(frames)))


def _fold(composed: Composed, lookups: Sequence[LookupData]) -> Fold:
    """The fold of the pipeline, over rows whose columns have their logical names; none of their keys is required."""
    made = setup(composed, known=lookups)
    named = replace(made, columns={name: name for name in made.columns}, optional=frozenset(), require={})
    return fold_of(named, composed.program)


def _frames(
    example: Example, rows: Sequence[tuple[int, Mapping[str, str]]], columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """The chunks, as they would have been landed. A column that is not given holds its own name, an amount 1."""
    for number in range(example.chunks):
        mine = [cells for chunk, cells in rows if chunk == number]
        data = {c: [cells.get(c, "1" if c == "amount" else c) for cells in mine] for c in columns}
        yield pl.DataFrame(data, schema=_texts(columns))


class _Run:
    def __init__(self, fold: Fold, example: Example) -> None:
        self.fold = fold
        self.example = example
        self.judge = fold.judges[0]
        self.chunk = 0

    def differences(self, frames: Iterator[pl.DataFrame]) -> Iterator[Difference]:
        """What is found and not expected, chunk by chunk; then what is expected and not found."""
        found: list[Expected] = []
        for frame in frames:
            for _, decoded, outcome in stepped(self.fold, [self.chunk], [frame]):
                for reject in decoded.rejects:
                    yield Difference(f"row {reject.row + 1} of chunk {self.chunk} is not valid: {reject.reason}")
                for detection in outcome.detections:
                    fitting = [expected for expected in self.example.expect if _fits(expected, detection)]
                    found += fitting
                    if not fitting:
                        yield self._unexpected(detection)
            self.chunk += 1
        for expected in self.example.expect:
            if expected not in found:
                yield from self._missing(expected)

    def _unexpected(self, detection: Detection) -> Difference:
        found = Expected(detection.key, detection.chunk, detection.evidence.get("row"))
        return Difference(f"not expected, and detected: {found}", self._clause(self._keys().index(dict(detection.key))))

    def _missing(self, expected: Expected) -> Iterator[Difference]:
        text = f"expected, and not detected: {expected}"
        slots = {slot: key for slot, key in enumerate(self._keys()) if _is(expected.key, key)}
        if not slots:
            yield Difference(f"{text}; there is no such key")
        for slot, key in list(slots.items())[:KEYS_SHOWN]:
            its = "" if len(slots) == 1 else f" ({', '.join(key.values())})"
            yield Difference(text + its, self._clause(slot))

    def _keys(self) -> list[dict[str, str]]:
        grain = self.judge.plan.per
        return self.fold.keys(grain, np.arange(self.fold.tables[grain].size))

    def _clause(self, slot: int) -> Clause | None:
        """The condition for a key, as it is now; of one that is judged on transactions nothing can be said later."""
        if isinstance(self.judge, RowJudge):
            return None
        return KeyView(self.judge.condition, slot, self.chunk).clause(self.judge.plan.tree)


def _fits(expected: Expected, detection: Detection) -> bool:
    row = detection.evidence.get("row")
    return (
        _is(expected.key, detection.key)
        and expected.chunk in (None, detection.chunk)
        and (expected.row is None or expected.row == row)
    )


def _is(expected: Mapping[str, str], key: Mapping[str, str]) -> bool:
    return all(_same(name, clean(text), key[name]) for name, text in expected.items())


def _same(name: str, text: str, key: str) -> bool:
    if name != "amount":
        return text == key
    try:
        return Decimal(text) == Decimal(key)
    except InvalidOperation:
        return False


def _texts(columns: Iterable[str]) -> dict[str, type[pl.DataType]]:
    return dict.fromkeys(columns, pl.String)


def _lookup(spec: LookupSpec, rows: Sequence[Mapping[str, str]], digits: int) -> LookupData:
    """The lookup that the rows give, as it would have been read."""
    found: dict[tuple[str, ...], str] = {}
    for cells in rows:
        if text := cells.get(spec.name, ""):
            key = tuple(clean(cells.get(k, k)) for k in spec.grain)
            if found.setdefault(key, text) != text:
                raise PatternError(f"two values of {spec.name} for {', '.join(key)}: {found[key]} and {text}")
    keys = {k: [key[i] for key in found] for i, k in enumerate(spec.grain)}
    values = [_value(spec, text, digits) for text in found.values()]
    kinds: dict[str, type[pl.DataType]] = {"float": pl.Float64, "text": pl.String, "bool": pl.Boolean}
    schema = {**_texts(keys), "value": kinds.get(spec.kind, pl.Int64)}
    return LookupData(spec, pl.DataFrame({**keys, "value": values}, schema=schema), "")


def _value(spec: LookupSpec, text: str, digits: int) -> int | float | str | bool:
    if not spec.is_feature:
        return clean(text) if spec.kind == "text" else True
    try:
        number = Decimal(text)
        scaled = int(number.scaleb(digits if spec.kind == "decimal" else 0).to_integral_exact())  # finite, or an error
        return float(number) if spec.kind == "float" else scaled
    except (ArithmeticError, ValueError):
        raise PatternError(f"the value of {spec.name} is '{text}', expected a number") from None
