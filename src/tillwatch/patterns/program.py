"""A program: which tables are kept, what is added to them, what is judged.

It is data only, made by the compiler. The engine runs it; the state store makes its tables from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.expression import (
    Expr,
    PercentileCont,
    PercentRank,
)
from tillwatch.patterns.features import Feature, Spread, columns_in
from tillwatch.patterns.kinds import ValueKind
from tillwatch.patterns.names import table_name
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.windows import Window, WindowKind, kind_of

Grain = tuple[str, ...]
"""Key columns, in the order of the program's; the empty grain is the whole stream."""

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
        return table_name(self.grain)


@dataclass(frozen=True, slots=True)
class LookupSpec:
    """What a lookup gives: its name, the keys it is known by, and the kind of its value.

    A number is a feature of the keys. A `text` is a column of every row. A `bool` only says which keys there are.
    """

    name: str
    grain: Grain
    kind: ValueKind

    @property
    def is_feature(self) -> bool:
        """Whether conditions can use its value."""
        return self.kind not in ("text", "bool")


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
    `present` is the counter of the pattern's table that says by being above zero that the pattern has the key.
    """

    pattern: Pattern
    per: Grain
    tree: Expr
    uses: Mapping[str, Use]
    partition: Grain
    place: int = 0
    first: int = 0
    until: int | None = None
    present: str = "transactions"

    def over(self, node: PercentRank | PercentileCont) -> Grain:
        """The keys that a rank is among, in the order of grains: they are some of the pattern's."""
        return tuple(key for key in self.per if key in node.over)

    def judges(self, chunk: int) -> bool:
        """Whether it is in force at a chunk."""
        return self.first <= chunk and (self.until is None or chunk < self.until)

    def begins(self, chunk: int) -> bool:
        """Whether it comes into force at a chunk, with others before it: then it is judged for all keys."""
        return 0 < self.first == chunk


@dataclass(frozen=True, slots=True)
class Program:
    """Everything the engine needs to know. `digits` are the fraction digits of scaled amounts.

    `keys` are the text columns that are mapped, in the order that they have in every grain.
    """

    plans: tuple[Plan, ...]
    tables: tuple[TableSpec, ...]
    features: Mapping[str, Feature]
    lookups: Mapping[str, LookupSpec]
    digits: int
    keys: Grain = STANDARD_KEYS

    @property
    def columns(self) -> set[str]:
        """The mapped columns that must be in the rows."""
        needed = {
            "amount",
            *(u.column for p in self.plans for u in p.uses.values() if u.column),
        }
        for table in self.tables:
            needed.update(table.grain)
        for acc in self.accumulators:
            needed.update({acc.column} if acc.column else set(), columns_in(acc.where))
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


def grain_of(keys: Collection[str], order: Sequence[str] = STANDARD_KEYS) -> Grain:
    """Keys in the one order that grains have.

    >>> grain_of(["merchant", "customer"])
    ('customer', 'merchant')
    """
    return tuple(c for c in order if c in keys)
