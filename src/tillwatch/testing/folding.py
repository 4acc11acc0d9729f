"""For tests: the engine run on a few patterns and rows, without landing zone, state or configuration.

>>> fold = fold_of([pattern_text(["merchant"], "transactions >= 2")])
>>> outcome = step(fold, 0, [("C1", "M1", "a", "F", "5"), ("C2", "M1", "a", "M", "7")])
>>> [(d.pattern, d.merchant, d.evidence["features"]) for d in outcome.detections], holding(fold)
([('P', 'M1', {'transactions': 2})], {('M1',)})
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import polars as pl

from tillwatch.engine.decode import Decoder, Detail
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.engine.joined import RowLookups
from tillwatch.engine.late import Lateness
from tillwatch.engine.lookup import LookupData
from tillwatch.engine.times import TimeRule
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.features import parse_filter
from tillwatch.patterns.program import LookupSpec

Key = tuple[str, ...]
"""Values of a pattern's `per`, in the order of KEYS."""

Row = tuple[str, ...]
"""Customer, merchant, category, gender, the device where rows have one, amount; the time, for patterns with windows."""

KEYS = (*STANDARD_KEYS, "device")
TEXTS = (LookupSpec("segment", ("customer",), "text"), LookupSpec("area", ("merchant", "device"), "text"))
"""Lookups that give rows texts."""

NAMES = (*KEYS, *(spec.name for spec in TEXTS))
"""All text columns that rows have."""

COLUMNS = (*STANDARD_KEYS, "amount")
DIGITS = 4

Lookups = Mapping[LookupSpec, Mapping[Key, float | str]]
"""A lookup's values by key: floats, or integers (scaled when its kind is decimal), or texts."""


def pattern_text(
    per: Sequence[str],
    when: str,
    features: Mapping[str, str] | None = None,
    thresholds: Mapping[str, str] | None = None,
    id: str = "P",
    judge: str = "chunk",
    life: Mapping[str, str | bool] | None = None,
    where: str | None = None,
) -> str:
    """The file of a pattern; `life` has the fields `emit`, `cleared` and `mode`, as far as they are said."""
    said: dict[str, object] = {"id": id, "action": "A", "per": list(per), "judge": judge}
    said |= {"features": dict(features or {}), "when": when, **(life or {})}
    numbers = ", ".join(f"{name}: {value}" for name, value in (thresholds or {}).items())
    said |= {"where": where} if where else {}
    lines = [f"{name}: {json.dumps(value)}" for name, value in said.items()]
    return "\n".join([*lines, f"thresholds: {{{numbers}}}", ""])


def fold_of(
    patterns: Sequence[str],
    lookups: Lookups | None = None,
    lateness: int | Lateness = 0,
    where: str | None = None,
) -> Fold:
    """An engine with these patterns, given as the text of their files, for rows that pass `where`.

    Late rows count, unless `lateness` says otherwise. Negative amounts are valid; there is a column of one's own,
    `device`, which rows may lack, and those of TEXTS.
    """
    known: Lookups = {**{spec: {} for spec in TEXTS}, **(lookups or {})}
    read = [read_pattern(text, f"pattern-{number}.yaml", None, NAMES) for number, text in enumerate(patterns)]
    program = Compiler(built_in_features(), {spec.name: spec for spec in known}, DIGITS, NAMES).program(read)
    data = [lookup_data(spec, values) for spec, values in known.items()]
    late = Lateness(lateness) if isinstance(lateness, int) else lateness
    times = TimeRule(kind=program.time_kind) if program.windows or late.quarantine else None
    transactions = any(p.judge == "transaction" for p in read)
    detail = Detail(times, transactions, any("amount" in table.grain for table in program.tables))
    columns = (*KEYS, "amount", *(["time"] if times else []))
    kept = parse_filter(where, NAMES) if where else None
    by_row = RowLookups.of(data, {})
    decoder = Decoder({c: c for c in columns}, DIGITS, True, frozenset(["device"]), detail, kept, by_row)
    return Fold(program, decoder, data, late)


def texts_of(row: Row, lookups: Lookups) -> dict[str, str]:
    """The text columns of a row by name, all of whose values are clean; the empty text for one that no lookup has."""
    texts = dict(zip(KEYS, row[: len(KEYS)], strict=True))
    return texts | {s.name: str(lookups.get(s, {}).get(tuple(texts[k] for k in s.grain), "")) for s in TEXTS}


def lookup_data(spec: LookupSpec, values: Mapping[Key, float | str], first: int = 0) -> LookupData:
    """A lookup as it would have been read, in force from a chunk on."""
    columns: dict[str, list[object]] = {key: [k[i] for k in values] for i, key in enumerate(spec.grain)}
    kinds: dict[str, type[pl.DataType]] = {"float": pl.Float64, "text": pl.String}
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(spec.grain, pl.String)
    schema["value"] = kinds.get(spec.kind, pl.Int64)
    return LookupData(spec, pl.DataFrame({**columns, "value": list(values.values())}, schema=schema), str(first), first)


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as they would have been landed."""
    first = rows[0] if rows else ()
    keys = KEYS if len(first) > len(COLUMNS) and first[len(STANDARD_KEYS)].isidentifier() else STANDARD_KEYS
    columns = (*keys, "amount", "time")[: max(len(first), len(COLUMNS))]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def step(fold: Fold, number: int, rows: Sequence[Row]) -> Outcome:
    """One chunk, decoded and folded."""
    (decoded,) = fold.decoder.decode([frame_of(rows)], [number])
    assert not decoded.rejects, decoded.rejects
    return fold.step(number, decoded.rows, decoded.clock)


def holding(fold: Fold, pattern: int = 0) -> set[Key]:
    """The keys that a pattern holds for now."""
    judge = fold.judges[pattern]
    return {tuple(key.values()) for key in fold.keys(judge.plan.per, judge.holding.nonzero()[0])}
