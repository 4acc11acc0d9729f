"""For tests: where a drawn condition holds after every chunk, answered by DuckDB over all rows so far.

One query answers for all prefixes of the stream: every row is there once for each prefix that it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl

from tillwatch.testing.conditions import LOOKUPS
from tillwatch.testing.folding import KEYS, NAMES, Key, Lookups, Row, lookup_data, texts_of
from tillwatch.testing.terms import UNIT, Drawn, Kind, Rank, Term, rank

# The interpolated quantile of sorted values, num/den being the share.
_CONT = """
CREATE MACRO cont(xs, num, den) AS CASE
  WHEN len(xs) IS NULL OR len(xs) = 0 THEN NULL
  WHEN num * (len(xs) - 1) % den = 0 THEN xs[num * (len(xs) - 1) // den + 1]
  ELSE xs[num * (len(xs) - 1) // den + 1]
    + (xs[num * (len(xs) - 1) // den + 2] - xs[num * (len(xs) - 1) // den + 1])
    * ((num * (len(xs) - 1) % den)::DOUBLE / den::DOUBLE)
END
"""


@dataclass(frozen=True)
class Held:
    """Why a condition holds for a key: the features it reads, and of each rank its value and the population."""

    features: dict[str, Any]
    ranks: dict[str, tuple[float, int]]


class Prefixes:
    """A stream of chunks and its lookups, open to questions.

    Only rows that pass `where` (SQL) are in it; the others move its clock all the same. Of `later` lookups each is in
    force from a chunk on, instead of what was so of the same name.
    """

    def __init__(
        self,
        chunks: Sequence[Sequence[Row]],
        lookups: Lookups,
        where: str = "true",
        later: Sequence[tuple[int, Lookups]] = (),
    ) -> None:
        self._chunks = len(chunks)
        self._db = duckdb.connect(config={"threads": 1})
        self._db.execute(_CONT)
        self._db.register("came", rows_frame(chunks, lookups, later))
        self._db.execute(f"CREATE TABLE rows AS SELECT * FROM came WHERE {where}")  # noqa: S608 - drawn by us
        for spec, values in lookups.items():
            there = [in_force(upto, {spec: values}, later)[spec] for upto in range(self._chunks)]
            frames = [lookup_data(spec, values).frame.with_columns(upto=upto) for upto, values in enumerate(there)]
            self._db.register(f"lookup_{spec.name}", pl.concat(frames))

    def __enter__(self) -> Prefixes:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def held(self, pattern: Drawn) -> list[dict[Key, Held]]:
        """For each prefix the keys that the pattern holds for."""
        names, ranks = sorted(pattern.when.names), sorted(pattern.when.ranks)
        held: list[dict[Key, Held]] = [{} for _ in range(self._chunks)]
        for upto, *rest in self._db.execute(self._sql(pattern, names, ranks)).fetchall():
            values = rest[len(pattern.per) :]
            read = {n: _shown(pattern, n, v) for n, v in zip(names, values, strict=False)}
            places = zip(values[len(names) :: 2], values[len(names) + 1 :: 2], strict=True)
            stands = {r.shown: place for r, place in zip(ranks, places, strict=True) if read[r.x] is not None}
            held[upto][tuple(rest[: len(pattern.per)])] = Held(read, stands)
        return held

    def _sql(self, pattern: Drawn, names: Sequence[str], ranks: Sequence[Rank]) -> str:
        shown = [f'"{n}"' for n in names]
        for r in ranks:
            groups = ", ".join(["upto", *r.over])
            shown += [rank(_term(pattern, r.x), r.over, "").sql, f'count("{r.x}") OVER (PARTITION BY {groups})']
        columns = ", ".join(["upto", *pattern.per, *shown, pattern.when.sql])
        return f"""
        WITH clocks AS (
            SELECT n AS upto, max(time) AS clock FROM range({self._chunks}) t(n) JOIN came r ON r.chunk <= n
            GROUP BY n),
        seen AS (SELECT c.*, r.* FROM clocks c JOIN rows r ON r.chunk <= c.upto),
        base AS ({_base(pattern)}),
        judged AS (SELECT {columns} AS holds FROM base)
        SELECT * EXCLUDE (holds) FROM judged WHERE holds
        """  # noqa: S608 - made of fixed names and numbers


def in_force(chunk: int, lookups: Lookups, later: Sequence[tuple[int, Lookups]]) -> Lookups:
    """The lookups at a chunk."""
    found = dict(lookups)
    for first, some in later:
        found |= {spec: values for spec, values in some.items() if spec in found and first <= chunk}
    return found


def rows_frame(
    chunks: Sequence[Sequence[Row]], lookups: Lookups, later: Sequence[tuple[int, Lookups]] = ()
) -> pl.DataFrame:
    """All rows: chunk, place, texts, amount as a key and in units, and time in millionths, 0 when there is none."""
    flat, place = [], 0
    for number, chunk in enumerate(chunks):
        for row in chunk:
            amount = Decimal(row[len(KEYS)])
            time = Decimal(row[len(KEYS) + 1]) if len(row) > len(KEYS) + 1 else Decimal(0)
            texts = texts_of(row, in_force(number, lookups, later)).values()
            flat.append((number, place, *texts, f"{amount.normalize():f}", int(amount * UNIT), int(time * 10**6)))
            place += 1
    names = dict.fromkeys((*NAMES, "amount"), pl.String)
    schema = {"chunk": pl.Int64, "place": pl.Int64, **names, "units": pl.Int64, "time": pl.Int64}
    return pl.DataFrame(flat, schema=schema, orient="row")


def _term(pattern: Drawn, name: str) -> Term:
    return Term(name, f'"{name}"', _kind(pattern, name))


def _kind(pattern: Drawn, name: str) -> Kind:
    plain = name.rpartition(".")[2]
    return LOOKUPS[plain].kind if plain in LOOKUPS else pattern.features[plain].kind


def _shown(pattern: Drawn, name: str, value: Any) -> Any:
    """A value as evidence shows it: a decimal is the float nearest to it."""
    return int(value) / UNIT if _kind(pattern, name) == "decimal" and value is not None else value


def _base(pattern: Drawn) -> str:
    """One row per prefix and key, with every name that the condition reads as a column."""
    per = ", ".join(pattern.per)
    columns, joins = ["own.*"], []
    own = [f'{pattern.features[n].sql} AS "{n}"' for n in sorted(pattern.when.names) if n in pattern.features]
    for number, name in enumerate(sorted(pattern.when.names - set(pattern.features))):
        qualifier, _, plain = name.rpartition(".")
        if plain in LOOKUPS:
            joins.append(f"LEFT JOIN lookup_{plain} j{number} USING (upto, {', '.join(LOOKUPS[plain].grain)})")
            columns.append(f'j{number}.value AS "{name}"')
        else:
            aggregate = pattern.features[plain].sql
            table = (
                f"(SELECT upto, {qualifier}, {aggregate} AS x FROM {_numbered(pattern, qualifier)} "  # noqa: S608
                f"GROUP BY upto, {qualifier})"
            )
            joins.append(f"JOIN {table} j{number} USING (upto, {qualifier})")
            columns.append(f'j{number}.x AS "{name}"')
    mine = f"SELECT {', '.join(['upto', per, *own])} FROM {_numbered(pattern, per)} GROUP BY upto, {per}"  # noqa: S608
    return f"SELECT {', '.join(columns)} FROM ({mine}) own {' '.join(joins)}"  # noqa: S608


def _numbered(pattern: Drawn, keys: str) -> str:
    """The rows of each prefix that the pattern sees; all rows of a key are numbered from the last one by time."""
    back = f"row_number() OVER (PARTITION BY upto, {keys} ORDER BY time DESC, place DESC)"
    return f"(SELECT * FROM (SELECT *, {back} AS back FROM seen) WHERE {pattern.filter})"  # noqa: S608
