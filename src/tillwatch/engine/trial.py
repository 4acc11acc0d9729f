"""An example of a pattern, run: its rows decoded and folded as any, its detections beside those expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from tillwatch.engine.condition import Condition
from tillwatch.engine.decode import Decoder
from tillwatch.engine.dictionary import clean
from tillwatch.engine.evidence import plain
from tillwatch.engine.fold import Fold
from tillwatch.engine.lookup import LookupData
from tillwatch.errors import PatternError
from tillwatch.model import Detection
from tillwatch.patterns.examples import Example, Expected
from tillwatch.patterns.expression import Expr, Name, PercentileCont, PercentRank, conjuncts, walk
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Compiler, LookupSpec
from tillwatch.patterns.shown import show

KEYS_SHOWN = 3
"""Of a key that was expected and not found, so many keys that it may be are looked at."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause of the condition for one key: whether it is true (None: unknown), and the values it is made of."""

    text: str
    true: bool | None
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs from what is expected, and the clauses of the key that shows why."""

    text: str
    clauses: tuple[Clause, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Bench:
    """What examples are run with: `columns` are the logical names of the columns, `compiler` makes a new compiler."""

    columns: Sequence[str]
    compiler: Callable[[], Compiler]
    negative: bool = False

    def run(self, pattern: Pattern, example: Example) -> Trial:
        """Runs an example. Raises PatternError when the pattern cannot be compiled."""
        tried = pattern.with_thresholds(example.thresholds)
        compiler = self.compiler()
        program = compiler.program([tried])
        rows = [(row.chunk, cells) for row in example.rows for cells in row.repeated()]
        try:
            data = [_lookup(spec, [cells for _, cells in rows], program.digits) for spec in program.lookups.values()]
        except PatternError as error:
            return Trial(pattern.id, example, (Difference(str(error)),))
        fold = Fold(program, Decoder({c: c for c in self.columns}, program.digits, self.negative), data)
        return Trial(pattern.id, example, tuple(_Run(fold, example).differences(self._frames(example, rows))))

    def _frames(self, example: Example, rows: Sequence[tuple[int, Mapping[str, str]]]) -> Iterator[pl.DataFrame]:
        """The chunks, as they would have been landed. A column that is not given holds its own name, an amount 1."""
        given = {c: "1" if c == "amount" else c for c in self.columns}
        for number in range(example.chunks):
            mine = [cells for chunk, cells in rows if chunk == number]
            yield pl.DataFrame({c: [cells.get(c, given[c]) for cells in mine] for c in given}, schema=_texts(given))


class _Run:
    def __init__(self, fold: Fold, example: Example) -> None:
        self.fold = fold
        self.example = example
        self.condition: Condition = fold.judges[0].condition

    def differences(self, frames: Iterator[pl.DataFrame]) -> Iterator[Difference]:
        """What is found and not expected, chunk by chunk; then what is expected and not found."""
        found: list[Expected] = []
        for chunk, frame in enumerate(frames):
            (decoded,) = self.fold.decoder.decode([frame])
            for reject in decoded.rejects:
                yield Difference(f"row {reject.row + 1} of chunk {chunk} is not valid: {reject.reason}")
            for detection in self.fold.step(chunk, decoded.rows).detections:
                fitting = [expected for expected in self.example.expect if _fits(expected, detection)]
                found += fitting
                if not fitting:
                    yield self._unexpected(detection)
        for expected in self.example.expect:
            if expected not in found:
                yield from self._missing(expected)

    def _unexpected(self, detection: Detection) -> Difference:
        found = Expected(detection.key, detection.chunk, detection.evidence.get("row"))
        return Difference(f"not expected, and detected: {found}", self._clauses(detection.key))

    def _missing(self, expected: Expected) -> Iterator[Difference]:
        text = f"expected, and not detected: {expected}"
        keys = [key for key in self._keys() if _is(expected.key, key)]
        if not keys:
            yield Difference(f"{text}; there is no such key")
        for key in keys[:KEYS_SHOWN]:
            its = "" if len(keys) == 1 else f" ({', '.join(key.values())})"
            yield Difference(text + its, self._clauses(key))

    def _keys(self) -> list[dict[str, str]]:
        return self.fold.keys(self.condition.plan.per, np.arange(self.condition.table.size))

    def _clauses(self, key: Mapping[str, str]) -> tuple[Clause, ...]:
        """The clauses of the condition for a key, as they are now."""
        slots = np.array([self._keys().index(dict(key))])
        return tuple(self._clause(clause, slots) for clause in conjuncts(self.condition.plan.tree))

    def _clause(self, clause: Expr, slots: Any) -> Clause:
        per, digits = self.condition.plan.per, self.condition.digits
        nodes = {show(n): n for n in walk(clause) if isinstance(n, Name | PercentRank | PercentileCont)}
        values = {text: plain(self.condition.evaluate(n, slots, per), digits)[0] for text, n in nodes.items()}
        truth = self.condition.evaluate(clause, slots, per)
        unknown = truth.null is not None and bool(np.broadcast_to(truth.null, slots.shape)[0])
        return Clause(show(clause), None if unknown else bool(truth.data[0]), values)


def _fits(expected: Expected, detection: Detection) -> bool:
    row = detection.evidence.get("row")
    return (
        _is(expected.key, detection.key)
        and expected.chunk in (None, detection.chunk)
        and (expected.row is None or expected.row == row)
    )


def _is(expected: Mapping[str, str], key: Mapping[str, str]) -> bool:
    return all(clean(text) == key[name] for name, text in expected.items())


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
    values = [_number(spec, text, digits) for text in found.values()]
    schema = {**_texts(keys), "value": pl.Float64 if spec.kind == "float" else pl.Int64}
    return LookupData(spec, pl.DataFrame({**keys, "value": values}, schema=schema), "")


def _number(spec: LookupSpec, text: str, digits: int) -> int | float:
    try:
        number = Decimal(text)
        scaled = int(number.scaleb(digits if spec.kind == "decimal" else 0).to_integral_exact())  # finite, or an error
        return float(number) if spec.kind == "float" else scaled
    except (ArithmeticError, ValueError):
        raise PatternError(f"the value of {spec.name} is '{text}', expected a number") from None
