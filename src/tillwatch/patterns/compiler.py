"""From patterns and features to a program: every name resolved, and the tables collected that it takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tillwatch.errors import PatternError
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.expression import And, Expr, ExpressionError, Name, PercentileCont, PercentRank, walk
from tillwatch.patterns.features import (
    NUMBER_COLUMNS,
    SPREADS,
    Feature,
    check_nulls,
    columns_in,
    columns_of,
    grain_order,
    of_known,
    plain_filter,
)
from tillwatch.patterns.kinds import ValueKind, check_kinds, feature_kind
from tillwatch.patterns.mistakes import meant, near, raise_all
from tillwatch.patterns.names import check_names
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import (
    SQUARES,
    Accumulator,
    Grain,
    LookupSpec,
    Op,
    Plan,
    Program,
    TableSpec,
    Use,
    grain_of,
)
from tillwatch.patterns.shown import show
from tillwatch.patterns.windows import kind_of


def partition_key(per: Grain, uses: Mapping[str, Use], tree: Expr) -> Grain:
    """The keys by which the state of a pattern can be split: those common to every grain it reads."""
    grains = [per, *(u.grain for u in uses.values() if u.column is None)]
    grains += [n.over for n in walk(tree) if isinstance(n, PercentRank | PercentileCont)]
    return tuple(key for key in per if key != "amount" and all(key in g for g in grains))


class Compiler:
    """Resolves patterns one by one and collects the tables they need.

    `keys` are the text columns that are mapped, in the order that they have in every grain; those that lookups bring
    are among them.
    """

    def __init__(
        self,
        features: Mapping[str, Feature],
        lookups: Mapping[str, LookupSpec],
        digits: int,
        keys: Sequence[str] = STANDARD_KEYS,
    ) -> None:
        self.features = features
        self.lookups = lookups
        self.digits = digits
        self.keys = tuple(keys)
        self.order = grain_order(keys)
        self._own = [key for key in keys if key not in STANDARD_KEYS]
        self._joined_texts = {name for name, spec in lookups.items() if spec.kind == "text"}
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
        check_names({table.grain: table.name for table in tables})
        program = Program(tuple(plans), tables, dict(self.features), dict(self.lookups), self.digits, self.keys)
        try:
            kind_of(program.windows)
        except ValueError as error:
            raise PatternError(f"windows of the patterns: {error}") from None
        return program

    def _check_columns(self) -> None:
        """Keys and lookups are columns beside the counters of their table; SQL does not tell names apart by case."""
        for grain, counters in self.tables.items():
            taken = {name.lower() for name in counters}
            for what, name in [("lookup", n) for n in self.joined.get(grain, ())] + [("column", k) for k in grain]:
                if name.lower() in taken:
                    raise PatternError(f"the {what} '{name}' has the name of a counter of the state: rename it")

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
        features = {n: narrowed(f, pattern.where) for n, f in {**self.features, **pattern.features}.items()}
        try:
            self._check_mapped("the pattern", {*pattern.per, *columns_in(pattern.where)})
            per = grain_of(pattern.per, self.order)
            if clash := sorted(set(pattern.features) & {*self.lookups, *self._own}):
                raise ExpressionError(
                    f"its feature '{clash[0]}' has the name of a lookup or column: rename one of them"
                )
            check_nulls(pattern.where, self.keys, self._joined_texts)
            uses = self._resolve(pattern, per, features)
            check_kinds(pattern.tree, uses)
            check_nulls(
                pattern.tree,
                [name for name, use in uses.items() if use.column and use.kind == "text"],
                self._joined_texts,
            )
        except ExpressionError as error:
            raise pattern.error(error) from None
        self._table(per)
        present = self._accumulator(per, Accumulator("", "count", None, pattern.where))
        partition = partition_key(per, uses, pattern.tree)
        return Plan(pattern, per, pattern.tree, uses, partition, place, present=present)

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
        if pattern.judge == "transaction" and name.qualifier is None and name.name in (*self.keys, *NUMBER_COLUMNS):
            return self._column_use(name, features)
        if name.name in self.lookups:
            self._check_feature(name)
            return self._lookup_use(name, per)
        grain = per if name.qualifier is None else (name.qualifier,)
        if name.qualifier is not None and name.qualifier not in per:
            raise ExpressionError(
                f"'{name}': '{name.qualifier}' is not a key of this pattern{meant(name.qualifier, per)} "
                f"(per: {', '.join(per)})",
                name.start,
            )
        feature = features.get(name.name)
        if feature is None:
            raise ExpressionError(self._unknown(name, features), name.start)
        self._check_mapped(f"'{name}'", columns_of(feature), name.start)
        check_nulls(feature.where, self.keys, self._joined_texts)
        feature = of_known(feature, self._joined_texts)
        spread = feature.kind if feature.kind in SPREADS else None
        made = Use(str(name), grain, feature_kind(feature), (), None, feature.kind == "avg", spread)
        if pattern.judge == "transaction" and feature.window is not None:
            self._table(grain)
            return replace(made, passing=_passing(feature))
        return replace(made, parts=self._parts(grain, feature, before=pattern.judge == "transaction"))

    def _column_use(self, name: Name, features: Mapping[str, Feature]) -> Use:
        """A column of the transaction that is judged."""
        if name.name in features or name.name in set(self.lookups) - self._joined_texts:
            raise ExpressionError(
                f"'{name}' is a column of the transaction and also the name of a feature or lookup: rename that",
                name.start,
            )
        kind: ValueKind = "text" if name.name in self.keys else "decimal"
        return Use(str(name), (), kind, (), column=name.name)

    def _check_feature(self, name: Name) -> None:
        if name.name in self._joined_texts:
            raise ExpressionError(
                f"'{name}' is a text of every row: use it in filters, under per, or with judge: transaction. For a "
                f"number, lookups.{name.name}.value has to be an aggregate such as avg(Weight)",
                name.start,
            )

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

    def _check_mapped(self, what: str, columns: Collection[str], start: int | None = None) -> None:
        if missing := sorted(set(columns) - {*self.keys, "amount"}):
            raise ExpressionError(
                f"{what} needs the column {missing[0]}, which is not mapped: say under columns.{missing[0]} of the "
                "configuration which column of the source holds it",
                start,
            )

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
        if unknown or len(set(node.over)) >= len(per):
            raise ExpressionError(
                f"{what} … over {', '.join(node.over) or '()'}: {''.join(near(k, per) for k in unknown)}rank among "
                "fewer keys than the pattern has "
                f"(per: {', '.join(per)})",
                node.start,
            )
        if x.grain != per:
            raise ExpressionError(f"{what} ranks a value per {', '.join(per)}; '{x.label}' is not", node.start)
        self._table(grain_of(node.over, self.order))

    def _table(self, grain: Grain) -> dict[str, Accumulator]:
        count = Accumulator("transactions", "count")
        return self.tables.setdefault(grain, {count.name: count})

    def _parts(self, grain: Grain, feature: Feature, *, before: bool) -> tuple[str, ...]:
        """The accumulators of a feature; `before` a key's first row, what is not a count is unknown."""
        if feature.kind == "distinct" and not (feature.window and feature.window.kind == "transactions"):
            assert feature.column is not None
            child = grain_of((*grain, feature.column), self.order)
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


def narrowed(feature: Feature, where: Expr | None) -> Feature:
    """The feature over those rows only that pass `where` too."""
    if where is None:
        return feature
    same = feature.where is None or plain_filter(feature.where) == plain_filter(where)
    return replace(feature, where=where if same or feature.where is None else And(where, feature.where))


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
