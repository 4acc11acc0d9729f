"""How a program is divided: groups of patterns that share a key, and shards of the values of that key.

A pattern's state can be split by its partition key. Patterns whose partition keys have something in common are one
group, split by that; a pattern that ranks over the whole stream cannot be split, and is a group of one shard.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tillwatch.engine.fold import PUNCTUAL
from tillwatch.engine.late import Lateness
from tillwatch.engine.lookup import Lookup
from tillwatch.patterns.expression import PercentileCont, PercentRank, walk
from tillwatch.patterns.features import columns_in
from tillwatch.patterns.program import Accumulator, Grain, Plan, Program


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a version of a lookup that a shard needs: the name of the object, and the first chunk in force."""

    lookup: str
    first: int
    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """Patterns that are folded together: their part of the program, the key that it is split by, its shards.

    `plans` are the numbers of its patterns in the whole program. `columns` are the text columns that its rows need.
    `by_amount` says that rows may be added up only when their amounts are equal, `bounds` that least and greatest
    amounts are needed. Where the program needs whole rows nothing is added up. At the chunks of `moves` a version of
    a lookup comes into force.
    """

    key: Grain
    plans: tuple[int, ...]
    program: Program
    columns: tuple[str, ...]
    by_amount: bool
    bounds: bool
    first: int
    count: int
    lateness: Lateness = PUNCTUAL
    moves: frozenset[int] = frozenset()

    @property
    def whole(self) -> bool:
        """Whether every row is needed, in the order of the stream."""
        return self.program.whole_rows or self.lateness.quarantine

    @property
    def timed(self) -> bool:
        """Whether every shard must hear the clock of every chunk."""
        return bool(self.program.windows) or self.lateness.quarantine

    @property
    def shards(self) -> range:
        """The numbers of its shards."""
        return range(self.first, self.first + self.count)

    def judges_all(self, chunk: int) -> bool:
        """Whether all of its shards are judged after a chunk, also those that it brings no rows."""
        in_force = (plan for plan in self.program.plans if plan.judges(chunk))
        return chunk in self.moves or any(plan.pattern.emit == "every_chunk" or plan.begins(chunk) for plan in in_force)

    def shard_of(self, key: Sequence[str]) -> int:
        """The shard of a key, given its clean texts: the same on every machine and in every version."""
        return self.first + zlib.crc32("\0".join(key).encode("utf-8", "surrogatepass")) % self.count


def groups_of(
    program: Program, buckets: int, lateness: Lateness = PUNCTUAL, lookups: Iterable[Lookup] = ()
) -> tuple[Group, ...]:
    """The groups of a program, each of `buckets` shards or, when it cannot be split, of one."""
    groups: list[Group] = []
    for key, numbers in _shared_keys(program.plans):
        first = groups[-1].shards.stop if groups else 0
        groups.append(_group(program, key, numbers, first, buckets if key else 1))
    later = [version for version in lookups if version.first]
    return tuple(
        replace(group, lateness=lateness, moves=frozenset(v.first for v in later if joins(group, v.spec.name)))
        for group in groups
    )


def joins(group: Group, lookup: str) -> bool:
    """Whether the patterns of a group read a lookup."""
    return any(lookup in table.lookups for table in group.program.tables)


def _shared_keys(plans: Sequence[Plan]) -> list[tuple[Grain, list[int]]]:
    found: list[tuple[Grain, list[int]]] = []
    for number, plan in enumerate(plans):
        for at, (key, numbers) in enumerate(found):
            common = tuple(k for k in key if k in plan.partition)
            if common or key == plan.partition:
                found[at] = (common, [*numbers, number])
                break
        else:
            found.append((plan.partition, [number]))
    return found


def _group(program: Program, key: Grain, numbers: Sequence[int], first: int, count: int) -> Group:
    plans = tuple(program.plans[n] for n in numbers)
    grains = _closure(program, plans)
    tables = tuple(t for t in program.tables if t.grain in grains)
    accumulators = [a for t in tables for a in t.accumulators]
    passing = [a for p in plans for u in p.uses.values() for a in u.passing]
    judged = {u.column for p in plans for u in p.uses.values()} | {a.column for a in passing}
    filtered = {c for a in (*accumulators, *passing) for c in columns_in(a.where)}
    counted = {a.column for a in accumulators if a.last}
    used = {*filtered, *judged, *counted, *(c for t in tables for c in t.grain)}
    by_amount = "amount" in filtered
    return Group(
        key,
        tuple(numbers),
        replace(program, plans=plans, tables=tables),
        tuple(c for c in program.keys if c in used),
        by_amount,
        by_amount or any(a.op in ("min", "max") for a in accumulators),
        first,
        count,
    )


def _closure(program: Program, plans: Iterable[Plan]) -> set[Grain]:
    """The grains whose tables the plans read, and those that these count distinct values from."""
    accumulators: dict[Grain, tuple[Accumulator, ...]] = {t.grain: t.accumulators for t in program.tables}
    todo = [g for plan in plans for g in _read_by(plan)]
    found: set[Grain] = set()
    while todo:
        grain = todo.pop()
        if grain not in found:
            found.add(grain)
            todo += [a.child for a in accumulators[grain] if a.counter]
    return found


def _read_by(plan: Plan) -> list[Grain]:
    over = [plan.over(n) for n in walk(plan.tree) if isinstance(n, PercentRank | PercentileCont)]
    return [plan.per, *(use.grain for use in plan.uses.values() if use.column is None), *over]


def lookup_parts(group: Group, frame: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """The rows of a lookup by the shard of the group that needs them."""
    if not group.key:
        return {group.first: frame}
    shards = pl.Series("_shard", [group.shard_of(key) for key in frame.select(group.key).rows()], pl.Int64)
    parts = frame.with_columns(shards).partition_by("_shard", as_dict=True, include_key=False)
    return {number: parts.get((number,), frame.clear()) for number in group.shards}
