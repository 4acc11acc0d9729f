"""From patterns and features to a program: which tables are kept, what is added to them, what is judged.

The program is data only. The engine runs it; the state store makes its tables from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tillwatch.errors import PatternError
from tillwatch.patterns.expression import (
    And,
    Compare,
    Expr,
    ExpressionError,
    Name,
    Not,
    Or,
    PercentileCont,
    PercentRank,
    walk,
)
from tillwatch.patterns.features import GRAIN_ORDER, NUMBER_COLUMNS, SPREADS, TEXT_COLUMNS, Feature, Spread
from tillwatch.patterns.kinds import ValueKind, check_kinds, feature_kind
from tillwatch.patterns.mistakes import meant, near, raise_all
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.shown import show
from tillwatch.patterns.windows import Window, WindowKind, kind_of

Grain = tuple[str, ...]
"""Key columns, in the order of GRAIN_ORDER; the empty grain is the whole stream."""

Op = Literal["count", "sum", "min", "max", "distinct", "square_0", "square_1", "square_2"]
SQUARES: tuple[Op, ...] = ("square_0", "square_1", "square_2")
"""The sum of the squares of scaled integers, in three columns, lowest digits first: see `engine.squares`."""


@dataclass(frozen=True, slots=True)
class Accumulator:
    """One integer column of a table.

    `name` is its column name; sums, minima and maxima are of scaled integers. For `distinct`, `child` is the
    finer grain and `counter` the count there whose first rise above zero adds one here. Rows that leave the
    `window` are taken back.
    """

    name: str
    op: Op
    column: str | None = None
    where: Expr | None = None
    child: Grain = ()
    counter: str = ""
    window: Window | None = None

    @property
    def last(self) -> bool:
        """Whether it is over the last transactions of a key, and not over time."""
        return self.window is not None and self.window.kind == "transactions"


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
    average, and where it is 0 the feature is unknown, as SQL's aggregates over no rows are. A `spread` is made of a
    sum, a count and a sum of squares. `passing` are the parts of a window before a transaction, which no table keeps.
    A `column` is one of the transaction itself.
    """

    label: str
    grain: Grain
    kind: ValueKind
    parts: tuple[str, ...]
    lookup: str | None = None
    average: bool = False
    spread: Spread | None = None
    passing: tuple[Accumulator, ...] = ()
    column: str | None = None


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
        needed = {
            "customer",
            "merchant",
            "amount",
            *(u.column for p in self.plans for u in p.uses.values() if u.column),
        }
        for table in self.tables:
            needed.update(table.grain)
        for acc in self.accumulators:
            needed.update({acc.column} if acc.column else set())
            needed.update(n.name for n in walk(acc.where) if isinstance(n, Name)) if acc.where else None
        return needed | ({"time"} if self.windows else set())

    @property
    def accumulators(self) -> list[Accumulator]:
        """All there are, also those that no table keeps."""
        kept = [a for t in self.tables for a in t.accumulators]
        return kept + [a for p in self.plans for u in p.uses.values() for a in u.passing]

    @property
    def windows(self) -> list[Window]:
        """Those of all accumulators."""
        return [a.window for a in self.accumulators if a.window is not None]

    @property
    def time_kind(self) -> WindowKind | None:
        """What the time column must hold; None when no window says so."""
        return kind_of(self.windows)

    @property
    def whole_rows(self) -> bool:
        """Whether sums over a chunk do not do, so that every row of it is needed, in its order."""
        judged = any(p.pattern.judge == "transaction" for p in self.plans)
        apart = any("amount" in t.grain for t in self.tables) or any(a.op in SQUARES for a in self.accumulators)
        return judged or apart or bool(self.windows)


def grain_of(keys: Sequence[str]) -> Grain:
    """Keys in the one order that grains have.

    >>> grain_of(["merchant", "customer"])
    ('customer', 'merchant')
    """
    return tuple(c for c in GRAIN_ORDER if c in keys)


def partition_key(per: Grain, uses: Mapping[str, Use], tree: Expr) -> Grain:
    """The keys by which the state of a pattern can be split: those common to every grain it reads."""
    grains = [per, *(u.grain for u in uses.values() if u.column is None)]
    grains += [grain_of(n.over) for n in walk(tree) if isinstance(n, PercentRank | PercentileCont)]
    return tuple(key for key in per if key in TEXT_COLUMNS and all(key in g for g in grains))


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
        program = Program(tuple(plans), tables, dict(self.features), dict(self.lookups), self.digits)
        try:
            kind_of(program.windows)
        except ValueError as error:
            raise PatternError(f"windows of the patterns: {error}") from None
        return program

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
            check_kinds(pattern.tree, uses)
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
                    uses[str(node)] = self._use(node, pattern, per, features)
            except ExpressionError as error:
                problems.append(error)
        for node in walk(pattern.tree):
            try:
                if isinstance(node, PercentRank | PercentileCont) and str(node.x) in uses:
                    self._check_over(node, pattern, per, uses[str(node.x)])
            except ExpressionError as error:
                problems.append(error)
        raise_all(problems)
        return uses

    def _use(self, name: Name, pattern: Pattern, per: Grain, features: Mapping[str, Feature]) -> Use:
        if pattern.judge == "transaction" and name.qualifier is None and name.name in (*TEXT_COLUMNS, *NUMBER_COLUMNS):
            return self._column_use(name, features)
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
        spread = feature.kind if feature.kind in SPREADS else None
        made = Use(str(name), grain, feature_kind(feature), (), None, feature.kind == "avg", spread)
        if pattern.judge == "transaction" and feature.window is not None:
            self._table(grain)
            return replace(made, passing=_passing(feature))
        return replace(made, parts=self._parts(grain, feature, before=pattern.judge == "transaction"))

    def _column_use(self, name: Name, features: Mapping[str, Feature]) -> Use:
        """A column of the transaction that is judged."""
        if name.name in features or name.name in self.lookups:
            raise ExpressionError(
                f"'{name}' is a column of the transaction and also the name of a feature or lookup: rename that",
                name.start,
            )
        kind: ValueKind = "text" if name.name in TEXT_COLUMNS else "decimal"
        return Use(str(name), (), kind, (), column=name.name)

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

    def _check_over(self, node: PercentRank | PercentileCont, pattern: Pattern, per: Grain, x: Use) -> None:
        what = "percent_rank" if isinstance(node, PercentRank) else "percentile_cont"
        if pattern.judge == "transaction":
            raise ExpressionError(
                f"{what} cannot be used in a pattern judged on transactions: ranks are kept after every chunk, not "
                "before every row. Use a threshold, or 'judge: chunk'",
                node.start,
            )
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

    def _parts(self, grain: Grain, feature: Feature, *, before: bool) -> tuple[str, ...]:
        """The accumulators of a feature; `before` a key's first row, what is not a count is unknown."""
        if feature.kind == "distinct" and not (feature.window and feature.window.kind == "transactions"):
            assert feature.column is not None
            child = grain_of((*grain, feature.column))
            counter = self._accumulator(child, Accumulator("", "count", None, feature.where, window=feature.window))
            (distinct,) = _made_of(feature, before=before)
            return (self._accumulator(grain, replace(distinct, child=child, counter=counter)),)
        return tuple(self._accumulator(grain, acc) for acc in _made_of(feature, before=before))

    def _accumulator(self, grain: Grain, wanted: Accumulator) -> str:
        table = self._table(grain)
        wanted = replace(wanted, where=plain_filter(wanted.where))
        same = next((a for a in table.values() if replace(a, name="") == wanted), None)
        if same:
            return same.name
        name = _free_name(_accumulator_name(wanted), table)
        table[name] = replace(wanted, name=name)
        return name


def _made_of(feature: Feature, *, before: bool) -> list[Accumulator]:
    """The accumulators that a feature is made of, without names."""
    spread = feature.kind in SPREADS
    own: Op = "sum" if feature.kind == "avg" or spread else feature.kind  # type: ignore[assignment]
    counted = feature.kind == "avg" or spread or feature.where is not None or feature.window is not None or before
    ops: list[Op] = [own]
    if counted and feature.kind not in ("count", "distinct"):
        ops += ["count", *(SQUARES if spread else ())]
    return [
        Accumulator("", op, None if op == "count" else feature.column, feature.where, window=feature.window)
        for op in ops
    ]


def _passing(feature: Feature) -> tuple[Accumulator, ...]:
    """The accumulators of a window before a transaction."""
    return tuple(replace(acc, where=plain_filter(acc.where)) for acc in _made_of(feature, before=True))


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


def _accumulator_name(acc: Accumulator) -> str:
    base = "transactions" if acc.op == "count" else f"{acc.op}_{acc.column}"
    words = ["where", *re.findall(r"[a-z0-9]+", show(acc.where).lower())] if acc.where is not None else []
    within = ["within", *re.findall(r"[a-z0-9]+", acc.window.text.lower())] if acc.window is not None else []
    return "_".join(["_".join([base, *words])[: 60 if not within else 40], *within])


def _free_name(name: str, taken: Mapping[str, Accumulator]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free
