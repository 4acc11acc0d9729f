"""From patterns and features to a program: which tables are kept, what is added to them, what is judged.

The program is data only. The engine runs it; the state store makes its tables from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tillwatch.errors import PatternError
from tillwatch.patterns.expression import (
    Absolute,
    And,
    Arithmetic,
    Coalesce,
    Compare,
    Expr,
    ExpressionError,
    IsNull,
    Name,
    Not,
    Number,
    Or,
    PercentileCont,
    PercentRank,
    Text,
    Truth,
    conjuncts,
    walk,
)
from tillwatch.patterns.features import TEXT_COLUMNS, Feature
from tillwatch.patterns.mistakes import meant, near, raise_all
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.shown import show

Grain = tuple[str, ...]
"""Key columns, in the order of TEXT_COLUMNS; the empty grain is the whole stream."""

ValueKind = Literal["int", "decimal", "float", "bool"]
Op = Literal["count", "sum", "min", "max", "distinct"]


@dataclass(frozen=True, slots=True)
class Accumulator:
    """One integer column of a table.

    `name` is its column name; sums, minima and maxima are of scaled integers. For `distinct`, `child` is the
    finer grain and `counter` the count there whose first rise above zero adds one here.
    """

    name: str
    op: Op
    column: str | None = None
    where: Expr | None = None
    child: Grain = ()
    counter: str = ""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What is kept per key of a grain. The first accumulator is always `transactions`, the count of all rows."""

    grain: Grain
    accumulators: tuple[Accumulator, ...]
    lookups: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The table's name in state stores.

        >>> TableSpec(("customer", "merchant"), ()).name
        'customer_merchant'
        """
        return "_".join(self.grain) or "stream"


@dataclass(frozen=True, slots=True)
class LookupSpec:
    """A lookup's feature: its name, the keys it is known by, and the kind of its value."""

    name: str
    grain: Grain
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Use:
    """A feature at a grain, as a pattern uses it.

    `parts` are the accumulators it is made of, empty for a lookup. A second part is a count: the divisor of an
    average, and where it is 0 the feature is unknown, as SQL's aggregates over no rows are.
    """

    label: str
    grain: Grain
    kind: ValueKind
    parts: tuple[str, ...]
    lookup: str | None = None
    average: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A pattern with every name resolved. `uses` maps a name as written to the feature meant.

    `place` is its place among the patterns configured with it. It is in force from chunk `first` to before `until`.
    """

    pattern: Pattern
    per: Grain
    tree: Expr
    uses: Mapping[str, Use]
    partition: Grain
    place: int = 0
    first: int = 0
    until: int | None = None

    def judges(self, chunk: int) -> bool:
        """Whether it is in force at a chunk."""
        return self.first <= chunk and (self.until is None or chunk < self.until)

    def begins(self, chunk: int) -> bool:
        """Whether it comes into force at a chunk, with others before it: then it is judged for all keys."""
        return 0 < self.first == chunk


@dataclass(frozen=True, slots=True)
class Program:
    """Everything the engine needs to know. `digits` are the fraction digits of scaled amounts."""

    plans: tuple[Plan, ...]
    tables: tuple[TableSpec, ...]
    features: Mapping[str, Feature]
    lookups: Mapping[str, LookupSpec]
    digits: int

    @property
    def columns(self) -> set[str]:
        """The mapped columns that must be in the rows."""
        needed = {"customer", "merchant", "amount"}
        for table in self.tables:
            needed.update(table.grain)
            for acc in table.accumulators:
                needed.update({acc.column} if acc.column else set())
                needed.update(n.name for n in walk(acc.where) if isinstance(n, Name)) if acc.where else None
        return needed


def grain_of(keys: Sequence[str]) -> Grain:
    """Keys in the one order that grains have.

    >>> grain_of(["merchant", "customer"])
    ('customer', 'merchant')
    """
    return tuple(c for c in TEXT_COLUMNS if c in keys)


def partition_key(per: Grain, uses: Mapping[str, Use], tree: Expr) -> Grain:
    """The keys by which the state of a pattern can be split: those common to every grain it reads."""
    grains = [per, *(u.grain for u in uses.values())]
    grains += [grain_of(n.over) for n in walk(tree) if isinstance(n, PercentRank | PercentileCont)]
    return tuple(key for key in per if all(key in g for g in grains))


class Compiler:
    """Resolves patterns one by one and collects the tables they need."""

    def __init__(self, features: Mapping[str, Feature], lookups: Mapping[str, LookupSpec], digits: int) -> None:
        self.features = features
        self.lookups = lookups
        self.digits = digits
        self.tables: dict[Grain, dict[str, Accumulator]] = {}
        self.joined: dict[Grain, list[str]] = {}

    def program(self, patterns: Sequence[Pattern]) -> Program:
        """The program of these patterns. Raises PatternError with the pattern's file and line."""
        return self.of(self.plans(patterns))

    def of(self, plans: Sequence[Plan]) -> Program:
        """The program of plans that this compiler has made."""
        self._check_columns()
        tables = tuple(
            TableSpec(g, tuple(accs.values()), tuple(self.joined.get(g, ())))
            for g, accs in sorted(self.tables.items(), key=lambda item: (-len(item[0]), item[0]))
        )
        return Program(tuple(plans), tables, dict(self.features), dict(self.lookups), self.digits)

    def _check_columns(self) -> None:
        """A lookup is a column beside the counters of its table; SQL does not tell names apart by case."""
        for grain, names in self.joined.items():
            taken = {name.lower() for name in self.tables[grain]}
            for name in names:
                if name.lower() in taken:
                    raise PatternError(f"the lookup '{name}' has the name of a counter of the state: rename it")

    def plans(self, patterns: Sequence[Pattern]) -> list[Plan]:
        """The plans of these patterns, with what they need added to the tables. Raises PatternError."""
        plans, problems = [], []
        for place, pattern in enumerate(patterns):
            try:
                plans.append(self._plan(pattern, place))
            except PatternError as error:
                problems.append(str(error))
        if problems:
            raise PatternError("\n".join(problems))
        return plans

    def _plan(self, pattern: Pattern, place: int) -> Plan:
        per = grain_of(pattern.per)
        features = {**self.features, **pattern.features}
        try:
            if clash := sorted(set(pattern.features) & set(self.lookups)):
                raise ExpressionError(f"its feature '{clash[0]}' has the name of a lookup: rename one of them")
            uses = self._resolve(pattern, per, features)
            _check_kinds(pattern.tree, uses)
        except ExpressionError as error:
            raise pattern.error(error) from None
        self._table(per)
        return Plan(pattern, per, pattern.tree, uses, partition_key(per, uses, pattern.tree), place)

    def _resolve(self, pattern: Pattern, per: Grain, features: Mapping[str, Feature]) -> dict[str, Use]:
        uses: dict[str, Use] = {}
        problems: list[ExpressionError] = []
        for node in walk(pattern.tree):
            try:
                if isinstance(node, Name):
                    uses[str(node)] = self._use(node, per, features)
            except ExpressionError as error:
                problems.append(error)
        for node in walk(pattern.tree):
            try:
                if isinstance(node, PercentRank | PercentileCont) and str(node.x) in uses:
                    self._check_over(node, per, uses[str(node.x)])
            except ExpressionError as error:
                problems.append(error)
        raise_all(problems)
        return uses

    def _use(self, name: Name, per: Grain, features: Mapping[str, Feature]) -> Use:
        if name.name in self.lookups:
            return self._lookup_use(name, per)
        grain = per if name.qualifier is None else grain_of((name.qualifier,))
        if name.qualifier is not None and name.qualifier not in per:
            raise ExpressionError(
                f"'{name}': '{name.qualifier}' is not a key of this pattern{meant(name.qualifier, per)} "
                f"(per: {', '.join(per)})",
                name.start,
            )
        feature = features.get(name.name)
        if feature is None:
            raise ExpressionError(self._unknown(name, features), name.start)
        parts = self._parts(grain, feature)
        return Use(str(name), grain, _feature_kind(feature), parts, average=feature.kind == "avg")

    def _lookup_use(self, name: Name, per: Grain) -> Use:
        spec = self.lookups[name.name]
        if not set(spec.grain) <= set(per):
            raise ExpressionError(
                f"the lookup '{name}' is known per {', '.join(spec.grain)}, the pattern is per {', '.join(per)}",
                name.start,
            )
        if name.qualifier is not None and (name.qualifier,) != spec.grain:
            raise ExpressionError(f"the lookup is written '{name.name}', without '{name.qualifier}.'", name.start)
        self._table(spec.grain)
        if spec.name.lower() in ("id", *spec.grain):
            raise ExpressionError(f"a lookup cannot be called '{spec.name}': the state has a column of that name")
        if spec.name not in self.joined.setdefault(spec.grain, []):
            self.joined[spec.grain].append(spec.name)
        return Use(str(name), spec.grain, spec.kind, (), spec.name)

    def _unknown(self, name: Name, features: Mapping[str, Feature]) -> str:
        known = sorted({*features, *self.lookups})
        return f"'{name}' is not a declared feature or lookup; {near(name.name, known)}declared are {', '.join(known)}"

    def _check_over(self, node: PercentRank | PercentileCont, per: Grain, x: Use) -> None:
        what = "percent_rank" if isinstance(node, PercentRank) else "percentile_cont"
        unknown = [k for k in node.over if k not in per]
        if unknown or len(grain_of(node.over)) >= len(per):
            raise ExpressionError(
                f"{what} … over {', '.join(node.over) or '()'}: {''.join(near(k, per) for k in unknown)}rank among "
                "fewer keys than the pattern has "
                f"(per: {', '.join(per)})",
                node.start,
            )
        if x.grain != per:
            raise ExpressionError(f"{what} ranks a value per {', '.join(per)}; '{x.label}' is not", node.start)
        self._table(grain_of(node.over))

    def _table(self, grain: Grain) -> dict[str, Accumulator]:
        count = Accumulator("transactions", "count")
        return self.tables.setdefault(grain, {count.name: count})

    def _parts(self, grain: Grain, feature: Feature) -> tuple[str, ...]:
        if feature.kind == "avg" or (feature.kind in ("sum", "min", "max") and feature.where is not None):
            op: Op = "sum" if feature.kind == "avg" else feature.kind
            value = self._accumulator(grain, op, feature.column, feature.where)
            return (value, self._accumulator(grain, "count", None, feature.where))
        if feature.kind == "distinct":
            assert feature.column is not None
            child = grain_of((*grain, feature.column))
            counter = self._accumulator(child, "count", None, feature.where)
            return (self._accumulator(grain, "distinct", feature.column, feature.where, child, counter),)
        return (self._accumulator(grain, feature.kind, feature.column, feature.where),)

    def _accumulator(
        self,
        grain: Grain,
        op: Op,
        column: str | None,
        where: Expr | None,
        child: Grain = (),
        counter: str = "",
    ) -> str:
        table = self._table(grain)
        same = next((a for a in table.values() if (a.op, a.column, a.where) == (op, column, plain_filter(where))), None)
        if same:
            return same.name
        name = _free_name(_accumulator_name(op, column, where), table)
        table[name] = Accumulator(name, op, column, plain_filter(where), child, counter)
        return name


def plain_filter(where: Expr | None) -> Expr | None:
    """The filter without the places of its names, so that equal filters are equal."""
    match where:
        case Compare(op=op, left=Name(name=name), right=right):
            return Compare(op, Name(name), right)
        case And(left=left, right=right):
            return And(plain_filter(left) or left, plain_filter(right) or right)
        case Or(left=left, right=right):
            return Or(plain_filter(left) or left, plain_filter(right) or right)
        case Not(x=x):
            return Not(plain_filter(x) or x)
        case _:
            return where


def _accumulator_name(op: Op, column: str | None, where: Expr | None) -> str:
    base = {
        "count": "transactions",
        "sum": f"sum_{column}",
        "min": f"min_{column}",
        "max": f"max_{column}",
    }.get(op, f"distinct_{column}")
    if where is None:
        return base
    words = re.findall(r"[a-z0-9]+", show(where).lower())
    return "_".join([base, "where", *words])[:60]


def _free_name(name: str, taken: Mapping[str, Accumulator]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _feature_kind(feature: Feature) -> ValueKind:
    kinds: dict[str, ValueKind] = {"count": "int", "distinct": "int", "avg": "float"}
    return kinds.get(feature.kind, "decimal")


def _check_kinds(tree: Expr, uses: Mapping[str, Use]) -> None:
    """`when` is a condition, and so is every clause of it. Raises ExpressionError."""
    if not isinstance(tree, And):
        if _kind(tree, uses) != "bool":
            raise ExpressionError(f"'when' must be a condition, found the value '{show(tree)}'")
        return
    problems: list[ExpressionError] = []
    for clause in conjuncts(tree):
        try:
            _expect(clause, uses, condition=True)
        except ExpressionError as error:
            problems.append(error)
    raise_all(problems)


def _kind(tree: Expr, uses: Mapping[str, Use]) -> ValueKind:
    """The kind of value an expression has. Raises ExpressionError when kinds do not fit."""
    match tree:
        case Number() | Arithmetic() | Absolute() | Coalesce():
            for part in [*_parts_of(tree)]:
                _expect(part, uses, condition=False)
            return "float"
        case Text():
            raise ExpressionError(f"text such as {show(tree)} can be used in a feature's filter, not in 'when'")
        case Name():
            return uses[str(tree)].kind
        case PercentRank() | PercentileCont():
            return "float"
        case Truth():
            return "bool"
        case Compare(left=left, right=right):
            _expect(left, uses, condition=False)
            _expect(right, uses, condition=False)
        case And(left=left, right=right) | Or(left=left, right=right):
            _expect(left, uses, condition=True)
            _expect(right, uses, condition=True)
        case Not(x=x):
            _expect(x, uses, condition=True)
        case IsNull(x=x):
            _expect(x, uses, condition=False)
    return "bool"


def _parts_of(tree: Expr) -> tuple[Expr, ...]:
    match tree:
        case Arithmetic(left=left, right=right):
            return (left, right)
        case Absolute(x=x):
            return (x,)
        case Coalesce(x=x, otherwise=otherwise):
            return (x, otherwise)
        case _:
            return ()


def _expect(tree: Expr, uses: Mapping[str, Use], *, condition: bool) -> None:
    if (_kind(tree, uses) == "bool") != condition:
        found, wanted = ("a value", "a condition") if condition else ("a condition", "a value")
        raise ExpressionError(f"'{show(tree)}' is {found} where {wanted} is expected", _start(tree))


def _start(tree: Expr) -> int | None:
    return next((n.start for n in walk(tree) if isinstance(n, Name | PercentRank | PercentileCont)), None)
