"""Any condition of the pattern language holds, after every chunk, exactly where SQL over all rows so far says.

Conditions are drawn from the grammar, written down twice: as the text of a pattern, which the engine folds chunk by
chunk, and as DuckDB SQL, which answers for all prefixes of the stream in one query. TILLWATCH_EXAMPLES sets how many.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations

import duckdb
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.engine.decode import Decoder
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.engine.lookup import LookupData
from tillwatch.model import Detection
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.program import Compiler, LookupSpec

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "200"))
UNIT = 10_000
KEYS = ("customer", "merchant", "category", "gender")
COLUMNS = {c: c for c in (*KEYS, "amount")}
LOOKUPS = {
    "importance": LookupSpec("importance", ("customer", "merchant"), "float"),
    "risk": LookupSpec("risk", ("customer",), "decimal"),
    "visits": LookupSpec("visits", ("customer", "merchant"), "int"),
}
VALUES = {
    "customer": [f"C{i}" for i in range(7)],
    "merchant": ["M0", "M1", "M2"],
    "category": ["a", "b", "o'c"],
    "gender": ["F", "M", "U"],
}
AMOUNTS = ["-7.5", "-1", "0", "0.5", "1.25", "2", "2.0001", "7.75", "10", "12.5", "20"]
CONSTANTS = ["0", "1", "2", "3", "5", "8", "0.5", "1.25", "2.0001", "7.75", "2.00005", "20", "-1", "-7.5"]
SHARES = ["0", "0.1", "0.25", "0.3", "0.5", "0.75", "0.9", "1", "-0.5", "1.5"]
BUILT_IN = {
    "transactions": ("count(*)", "int"),
    "total_amount": ("sum(units)", "decimal"),
    "avg_amount": ("avg", "float"),
    "min_amount": ("min(units)", "decimal"),
    "max_amount": ("max(units)", "decimal"),
    "customers": ("count(distinct customer)", "int"),
    "merchants": ("count(distinct merchant)", "int"),
    "female_customers": ("count(distinct customer) filter (where gender = 'F')", "int"),
    "male_customers": ("count(distinct customer) filter (where gender = 'M')", "int"),
}

Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Feature:
    """An aggregate: as the pattern declares it ('' for built-in ones), as SQL, its kind, whether it may be NULL."""

    text: str
    sql: str
    kind: str
    nullable: bool


@dataclass(frozen=True)
class Term:
    """A piece of a condition: pattern text, SQL, kind of value, whether it may be NULL, the names and ranks in it."""

    text: str
    sql: str
    kind: str
    nullable: bool = False
    names: frozenset[str] = frozenset()
    ranks: frozenset[tuple[str, str, tuple[str, ...]]] = frozenset()


@dataclass(frozen=True, repr=False)
class Drawn:
    """A pattern as drawn."""

    per: tuple[str, ...]
    features: dict[str, Feature]
    thresholds: dict[str, str]
    when: Term

    def __repr__(self) -> str:
        own = {n: f.text for n, f in self.features.items() if f.text}
        return f"per {self.per} when {self.when.text} with {self.thresholds} {own}"


def join(text: str, sql: str, kind: str, *parts: Term, nullable: bool = False) -> Term:
    """A term made of others."""
    return Term(
        text,
        sql,
        kind,
        nullable or any(p.nullable for p in parts),
        frozenset().union(*(p.names for p in parts)),
        frozenset().union(*(p.ranks for p in parts)),
    )


# --- kinds: what is exact stays exact, as the language promises


def as_double(term: Term) -> str:
    """The value as DOUBLE; a decimal is a count of ten-thousandths."""
    return f"({term.sql})::DOUBLE / {UNIT}::DOUBLE" if term.kind == "decimal" else f"({term.sql})::DOUBLE"


def align(*terms: Term) -> tuple[str, list[str]]:
    """The common kind of terms, and their SQL in it."""
    kinds = {t.kind for t in terms}
    if "float" in kinds:
        return "float", [as_double(t) for t in terms]
    if len(kinds) == 2:
        return "decimal", [f"({t.sql}) * {UNIT}" if t.kind == "int" else t.sql for t in terms]
    return kinds.pop(), [t.sql for t in terms]


def compared(op: str, left: Term, right: Term) -> Term:
    """`left op right`."""
    _, (a, b) = align(left, right)
    return join(f"{left.text} {op} {right.text}", f"(({a}) {op} ({b}))", "bool", left, right)


def calculated(op: str, left: Term, right: Term) -> Term:
    """`left op right`: sums exact, products of integers exact, quotients DOUBLE and unknown when divided by 0."""
    text = f"({left.text} {op} {right.text})"
    if op == "/":
        sql = f"({as_double(left)}) / nullif({as_double(right)}, 0)"
        return join(text, f"({sql})", "float", left, right, nullable=True)
    if op == "*" and {left.kind, right.kind} != {"int"}:
        return join(text, f"({as_double(left)}) * ({as_double(right)})", "float", left, right)
    kind, (a, b) = align(left, right)
    return join(text, f"(({a}) {op} ({b}))", kind, left, right)


def constant(number: str, text: str | None = None) -> Term:
    """A number, as exact as its digits ask for."""
    units = Decimal(number) * UNIT
    if Decimal(number) == int(Decimal(number)):
        return Term(text or number, f"{int(Decimal(number))}::HUGEINT", "int")
    if units == int(units):
        return Term(text or number, f"{int(units)}::HUGEINT", "decimal")
    return Term(text or number, f"'{number}'::DOUBLE", "float")


def rank(x: Term, over: tuple[str, ...], over_text: str) -> Term:
    """`percent_rank(x) over …`."""
    groups = ", ".join(["upto", *over, f"{x.sql} IS NULL"])
    sql = f"(CASE WHEN {x.sql} IS NOT NULL THEN percent_rank() OVER (PARTITION BY {groups} ORDER BY {x.sql}) END)"
    marked = Term(x.text, x.sql, x.kind, x.nullable, x.names, frozenset([(x.text, over_text, over)]))
    return join(f"percent_rank({x.text}) over {over_text}", sql, "float", marked)


def quantile(p: str, p_text: str, x: Term, over: tuple[str, ...], over_text: str) -> Term:
    """`percentile_cont(p, x) over …`, its place among the members worked out in integers."""
    share = Fraction(p)
    groups = ", ".join(["upto", *over])
    values = f"list({as_double(x)}) FILTER (WHERE {x.sql} IS NOT NULL) OVER (PARTITION BY {groups})"
    sql = f"cont(list_sort({values}), {share.numerator}, {share.denominator})"
    return join(f"percentile_cont({p_text}, {x.text}) over {over_text}", sql, "float", x, nullable=True)


# --- strategies


@st.composite
def filters(draw: st.DrawFn, depth: int = 2) -> tuple[str, str]:
    """A filter on rows: as text and as SQL."""
    shape = draw(st.sampled_from(["text", "in", "amount", "between", *(["and", "or", "not"] if depth else [])]))
    if shape in ("and", "or"):
        (a, a_sql), (b, b_sql) = draw(filters(depth - 1)), draw(filters(depth - 1))
        return f"({a}) {shape} ({b})", f"({a_sql}) {shape} ({b_sql})"
    if shape == "not":
        a, sql = draw(filters(depth - 1))
        return f"not ({a})", f"not ({sql})"
    if shape in ("amount", "between"):
        op, low, high = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="])), *draw(st.tuples(numbers, numbers))
        a, b = (f"'{Decimal(n) * UNIT}'::DECIMAL(30, 6)" for n in (low, high))
        exact = "units::DECIMAL(30, 6)"
        if shape == "amount":
            return f"amount {op} {low}", f"{exact} {op} {a}"
        return f"amount between {low} and {high}", f"{exact} BETWEEN {a} AND {b}"
    column = draw(st.sampled_from(KEYS))
    chosen = draw(st.lists(st.sampled_from([*VALUES[column], "zz"]), min_size=1, max_size=3))
    quoted = ["'" + c.replace("'", "''") + "'" for c in chosen]
    same = f"{column} in ({', '.join(quoted)})" if shape == "in" else f"{column} {draw(equality)} {quoted[0]}"
    return same, same


numbers = st.sampled_from(CONSTANTS)
equality = st.sampled_from(["=", "<>"])


@st.composite
def own_features(draw: st.DrawFn) -> Feature:
    """A feature of the pattern's own."""
    where, sql = draw(st.one_of(st.just(("", "")), filters()))
    keep, keep_sql = (f" filter (where {where})", f" FILTER (WHERE {sql})") if where else ("", "")
    kind = draw(st.sampled_from(["count", "sum", "avg", "min", "max", "distinct"]))
    if kind == "count":
        return Feature(f"count(*){keep}", f"count(*){keep_sql}", "int", False)
    if kind == "distinct":
        text = f"count(distinct {draw(st.sampled_from(KEYS))})"
        return Feature(text + keep, text + keep_sql, "int", False)
    if kind == "avg":
        return Feature(f"avg(amount){keep}", average(keep_sql), "float", True)
    return Feature(f"{kind}(amount){keep}", f"{kind}(units){keep_sql}", "decimal", bool(where))


def average(keep: str = "") -> str:
    """The quotient of two exact integers."""
    return f"(sum(units){keep})::DOUBLE / nullif(count(*){keep} * {UNIT}, 0)::DOUBLE"


def built_in(name: str) -> Feature:
    """A feature of the catalogue."""
    sql, kind = BUILT_IN[name]
    return Feature("", average() if sql == "avg" else sql, kind, sql == "avg")


class Grammar:
    """Draws terms of one pattern."""

    def __init__(self, draw: st.DrawFn, per: tuple[str, ...], features: dict[str, Feature]) -> None:
        self.draw, self.per, self.features = draw, per, features
        self.thresholds: dict[str, str] = {}

    def pick(self, choices: Sequence[str]) -> str:
        return self.draw(st.sampled_from(choices))

    def name(self, *, own: bool = False, coarse: bool = False) -> Term:
        """A feature, at the pattern's grain or a coarser one, or a lookup."""
        lookups = [n for n, s in LOOKUPS.items() if set(s.grain) <= set(self.per) and (not own or s.grain == self.per)]
        if lookups and self.draw(st.integers(0, 3)) == 0:
            spec = LOOKUPS[self.pick(lookups)]
            text = spec.name
            if len(spec.grain) == 1 and self.draw(st.booleans()):
                text = f"{spec.grain[0]}.{spec.name}"
            return Term(text, f'"{text}"', spec.kind, True, frozenset([text]))
        plain = self.pick([*self.features])
        feature = self.features[plain]
        qualified = coarse or (not own and self.draw(st.booleans()))
        text = f"{self.pick(self.per)}.{plain}" if qualified else plain
        return Term(text, f'"{text}"', feature.kind, feature.nullable, frozenset([text]))

    def number(self, choices: Sequence[str] = CONSTANTS) -> Term:
        """A constant, written out or as a threshold."""
        value = self.pick(choices)
        return constant(value, self.threshold(value))

    def threshold(self, value: str) -> str | None:
        if self.draw(st.integers(0, 3)):
            return None
        name = f"t{len(self.thresholds)}"
        self.thresholds[name] = value
        return f":{name}"

    def over(self) -> tuple[tuple[str, ...], str]:
        """Fewer keys than the pattern has, and how they may be written."""
        choices = [k for n in range(len(self.per)) for k in combinations(self.per, n)]
        over = self.draw(st.sampled_from(choices))
        listed = f"(partition by {', '.join(reversed(over))})" if over else "()"
        return over, over[0] if len(over) == 1 and self.draw(st.booleans()) else listed

    def ranked(self) -> Term:
        return rank(self.name(own=True), *self.over())

    def cut(self) -> Term:
        p = self.pick([s for s in SHARES if 0 <= Decimal(s) <= 1])
        return quantile(p, self.threshold(p) or p, self.name(own=True), *self.over())

    def value(self, depth: int) -> Term:
        """A value that reads something."""
        shape = self.pick(["name", "name", "name", "cut", "rank", *(["sum", "sum", "abs", "else", "minus"] * (depth > 0))])
        if shape == "sum":
            sides = [self.value(depth - 1), self.any_value(depth - 1)]
            left, right = sides if self.draw(st.booleans()) else reversed(sides)
            return calculated(self.pick("+-*/"), left, right)
        if shape == "abs":
            x = self.value(depth - 1)
            return join(f"abs({x.text})", f"abs({x.sql})", x.kind, x)
        if shape == "minus":
            x = self.value(depth - 1)
            return join(f"-({x.text})", f"-({x.sql})", x.kind, x)
        if shape == "else":
            return self.coalesced(depth - 1)
        return {"name": self.name, "cut": self.cut, "rank": self.ranked}[shape]()

    def coalesced(self, depth: int) -> Term:
        x, otherwise = self.value(depth), self.any_value(depth)
        text = f"coalesce({x.text}, {otherwise.text})"
        if not x.nullable:  # what is never unknown stays as exact as it is
            return join(text, x.sql, x.kind, Term("", "", "", False, otherwise.names, otherwise.ranks), x)
        kind, (a, b) = align(x, otherwise)
        both = join(text, f"coalesce({a}, {b})", kind, x, otherwise)
        return Term(both.text, both.sql, both.kind, otherwise.nullable, both.names, both.ranks)

    def any_value(self, depth: int) -> Term:
        return self.number() if self.draw(st.booleans()) else self.value(depth)

    def when(self) -> Term:
        """A whole condition: often a clause or two behind a gate, as patterns are, sometimes anything."""
        shape = self.pick(["leaf", "gated", "gated", "any"])
        if shape == "any":
            return self.condition(3)
        if shape == "leaf":
            return self.leaf()
        sides = [self.gate(), self.leaf()]
        left, right = sides if self.draw(st.booleans()) else reversed(sides)
        gated = join(f"{left.text} and {right.text}", f"({left.sql} and {right.sql})", "bool", left, right)
        if self.draw(st.booleans()):
            return gated
        more = self.condition(1)
        return join(f"{gated.text} and ({more.text})", f"({gated.sql} and {more.sql})", "bool", gated, more)

    def gate(self) -> Term:
        """A clause on a coarser key alone."""
        op, number = self.pick(["<", "<=", ">", ">=", "<>"]), self.number()
        return compared(op, self.name(coarse=True), number)

    def leaf(self) -> Term:
        """A condition that joins no others."""
        simple: list[Callable[[], Term]] = [self.plain_clause] * 2 + [self.rank_clause] * 4 + [self.comparison] * 3
        return self.draw(st.sampled_from([*simple, self.between, self.in_list, self.is_null]))()

    def condition(self, depth: int) -> Term:
        """A condition that reads something."""
        inner: list[Callable[[], Term]] = [lambda: self.joined(depth - 1)] * 5 + [lambda: self.negated(depth - 1)]
        return self.draw(st.sampled_from([*([self.leaf] * 6), *(inner if depth else [])]))()

    def joined(self, depth: int) -> Term:
        op = self.pick(["and", "and", "or"])
        left, right = self.condition(depth), self.condition(depth)
        return join(f"({left.text}) {op} ({right.text})", f"({left.sql} {op} {right.sql})", "bool", left, right)

    def negated(self, depth: int) -> Term:
        x = self.condition(depth)
        return join(f"not ({x.text})", f"(NOT {x.sql})", "bool", x)

    def plain_clause(self) -> Term:
        return compared(self.pick(["<", "<=", ">", ">=", "="]), self.name(), self.number())

    def comparison(self) -> Term:
        sides = [self.value(2), self.any_value(1)]
        left, right = sides if self.draw(st.booleans()) else reversed(sides)
        return compared(self.pick(["=", "<>", "<", "<=", ">", ">="]), left, right)

    def rank_clause(self) -> Term:
        """The comparison that the engine keeps a cut-off for."""
        sides = [self.ranked(), self.number(SHARES)]
        left, right = sides if self.draw(st.booleans()) else reversed(sides)
        return compared(self.pick(["<", "<=", ">", ">=", "="]), left, right)

    def between(self) -> Term:
        x, low, high = self.value(1), self.any_value(1), self.any_value(1)
        negation = self.pick(["", "not "])
        text = f"{x.text} {negation}between {low.text} and {high.text}"
        sql = f"({negation}({compared('>=', x, low).sql} AND {compared('<=', x, high).sql}))"
        return join(text, sql, "bool", x, low, high)

    def in_list(self) -> Term:
        x, choices = self.value(1), [self.any_value(0) for _ in range(self.draw(st.integers(1, 3)))]
        negation = self.pick(["", "not "])
        text = f"{x.text} {negation}in ({', '.join(c.text for c in choices)})"
        sql = " OR ".join(compared("=", x, c).sql for c in choices)
        return join(text, f"({negation}({sql}))", "bool", x, *choices)

    def is_null(self) -> Term:
        x, negation = self.value(1), self.pick(["", "not "])
        return join(f"{x.text} is {negation}null", f"(({x.sql}) IS {negation}NULL)", "bool", x)


@st.composite
def drawn_patterns(draw: st.DrawFn) -> Drawn:
    """A pattern of one, two or three keys."""
    per = draw(st.sampled_from([k for n in (1, 2, 2, 2, 3) for k in combinations(KEYS, n)]))
    own = {f"f{i}": feature for i, feature in enumerate(draw(st.lists(own_features(), max_size=3)))}
    features = {**{name: built_in(name) for name in BUILT_IN}, **own}
    grammar = Grammar(draw, per, features)
    when = grammar.when()
    return Drawn(per, features, grammar.thresholds, when)


rows = st.tuples(*(st.sampled_from(VALUES[k]) for k in KEYS), st.sampled_from(AMOUNTS))
pairs = st.tuples(st.sampled_from(VALUES["customer"]), st.sampled_from(VALUES["merchant"]))
known = st.fixed_dictionaries(
    {
        "importance": st.dictionaries(pairs, st.sampled_from([0.5, 1.0, 2.5, 7 / 3]), max_size=12),
        "risk": st.dictionaries(pairs.map(lambda p: p[:1]), st.sampled_from([-15000, 0, 5000, 20001]), max_size=5),
        "visits": st.dictionaries(pairs, st.integers(0, 3), max_size=12),
    }
)


@st.composite
def chunked(draw: st.DrawFn) -> list[list[Row]]:
    """Rows cut into chunks of one size."""
    few, many = st.lists(rows, min_size=1, max_size=10), st.lists(rows, min_size=25, max_size=50)
    data, size = draw(st.one_of(few, many, many)), draw(st.sampled_from([1, 1, 2, 3, 5, 8, 20, 50]))
    return [data[i : i + size] for i in range(0, len(data), size)]


# --- the engine


def make_fold(patterns: Sequence[Drawn], lookups: dict[str, dict[tuple[str, ...], float]]) -> Fold:
    """The engine with these patterns, read from their text."""
    read = []
    for number, p in enumerate(patterns):
        declared = {n: f.text for n, f in p.features.items() if f.text}
        text = {"id": f"P{number}", "action": "A", "per": list(p.per), "features": declared, "when": p.when.text}
        thresholds = ", ".join(f"{n}: {v}" for n, v in p.thresholds.items())
        body = "".join(f"{k}: {json.dumps(v)}\n" for k, v in text.items())
        read.append(read_pattern(f"{body}thresholds: {{{thresholds}}}\n", "drawn.yaml"))
    program = Compiler(built_in_features(), LOOKUPS, 4).program(read)
    data = [lookup_data(LOOKUPS[name], values) for name, values in lookups.items()]
    return Fold(program, Decoder(COLUMNS, 4, negative=True), data)


def lookup_data(spec: LookupSpec, values: dict[tuple[str, ...], float]) -> LookupData:
    """A lookup as it would have been read."""
    columns = {key: [k[i] for k in values] for i, key in enumerate(spec.grain)}
    dtype = pl.Float64 if spec.kind == "float" else pl.Int64
    schema = {**dict.fromkeys(spec.grain, pl.String), "value": dtype}
    return LookupData(spec, pl.DataFrame({**columns, "value": list(values.values())}, schema=schema), "")


def step(fold: Fold, number: int, chunk: Sequence[Row]) -> Outcome:
    """One chunk, decoded and folded."""
    frame = pl.DataFrame(chunk, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")
    (decoded,) = fold.decoder.decode([frame])
    assert not decoded.rejects
    return fold.step(number, decoded.rows)


# --- SQL

DB = duckdb.connect(config={"threads": 1})
DB.execute(
    "CREATE MACRO cont(xs, num, den) AS CASE WHEN len(xs) > 0 THEN"
    " CASE WHEN num * (len(xs) - 1) % den = 0 THEN xs[num * (len(xs) - 1) // den + 1]"
    " ELSE xs[num * (len(xs) - 1) // den + 1] + (xs[num * (len(xs) - 1) // den + 2]"
    " - xs[num * (len(xs) - 1) // den + 1]) * ((num * (len(xs) - 1) % den)::DOUBLE / den::DOUBLE) END END"
)


def load(chunks: Sequence[Sequence[Row]], lookups: dict[str, dict[tuple[str, ...], float]]) -> None:
    """The rows with their chunk and scaled amount, and the lookups, as tables."""
    flat = [(n, *row[:-1], int(Decimal(row[-1]) * UNIT)) for n, chunk in enumerate(chunks) for row in chunk]
    schema = {"chunk": pl.Int64, **dict.fromkeys(KEYS, pl.String), "units": pl.Int64}
    DB.register("rows", pl.DataFrame(flat, schema=schema, orient="row"))
    for name, values in lookups.items():
        DB.register(f"lookup_{name}", lookup_data(LOOKUPS[name], values).frame)


Held = dict[tuple[str, ...], tuple[dict[str, object], dict[str, object]]]
"""Keys for which a condition holds, with the features and the ranks that it reads."""


def answers(pattern: Drawn, chunks: int) -> list[Held]:
    """For every prefix of the stream the keys that the pattern holds for."""
    per, when = pattern.per, pattern.when
    names, ranks = sorted(when.names), sorted(when.ranks)
    shown = [f'"{n}"' for n in names]
    for x, over_text, over in ranks:
        kind = kind_of(pattern, x)
        ranked = rank(Term(x, f'"{x}"', kind), over, over_text)
        groups = ", ".join(["upto", *over])
        shown += [ranked.sql, f'count("{x}") OVER (PARTITION BY {groups})']
    sql = f"""
    WITH seen AS (SELECT n AS upto, r.* FROM range({chunks}) t(n) JOIN rows r ON r.chunk <= n),
    base AS ({base(pattern)}),
    judged AS (SELECT upto, {", ".join(per)}, {", ".join([*shown, when.sql])} AS holds FROM base)
    SELECT * EXCLUDE (holds) FROM judged WHERE holds
    """  # noqa: S608 - made of fixed names and numbers
    held: list[Held] = [{} for _ in range(chunks)]
    for upto, *rest in DB.execute(sql).fetchall():
        key, values = tuple(rest[: len(per)]), rest[len(per) :]
        read = {n: shown_value(pattern, n, v) for n, v in zip(names, values, strict=False)}
        stands = [(f"percent_rank({x}) over {over_shown(over)}", x) for x, _, over in ranks]
        pairs = zip(stands, values[len(names) :: 2], values[len(names) + 1 :: 2], strict=True)
        held[upto][key] = read, {name: (rank, n) for (name, x), rank, n in pairs if read[x] is not None}
    return held


def over_shown(over: tuple[str, ...]) -> str:
    """Keys as evidence names them."""
    return over[0] if len(over) == 1 else f"({', '.join(reversed(over))})"


def kind_of(pattern: Drawn, name: str) -> str:
    """The kind of a name as written."""
    plain = name.rpartition(".")[2]
    return LOOKUPS[plain].kind if plain in LOOKUPS else pattern.features[plain].kind


def shown_value(pattern: Drawn, name: str, value: object) -> object:
    """A value as evidence shows it: a decimal is the float nearest to it."""
    scaled = kind_of(pattern, name) == "decimal" and value is not None
    return int(str(value)) / UNIT if scaled else value


def base(pattern: Drawn) -> str:
    """One row per prefix and key with every name that the condition reads."""
    per = ", ".join(pattern.per)
    columns, joins = ["own.*"], []
    own = [f'{pattern.features[n].sql} AS "{n}"' for n in sorted(pattern.when.names) if n in pattern.features]
    for number, name in enumerate(sorted(pattern.when.names - set(pattern.features))):
        qualifier, _, plain = name.rpartition(".")
        if plain in LOOKUPS:
            keys = ", ".join(LOOKUPS[plain].grain)
            joins.append(f"LEFT JOIN lookup_{plain} j{number} USING ({keys})")
            columns.append(f'j{number}.value AS "{name}"')
        else:
            aggregate = pattern.features[plain].sql
            table = f"(SELECT upto, {qualifier}, {aggregate} AS x FROM seen GROUP BY upto, {qualifier})"  # noqa: S608
            joins.append(f"JOIN {table} j{number} USING (upto, {qualifier})")
            columns.append(f'j{number}.x AS "{name}"')
    mine = f"SELECT {', '.join(['upto', per, *own])} FROM seen GROUP BY upto, {per}"  # noqa: S608
    return f"SELECT {', '.join(columns)} FROM ({mine}) own {' '.join(joins)}"  # noqa: S608


# --- the law


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.lists(drawn_patterns(), min_size=1, max_size=2), chunked(), known)
def test_a_condition_holds_where_sql_says_after_every_chunk(
    patterns: list[Drawn], chunks: list[list[Row]], lookups: dict[str, dict[tuple[str, ...], float]]
) -> None:
    """Keys that hold, detections with their evidence, and later turns are those of SQL over all rows so far."""
    fold = make_fold(patterns, lookups)
    load(chunks, lookups)
    expected = [answers(p, len(chunks)) for p in patterns]
    seen: list[dict[tuple[str, ...], bool]] = [{} for _ in patterns]
    for number, chunk in enumerate(chunks):
        outcome = step(fold, number, chunk)
        found, turned = [], []
        for i, p in enumerate(patterns):
            holds = expected[i][number]
            held = fold.keys(p.per, fold.judges[i].holding.nonzero()[0])
            assert {tuple(k.values()) for k in held} == set(holds), (number, p.when.text)
            new = sorted(set(holds) - set(seen[i]), key=lambda k: order(p.per, k))
            found += [(f"P{i}", k, *holds[k]) for k in new]
            turned += [(f"P{i}", k, k in holds) for k, before in seen[i].items() if before != (k in holds)]
            seen[i] = {k: k in holds for k in (*seen[i], *new)}
        assert [(d.pattern, tuple(d.key.values()), d.evidence["features"]) for d in outcome.detections] == [
            f[:3] for f in found
        ]
        for detection, (_, _, _, ranks) in zip(outcome.detections, found, strict=True):
            stands = {n: (r["value"], r["population"]) for n, r in detection.evidence.get("ranks", {}).items()}
            assert ranks.items() <= stands.items()
        assert [(t.pattern, tuple(t.key.values()), t.holds) for t in outcome.turns] == sorted(turned)


def order(per: tuple[str, ...], key: tuple[str, ...]) -> tuple[str, ...]:
    """What detections of one pattern and chunk are sorted by."""
    named = dict(zip(per, key, strict=True))
    return (named.get("customer", ""), named.get("merchant", ""), *key)

