"""A sweep: one threshold of a pattern at many values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from tillwatch.config.yaml import suggestion
from tillwatch.errors import ConfigError
from tillwatch.patterns.expression import ExpressionError, parse
from tillwatch.patterns.pattern import Pattern

MAX_POINTS = 1000
_EXPECTED = "expected PATTERN.THRESHOLD=FIRST:LAST:STEP or a list, such as PatId2.transactions=20:120:10"


@dataclass(frozen=True, slots=True)
class Sweep:
    """A pattern's threshold and the values that it is to have."""

    pattern: str
    threshold: str
    values: tuple[Decimal, ...]


def read_sweep(text: str) -> Sweep:
    """The sweep that a text says; the last value is part of it. Raises ConfigError.

    >>> sweep = read_sweep("PatId2.transactions=20:50:10")
    >>> sweep.pattern, sweep.threshold, [str(v) for v in sweep.values]
    ('PatId2', 'transactions', ['20', '30', '40', '50'])
    >>> [str(v) for v in read_sweep("PatId2.avg_amount=19.5,23").values]
    ['19.5', '23']
    """
    key, equals, said = text.partition("=")
    pattern, dot, threshold = key.strip().rpartition(".")
    if not (equals and dot and pattern and threshold):
        raise ConfigError(f"--sweep {text}: {_EXPECTED}")
    parts = said.split(":")
    values = _range(text, *parts) if len(parts) == 3 else [_number(text, part) for part in said.split(",")]
    return Sweep(pattern, threshold.strip(), tuple(dict.fromkeys(values)))


def _range(text: str, *parts: str) -> list[Decimal]:
    first, last, step = (_number(text, part) for part in parts)
    if not step or (last - first) * step < 0:
        raise ConfigError(f"--sweep {text}: the step {step} does not lead from {first} to {last}")
    if abs(last - first) >= MAX_POINTS * abs(step):
        raise ConfigError(f"--sweep {text}: these are more than {MAX_POINTS:,} values; choose a larger step")
    return [first + number * step for number in range(int((last - first) / step) + 1)]


def _number(text: str, part: str) -> Decimal:
    try:
        number = Decimal(part.strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise ConfigError(f"--sweep {text}: found '{part}'; {_EXPECTED}")
    return number


def points(sweep: Sweep, patterns: Sequence[Pattern]) -> list[Pattern]:
    """The pattern at each value. Raises ConfigError when there is no such pattern or threshold."""
    pattern = next((p for p in patterns if p.id == sweep.pattern), None)
    if pattern is None:
        hint = suggestion(sweep.pattern, [p.id for p in patterns])
        raise ConfigError(f"--sweep: there is no pattern '{sweep.pattern}' here; {hint}")
    if not pattern.thresholds:
        raise ConfigError(f"--sweep: {pattern.id} has no thresholds")
    if sweep.threshold not in pattern.thresholds:
        hint = suggestion(sweep.threshold, pattern.thresholds)
        raise ConfigError(f"--sweep: {pattern.id} has no threshold '{sweep.threshold}'; {hint}")
    return [with_threshold(pattern, sweep.threshold, value) for value in sweep.values]


def with_threshold(pattern: Pattern, name: str, value: Decimal) -> Pattern:
    """The pattern with another value of a threshold. Raises PatternError when the condition cannot have it."""
    thresholds = {**pattern.thresholds, name: value}
    try:
        return replace(pattern, thresholds=thresholds, tree=parse(pattern.when, thresholds))
    except ExpressionError as error:
        raise pattern.error(error) from None
