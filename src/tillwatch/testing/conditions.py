"""For tests: hypothesis strategies for patterns of the language, streams of rows, and lookups with missing keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import combinations

from hypothesis import strategies as st

from tillwatch.patterns.program import LookupSpec
from tillwatch.testing.folding import KEYS, NAMES, TEXTS, Row
from tillwatch.testing.terms import (
    UNIT,
    Aggregate,
    Drawn,
    Term,
    average,
    calculated,
    coalesced,
    compared,
    constant,
    join,
    quantile,
    rank,
    spread,
)

LOOKUPS = {
    "importance": LookupSpec("importance", ("customer", "merchant"), "float"),
    "risk": LookupSpec("risk", ("customer",), "decimal"),
    "visits": LookupSpec("visits", ("customer", "merchant"), "int"),
    "trust": LookupSpec("trust", ("merchant", "device"), "int"),
    "budget": LookupSpec("budget", ("segment",), "decimal"),
}
VALUES = {
    "customer": [f"C{i}" for i in range(7)],
    "merchant": ["M0", "M0", "M1", "M2"],
    "category": ["a", "b", "o'c"],
    "gender": ["F", "M", "U"],
    "device": ["d1", "d2", "d2"],
    "segment": ["gold", "new"],
    "area": ["n", "s", "o'c"],
}
WINDOWS = ["0.5 steps", "1", "2 steps", "3 steps", "5 STEPS", "100 steps", "1 transaction", "3 transactions"]
SPREADS = {
    "stddev": ["stddev", "stddev_samp"],
    "stddev_pop": ["stddev_pop"],
    "variance": ["variance", "var_samp"],
    "variance_pop": ["var_pop"],
}
AMOUNTS = ["-7.5", "-1", "0", "0.5", "1.25", "2", "2.0001", "7.75", "10", "12.5", "20"]
NUMBERS = ["0", "1", "2", "3", "5", "8", "0.5", "1.25", "2.0001", "7.75", "2.00005", "20", "-1", "-7.5"]
SHARES = ["0", "0.1", "0.25", "0.3", "0.5", "0.5", "0.75", "0.9", "1"]
BEYOND = ["-0.5", "1.5"]
COMPARISONS = ["=", "<>", "<", "<=", ">", ">="]
BUILT_IN = {
    "transactions": Aggregate("", "count(*)", "int"),
    "total_amount": Aggregate("", "sum(units)", "decimal"),
    "avg_amount": Aggregate("", average(), "float", True),
    "min_amount": Aggregate("", "min(units)", "decimal"),
    "max_amount": Aggregate("", "max(units)", "decimal"),
    "customers": Aggregate("", "count(distinct customer)", "int"),
    "merchants": Aggregate("", "count(distinct merchant)", "int"),
    "female_customers": Aggregate("", "count(distinct customer) filter (where gender = 'F')", "int"),
    "male_customers": Aggregate("", "count(distinct customer) filter (where gender = 'M')", "int"),
}


@st.composite
def filters(draw: st.DrawFn, depth: int = 2) -> tuple[str, str]:
    """A filter on rows: as text and as SQL."""
    shapes = ["text", "in", "null", "amount", "between", *(["and", "or", "not"] if depth else [])]
    shape = draw(st.sampled_from(shapes))
    if shape in ("and", "or"):
        (a, a_sql), (b, b_sql) = draw(filters(depth - 1)), draw(filters(depth - 1))
        return f"({a}) {shape} ({b})", f"({a_sql}) {shape} ({b_sql})"
    if shape == "not":
        a, sql = draw(filters(depth - 1))
        return f"not ({a})", f"not ({sql})"
    return draw(amount_filters(shape) if shape in ("amount", "between") else text_filters(shape))


@st.composite
def amount_filters(draw: st.DrawFn, shape: str) -> tuple[str, str]:
    """The amount against constants, some of which have more digits than amounts are kept with."""
    low, high = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(NUMBERS))
    a, b = (f"'{Decimal(n) * UNIT}'::DECIMAL(30, 6)" for n in (low, high))
    if shape == "amount":
        op = draw(st.sampled_from(COMPARISONS))
        return f"amount {op} {low}", f"units::DECIMAL(30, 6) {op} {a}"
    return f"amount between {low} and {high}", f"units::DECIMAL(30, 6) BETWEEN {a} AND {b}"


@st.composite
def text_filters(draw: st.DrawFn, shape: str) -> tuple[str, str]:
    """A text column against values, some of which never come; and whether a text is known."""
    if shape == "null":
        column, no = draw(st.sampled_from([spec.name for spec in TEXTS])), draw(st.sampled_from(["", "not "]))
        return f"{column} is {no}null", f"{known(column)} IS {no}NULL"
    column = draw(st.sampled_from(NAMES))
    chosen = draw(st.lists(st.sampled_from([*VALUES[column], "zz"]), min_size=1, max_size=3))
    quoted = ["'" + c.replace("'", "''") + "'" for c in chosen]
    one = f"{draw(st.sampled_from(['=', '<>']))} {quoted[0]}"
    asked = f"in ({', '.join(quoted)})" if shape == "in" else one
    return f"{column} {asked}", f"{known(column)} {asked}"


def known(column: str, table: str = "") -> str:
    """A text column as SQL has it: NULL where no lookup has one, which a key shows as the empty text."""
    return f"{table}{column}" if column in KEYS else f"nullif({table}{column}, '')"


@st.composite
def own_features(draw: st.DrawFn, *, whole: bool = False, last: bool = True) -> Aggregate:
    """A feature of a pattern's own, half of them with a filter; with `whole` rows also over windows, and spreads.

    Windows of the `last` transactions are among them, unless they are not wanted.
    """
    where, sql = draw(st.one_of(st.just(("", "")), filters()))
    windows = WINDOWS if last else [w for w in WINDOWS if "tr" not in w]
    within = draw(st.sampled_from(["", *windows])) if whole else ""
    conditions = ([f"({sql})"] if where else []) + ([inside(within)] if within else [])
    keep = (f" filter (where {where})" if where else "") + (f" within {within}" if within else "")
    keep_sql = f" FILTER (WHERE {' AND '.join(conditions)})" if conditions else ""
    kept = "" if not within else "transactions" if "tr" in within else "time"
    kind = draw(st.sampled_from(["count", "sum", "avg", "min", "max", "distinct", *(SPREADS if whole else ())]))
    if kind == "count":
        return Aggregate(f"count(*){keep}", f"count(*){keep_sql}", "int", within=kept)
    if kind == "distinct":
        column = draw(st.sampled_from(NAMES))
        text, counted = f"count(distinct {column})", f"count(distinct {known(column)})"
        return Aggregate(text + keep, counted + keep_sql, "int", within=kept)
    if kind == "avg":
        return Aggregate(f"avg(amount){keep}", average(keep_sql), "float", True, kept)
    if kind in SPREADS:
        name = draw(st.sampled_from(SPREADS[kind]))
        return Aggregate(f"{name}(amount){keep}", spread(kind, keep_sql), "float", True, kept)
    return Aggregate(f"{kind}(amount){keep}", f"{kind}(units){keep_sql}", "decimal", bool(conditions), kept)


def inside(window: str) -> str:
    """Which rows are in a window: `clock` is the clock of the stream, or the time of the row that is judged.

    `back` numbers the rows of a key from the last one.
    """
    number, unit = f"{window} steps".split()[:2]
    if unit.startswith("t"):
        return f"(back <= {number} AND time <= clock)"
    size = int(Decimal(number) * 1_000_000)
    return f"(time > clock - {size} AND time <= clock)"


class Grammar:
    """Draws the terms of one pattern. `thresholds` are those used so far."""

    def __init__(self, draw: st.DrawFn, per: tuple[str, ...], features: dict[str, Aggregate]) -> None:
        self.draw, self.per, self.features = draw, per, features
        self.thresholds: dict[str, str] = {}

    def pick(self, choices: Sequence[str]) -> str:
        """One of them."""
        return self.draw(st.sampled_from(choices))

    def one_of(self, *makers: Callable[[], Term]) -> Term:
        """What one of the makers makes."""
        return self.draw(st.sampled_from(makers))()

    def swapped(self, a: Term, b: Term) -> tuple[Term, Term]:
        """The two in either order."""
        return (a, b) if self.draw(st.booleans()) else (b, a)

    # names and numbers

    def name(self) -> Term:
        """A feature at the pattern's grain or a coarser one, or a lookup."""
        lookups = [s for s in LOOKUPS.values() if set(s.grain) <= set(self.per)]
        if lookups and self.pick(["lookup", "feature", "feature", "feature"]) == "lookup":
            spec = self.draw(st.sampled_from(lookups))
            qualified = len(spec.grain) == 1 and self.draw(st.booleans())
            return self.lookup(spec, f"{spec.grain[0]}." if qualified else "")
        return self.one_of(self.feature, self.coarse)

    def lookup(self, spec: LookupSpec, qualifier: str = "") -> Term:
        """A lookup, which may not be known."""
        text = qualifier + spec.name
        return Term(text, f'"{text}"', spec.kind, True, frozenset([text]))

    def feature(self, qualifier: str = "") -> Term:
        """A feature per the pattern's keys, or per the one of `qualifier`."""
        plain = self.pick([*self.features])
        feature, text = self.features[plain], qualifier + plain
        return Term(text, f'"{text}"', feature.kind, feature.nullable, frozenset([text]))

    def coarse(self) -> Term:
        """A feature of one of the pattern's keys."""
        return self.feature(f"{self.pick(self.per)}.")

    def rankable(self) -> Term:
        """A value per the pattern's keys."""
        lookups = [s for s in LOOKUPS.values() if s.grain == self.per]
        return self.one_of(self.feature, self.feature, *(lambda s=s: self.lookup(s) for s in lookups))

    def number(self, choices: Sequence[str] = NUMBERS) -> Term:
        """A constant, written out or as a threshold."""
        value = self.pick(choices)
        return constant(value, self.threshold(value))

    def threshold(self, value: str) -> str | None:
        """`:name` for the value, or None: it is to be written out."""
        if self.draw(st.integers(0, 3)):
            return None
        name = f"t{len(self.thresholds)}"
        self.thresholds[name] = value
        return f":{name}"

    # values

    def over(self) -> tuple[tuple[str, ...], str]:
        """Fewer keys than the pattern has, and a way to write them."""
        over = self.draw(st.sampled_from([k for n in range(len(self.per)) for k in combinations(self.per, n)]))
        listed = f"(partition by {', '.join(reversed(over))})" if over else "()"
        return over, over[0] if len(over) == 1 and self.draw(st.booleans()) else listed

    def ranked(self) -> Term:
        """A percent_rank."""
        return rank(self.rankable(), *self.over())

    def cut(self) -> Term:
        """A percentile_cont."""
        p = self.pick(SHARES)
        return quantile(p, self.threshold(p) or p, self.rankable(), *self.over())

    def value(self, depth: int) -> Term:
        """Any value."""
        inner = [self.calculation, self.calculation, self.absolute, self.minus, self.coalesce] if depth else []
        makers = [self.name] * 3 + [self.cut, self.ranked]
        return self.one_of(*makers, *(lambda f=f: f(depth - 1) for f in inner))

    def any_value(self, depth: int) -> Term:
        """A constant or a value."""
        return self.one_of(self.number, lambda: self.value(depth))

    def calculation(self, depth: int) -> Term:
        """Two values and an operator."""
        return calculated(self.pick("+-*/"), *self.swapped(self.value(depth), self.any_value(depth)))

    def absolute(self, depth: int) -> Term:
        """abs(x)."""
        x = self.value(depth)
        return join(f"abs({x.text})", f"abs({x.sql})", x.kind, x)

    def minus(self, depth: int) -> Term:
        """-x."""
        x = self.value(depth)
        return join(f"-({x.text})", f"(-({x.sql}))", x.kind, x)

    def coalesce(self, depth: int) -> Term:
        """coalesce(x, y)."""
        return coalesced(self.value(depth), self.any_value(depth))

    # conditions

    def when(self) -> Term:
        """A whole condition: a clause, a clause or more behind a gate, as patterns are, or anything."""
        return self.one_of(self.leaf, self.gated, self.gated, lambda: self.condition(3))

    def gated(self) -> Term:
        """A clause on a coarser key alone, and others."""
        gate = compared(self.pick(COMPARISONS), self.coarse(), self.number())
        clauses = self.both("and", *self.swapped(gate, self.leaf()))
        return self.both("and", clauses, self.condition(1)) if self.draw(st.booleans()) else clauses

    def both(self, op: str, left: Term, right: Term) -> Term:
        """The two joined by AND or OR; in parentheses, but for a chain of AND."""
        text = f"{left.text} {op} ({right.text})" if op == "and" else f"({left.text}) {op} ({right.text})"
        return join(text, f"({left.sql} {op} {right.sql})", "bool", left, right)

    def leaf(self) -> Term:
        """A condition that joins no others."""
        simple = [self.plain_clause] * 2 + [self.rank_clause] * 4 + [self.comparison] * 3
        return self.one_of(*simple, self.between, self.in_list, self.is_null, self.constant_clause)

    def condition(self, depth: int) -> Term:
        """Any condition."""
        inner = [lambda: self.joined(depth - 1)] * 5 + [lambda: self.negated(depth - 1)]
        return self.one_of(*([self.leaf] * 6), *(inner if depth else []))

    def joined(self, depth: int) -> Term:
        """AND or OR."""
        op, left, right = self.pick(["and", "or"]), self.condition(depth), self.condition(depth)
        return join(f"({left.text}) {op} ({right.text})", f"({left.sql} {op} {right.sql})", "bool", left, right)

    def negated(self, depth: int) -> Term:
        """NOT."""
        x = self.condition(depth)
        return join(f"not ({x.text})", f"(NOT {x.sql})", "bool", x)

    def plain_clause(self) -> Term:
        """A name against a constant."""
        return compared(self.pick(COMPARISONS), self.name(), self.number())

    def constant_clause(self) -> Term:
        """Two constants compared, as two thresholds may be."""
        return compared(self.pick(COMPARISONS), self.number(), self.number())

    def comparison(self) -> Term:
        """Two values compared."""
        return compared(self.pick(COMPARISONS), *self.swapped(self.value(2), self.any_value(1)))

    def rank_clause(self) -> Term:
        """The comparison that the engine keeps a cut-off for, with the constant on either side."""
        limit = self.number([*SHARES, *SHARES, *BEYOND])
        return compared(
            self.pick(["<", "<=", ">", ">=", "<", "<=", ">", ">=", "="]), *self.swapped(self.ranked(), limit)
        )

    def between(self) -> Term:
        """x [not] between low and high."""
        x, low, high, no = self.value(1), self.any_value(1), self.any_value(1), self.pick(["", "not "])
        inside = f"({compared('>=', x, low).sql} AND {compared('<=', x, high).sql})"
        return join(f"{x.text} {no}between {low.text} and {high.text}", f"({no}{inside})", "bool", x, low, high)

    def in_list(self) -> Term:
        """x [not] in (…)."""
        x, no = self.value(1), self.pick(["", "not "])
        choices = [self.any_value(0) for _ in range(self.draw(st.integers(1, 3)))]
        equal = " OR ".join(compared("=", x, c).sql for c in choices)
        return join(f"{x.text} {no}in ({', '.join(c.text for c in choices)})", f"({no}({equal}))", "bool", x, *choices)

    def is_null(self) -> Term:
        """x is [not] null."""
        x, no = self.value(1), self.pick(["", "not "])
        return join(f"{x.text} is {no}null", f"(({x.sql}) IS {no}NULL)", "bool", x)


_life: Mapping[str, st.SearchStrategy[str | bool]] = {
    "emit": st.sampled_from(["once", "on_enter", "every_chunk"]),
    "cleared": st.booleans(),
    "mode": st.sampled_from(["publish", "shadow"]),
}
drawn_lives: st.SearchStrategy[dict[str, str | bool]] = st.fixed_dictionaries({}, optional=_life)
"""What a pattern says of the life of its detections, in the words of its file."""


@st.composite
def drawn_patterns(draw: st.DrawFn) -> Drawn:
    """A pattern of one to four keys; every third sees only some of the rows."""
    per = draw(st.sampled_from([k for n in (1, 2, 2, 2, 3, 4) for k in combinations(draw(_keys), n)]))
    own = {f"f{i}": feature for i, feature in enumerate(draw(st.lists(own_features(), max_size=3)))}
    grammar = Grammar(draw, per, {**BUILT_IN, **own})
    when = grammar.when()
    where = draw(st.one_of(st.none(), st.none(), filters()))
    return Drawn(per, grammar.features, grammar.thresholds, when, where=where, life=draw(drawn_lives))


_keys = st.sampled_from([KEYS, KEYS, NAMES, (*KEYS[:2], *NAMES[len(KEYS) :])])
_rows = st.tuples(*(st.sampled_from(VALUES[k]) for k in KEYS), st.sampled_from(AMOUNTS))
_pairs = st.tuples(st.sampled_from(VALUES["customer"]), st.sampled_from(VALUES["merchant"]))
_places = st.tuples(st.sampled_from(VALUES["merchant"]), st.sampled_from(VALUES["device"]))
drawn_lookups = st.fixed_dictionaries(
    {
        LOOKUPS["importance"]: st.dictionaries(_pairs, st.sampled_from([0.5, 1.0, 2.5, 7 / 3]), max_size=15),
        LOOKUPS["risk"]: st.dictionaries(
            _pairs.map(lambda p: p[:1]), st.sampled_from([-15000, 0, 5000, 20001]), max_size=6
        ),
        LOOKUPS["visits"]: st.dictionaries(_pairs, st.integers(0, 3), max_size=15),
        LOOKUPS["trust"]: st.dictionaries(_places, st.integers(0, 3), max_size=6),
        LOOKUPS["budget"]: st.dictionaries(st.tuples(st.sampled_from(["gold", "new"])), st.integers(0, 50_000)),
        TEXTS[0]: st.dictionaries(_pairs.map(lambda p: p[:1]), st.sampled_from(VALUES["segment"]), max_size=7),
        TEXTS[1]: st.dictionaries(_places, st.sampled_from(VALUES["area"]), max_size=6),
    }
)


@st.composite
def drawn_streams(draw: st.DrawFn) -> list[list[Row]]:
    """Rows cut into chunks of one size."""
    few, many = st.lists(_rows, min_size=1, max_size=10), st.lists(_rows, min_size=25, max_size=50)
    data, size = draw(st.one_of(few, many, many)), draw(st.sampled_from([1, 1, 2, 3, 5, 8, 20, 50]))
    return [data[i : i + size] for i in range(0, len(data), size)]
