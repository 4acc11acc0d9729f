"""For tests: patterns with windows, spreads and amounts as keys, judged on chunks or on transactions, and their truth.

The truth is DuckDB's: for patterns judged on transactions, one query over all rows before each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import duckdb
from hypothesis import strategies as st

from tillwatch.patterns.features import grain_order
from tillwatch.testing.conditions import (
    AMOUNTS,
    BUILT_IN,
    LOOKUPS,
    VALUES,
    Grammar,
    drawn_lives,
    filters,
    known,
    own_features,
)
from tillwatch.testing.folding import KEYS, NAMES, TEXTS, Lookups, Row, lookup_data
from tillwatch.testing.prefixes import rows_frame
from tillwatch.testing.terms import UNIT, Drawn, Term, compared

COLUMNS = grain_order(NAMES)


class RowGrammar(Grammar):
    """Draws conditions on a transaction: its columns, and features before it; there are no ranks."""

    def name(self) -> Term:
        """A feature, a lookup, or the amount of the transaction."""
        return self.one_of(super().name, super().name, self.amount)

    def feature(self, qualifier: str = "") -> Term:
        """What is not a count is unknown before the first row, and a window where the row is late."""
        plain = self.pick([*self.features])
        feature, text = self.features[plain], qualifier + plain
        unknown = feature.kind != "int" or bool(feature.within)
        return Term(text, f'"{text}"', feature.kind, unknown, frozenset([text]))

    def amount(self) -> Term:
        """The amount of the transaction."""
        return Term("amount", '"amount"', "decimal", False, frozenset(["amount"]))

    def value(self, depth: int) -> Term:
        """Any value."""
        inner = [self.calculation, self.calculation, self.absolute, self.minus, self.coalesce] if depth else []
        return self.one_of(*[self.name] * 4, *(lambda f=f: f(depth - 1) for f in inner))

    def leaf(self) -> Term:
        """A condition that joins no others."""
        simple = [self.plain_clause] * 3 + [self.comparison] * 3 + [self.text_clause] * 2 + [self.null_clause]
        return self.one_of(*simple, self.between, self.in_list, self.is_null, self.constant_clause)

    def text_clause(self) -> Term:
        """A text column of the transaction against a text, on either side."""
        column, op = self.pick(NAMES), self.pick(["=", "<>"])
        text = "'" + self.pick([*VALUES[column], "zz"]).replace("'", "''") + "'"
        name = Term(column, f'"{column}"', "text", False, frozenset([column]))
        return compared(op, *self.swapped(name, Term(text, text, "text")))

    def null_clause(self) -> Term:
        """Whether a text that a lookup gives is known."""
        column, no = self.pick([spec.name for spec in TEXTS]), self.pick(["", "not "])
        return Term(f"{column} is {no}null", f'("{column}" IS {no}NULL)', "bool", False, frozenset([column]))


@st.composite
def windowed_patterns(draw: st.DrawFn, *, judge: str = "chunk", last: bool = True) -> Drawn:
    """A pattern of one, two or three keys; with windows of the `last` transactions, or without.

    Every third sees only some of the rows.
    """
    per = draw(st.sampled_from([k for n in (1, 2, 2, 3) for k in combinations(COLUMNS, n)]))
    own = draw(st.lists(own_features(whole=True, last=last), min_size=1, max_size=3))
    features = {f"f{i}": feature for i, feature in enumerate(own)}
    shared = draw(st.sampled_from([{}, {}, BUILT_IN]))
    grammar = (RowGrammar if judge == "transaction" else Grammar)(draw, per, {**shared, **features})
    when = grammar.when()
    where, life = draw(st.one_of(st.none(), st.none(), filters())), draw(drawn_lives)
    if judge == "transaction" and life.get("emit") == "every_chunk":
        life = {**life, "emit": "every_transaction", "cleared": False}
    return Drawn(per, grammar.features, grammar.thresholds, when, judge, where, life)


@st.composite
def always_true(draw: st.DrawFn, *, judge: str = "chunk") -> Drawn:
    """A pattern that always holds, and so shows the values of its features, of its own keys and of one of them."""
    rows = tuple(c for c in COLUMNS if c not in ("category", "gender"))  # else the names of tables would be too long
    per = rows if judge == "transaction" else draw(st.sampled_from(list(combinations(COLUMNS, 2))))
    own = {f"f{i}": f for i, f in enumerate(draw(st.lists(own_features(whole=True), min_size=2, max_size=4)))}
    names = [draw(st.sampled_from([n, *(f"{k}.{n}" for k in per)])) for n in own]
    kinds = {name: own[name.rpartition(".")[2]].kind for name in names}
    terms = [Term(name, f'"{name}"', kinds[name], True, frozenset([name])) for name in names]
    texts = " and ".join(f"({t.text} is null or {t.text} is not null)" for t in terms)
    life = {"emit": "every_transaction"} if judge == "transaction" else {}
    return Drawn(per, own, {}, Term(texts, "true", "bool", False, frozenset(names)), judge, None, life)


@st.composite
def timed_streams(draw: st.DrawFn) -> list[list[Row]]:
    """Rows with times that mostly go forward, cut into chunks of one size."""
    size, order = draw(st.sampled_from([1, 2, 3, 5, 8, 20])), draw(st.sampled_from(["forward", "shaken", "any"]))
    steps = {"forward": ["0", "0", "0.5", "1"], "shaken": ["0", "0.5", "1", "-0.5", "-2"], "any": ["0", "3", "-3", "9"]}
    keys = st.tuples(*(st.sampled_from(VALUES[k][:3]) for k in KEYS), st.sampled_from(AMOUNTS))
    drawn = st.tuples(keys, st.sampled_from(steps[order]))
    few, many = st.lists(drawn, min_size=1, max_size=10), st.lists(drawn, min_size=20, max_size=45)
    rows, now = [], 0.0
    for row, by in draw(st.one_of(few, many, many)):
        now += float(by)
        rows.append((*row, f"{now:g}"))
    return [rows[i : i + size] for i in range(0, len(rows), size)]


class RowTruth:
    """A stream, and on which of its rows a pattern that is judged on transactions is true.

    Only rows that pass `where` (SQL) are in it; the others move its clock all the same.
    """

    def __init__(self, chunks: Sequence[Sequence[Row]], lookups: Lookups, lateness: int, where: str = "true") -> None:
        self._lateness = lateness
        self._db = duckdb.connect(config={"threads": 1})
        self._db.register("came", rows_frame(chunks, lookups))
        self._db.execute(f"CREATE TABLE rows AS SELECT * FROM came WHERE {where}")  # noqa: S608 - drawn by us
        for spec, values in lookups.items():
            self._db.register(f"lookup_{spec.name}", lookup_data(spec, values).frame)

    def true(self, pattern: Drawn) -> dict[int, dict[str, Any]]:
        """The places, from 0, of the rows for which it is true, with the value of every name before the row."""
        names = sorted(pattern.when.names)
        found = self._db.execute(self._sql(pattern, names)).fetchall()
        return {
            place: {n: _shown(pattern, n, v) for n, v in zip(names, values, strict=True)} for place, *values in found
        }

    def seen(self, pattern: Drawn) -> set[int]:
        """The places of the rows that the pattern sees."""
        return {place for (place,) in self._db.execute(f"SELECT place FROM rows WHERE {pattern.filter}").fetchall()}  # noqa: S608

    def close(self) -> None:
        """Lets go of the database."""
        self._db.close()

    def _sql(self, pattern: Drawn, names: Sequence[str]) -> str:
        columns, joins = [], []
        for number, name in enumerate(names):
            column, join = self._joined(pattern, name, f"j{number}")
            columns.append(f'{column} AS "{name}"')
            joins.append(join)
        shown = ", ".join(["place", *(f'"{n}"' for n in names)])
        return f"""
        WITH before AS (
            SELECT n AS chunk, max(time) AS clock FROM range(1, 100) t(n) JOIN came r ON r.chunk < n GROUP BY n),
        pairs AS (SELECT r.place AS upto, r.time AS clock, q.* FROM rows r JOIN rows q ON q.place < r.place),
        base AS (
            SELECT {", ".join(["r.place", *columns])} FROM (SELECT * FROM rows WHERE {pattern.filter}) r
            LEFT JOIN before USING (chunk) {" ".join(joins)})
        SELECT {shown} FROM base WHERE {pattern.when.sql} ORDER BY place
        """  # noqa: S608 - made of fixed names and numbers

    def _joined(self, pattern: Drawn, name: str, alias: str) -> tuple[str, str]:
        """A name as a column, and the join that brings it."""
        if name in COLUMNS:
            return ("r.units" if name == "amount" else known(name, "r.")), ""
        qualifier, _, plain = name.rpartition(".")
        if plain in LOOKUPS:
            same = " AND ".join(f"{alias}.{k} = r.{k}" for k in LOOKUPS[plain].grain)
            return f"{alias}.value", f"LEFT JOIN lookup_{plain} {alias} ON {same}"
        feature, keys = pattern.features[plain], (qualifier,) if qualifier else pattern.per
        same = " AND ".join(f"p.{k} = o.{k}" for k in keys)
        back = "row_number() OVER (PARTITION BY upto, p.time <= p.clock ORDER BY p.time DESC, p.place DESC) AS back"
        mine = f"SELECT p.*, {back} FROM pairs p JOIN rows o ON o.place = p.upto AND {same}"  # noqa: S608
        passing = f"SELECT upto, {feature.sql} AS x FROM ({mine}) WHERE {pattern.filter} GROUP BY upto"  # noqa: S608
        join = f"LEFT JOIN ({passing}) {alias} ON {alias}.upto = r.place"
        value = f"coalesce({alias}.x, 0)" if feature.kind == "int" else f"{alias}.x"
        late = f"coalesce(r.time < before.clock - {self._lateness if feature.within == 'time' else 0}, false)"
        return (f"CASE WHEN {late} THEN NULL ELSE {value} END" if feature.within else value), join


def _shown(pattern: Drawn, name: str, value: Any) -> Any:
    """A value as evidence shows it: a decimal is the float nearest to it."""
    plain = name.rpartition(".")[2]
    if name in COLUMNS:
        kind = "decimal" if name == "amount" else "text"
    else:
        kind = LOOKUPS[plain].kind if plain in LOOKUPS else pattern.features[plain].kind
    return int(value) / UNIT if kind == "decimal" and value is not None else value
