"""The step: (state, chunk) -> (state, detections). No I/O, no clock; integers and vectors only.

The same step runs whole streams and any subset of the partitions of a program: give it the rows whose
partition keys are in the subset.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.condition import Condition
from tillwatch.engine.decode import Decoded, Decoder, Rows
from tillwatch.engine.evidence import evidence
from tillwatch.engine.expiry import Gone
from tillwatch.engine.filters import Filters
from tillwatch.engine.joins import Joins
from tillwatch.engine.judge import Judge, Verdict
from tillwatch.engine.late import Lateness
from tillwatch.engine.lookup import Lookup
from tillwatch.engine.rings import Ring
from tillwatch.engine.row_judge import RowJudge, RowVerdict
from tillwatch.engine.running import Running
from tillwatch.engine.table import Table, Touch
from tillwatch.engine.windows import Windows
from tillwatch.model import Detection, Reach, Turn
from tillwatch.patterns.history import same_life
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Grain, Plan, Program

Ints = NDArray[np.int64]
NONE: Ints = np.zeros(0, np.int64)

PUNCTUAL = Lateness()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chunk brought: new detections in the order of CONTRACT 6, and turns of earlier ones in the same order."""

    detections: tuple[Detection, ...]
    turns: tuple[Turn, ...]


class Fold:
    """The running state of a program over a stream, or over some partitions of it.

    `lookups` are all versions that come into force at chunks to come, and those in force before. With `rings_kept` the
    rows of windows of transactions are part of what is kept of it, as tables are.
    """

    def __init__(
        self,
        program: Program,
        decoder: Decoder,
        lookups: Sequence[Lookup] = (),
        lateness: Lateness = PUNCTUAL,
        *,
        rings_kept: bool = False,
    ) -> None:
        self.program = program
        self.decoder = decoder
        self._filters = Filters(decoder.dictionaries, program.digits)
        grains = [t.grain for t in program.tables]
        self.tables: dict[Grain, Table] = {
            t.grain: Table(t, tuple(g for g in grains if set(g) < set(t.grain)), self._filters) for t in program.tables
        }
        self._joins = Joins([v for v in lookups if v.spec.is_feature], self.tables, decoder.dictionaries)
        self._lateness, self._rings_kept = lateness, rings_kept
        self.windows = self._new_windows()
        self.judges = [self.judge_of(plan) for plan in program.plans]
        self._dirty: dict[Grain, list[Ints]] = {g: [] for g in grains}

    def _new_windows(self) -> Windows:
        return Windows(self.program, self.tables, self._lateness, self._filters, rings_kept=self._rings_kept)

    def judge_of(self, plan: Plan) -> Judge | RowJudge:
        """What judges a pattern, with nothing detected yet."""
        if plan.pattern.judge == "transaction":
            return RowJudge(plan, self.decoder.dictionaries, self.program.digits)
        return Judge(Condition(plan, self.tables, self.program.digits))

    def renewed(self, judge: Judge | RowJudge) -> Judge | RowJudge:
        """A judge that knows what the other has detected and what holds, and nothing else."""
        new = self.judge_of(judge.plan)
        known = min(self.tables[judge.plan.per].size, len(judge.holding))  # not its room, which would double
        new.room(known)
        new.detected[:known] = judge.detected[:known]
        new.holding[:known] = judge.holding[:known]
        return new

    def begin(self, chunk: int) -> bool:
        """The lookups are those in force before a chunk: to be said before tables of that time are loaded.

        Returns whether a key that is there has another value now, which no judge has heard of.
        """
        return bool(self._joins.move(chunk - 1))

    @property
    def expected(self) -> Sequence[Lookup]:
        """The versions of lookups that are to come into force."""
        return self._joins.later

    def expect(self, versions: Iterable[Lookup]) -> None:
        """Takes versions of lookups that come into force at chunks to come; rows are looked up in them too."""
        new = list(versions)
        self._joins.expect(version for version in new if version.spec.is_feature)
        self.decoder.expect(new)

    def _join(self, chunk: int) -> None:
        """Brings versions of lookups into force; patterns that use one are judged anew, for all keys."""
        changes = self._joins.move(chunk)
        for by_grain in changes.values():
            for grain, slots in by_grain.items():
                self._dirty[grain].append(slots)
        for number, judge in enumerate(self.judges):
            if isinstance(judge, Judge) and _uses(judge.plan, changes):
                self.judges[number] = new = self.renewed(judge)
                assert isinstance(new, Judge)
                new.due = True

    def admit(self, decoded: Decoded) -> Decoded:
        """The next chunk without the rows that are late, where these are quarantined."""
        return self.windows.admit(decoded, str(self.decoder.columns.get("time", "")))

    def punctual(self, rows: Rows) -> Rows:
        """The same of rows alone, where this fold sees only some of the chunk's."""
        return self.windows.punctual(rows)

    def step(self, chunk: int, rows: Rows, clock: int | None = None) -> Outcome:
        """Folds the valid rows of a chunk and judges every pattern on the state after it.

        `clock` is the greatest time of all rows of the chunk, where this fold sees only some of them.
        """
        self._join(chunk)
        judges = self._in_force(chunk)
        gone = self.windows.move(chunk, rows, clock)
        if not len(rows) and not gone:
            return self._judge(judges, chunk, {}, {})
        located = self._locate(rows)
        verdicts = self._judge_rows(judges, chunk, rows, located)
        touches = self.windows.touched(located, gone)
        watching = [judge for judge in judges if isinstance(judge, Judge)]
        seen = [judge.condition.observe(touches[judge.plan.per].unique) for judge in watching]
        self._fold(chunk, rows, touches, gone)
        for judge, before in zip(watching, seen, strict=True):
            judge.condition.update(before, touches[judge.plan.per].new)
        return self._judge(judges, chunk, touches, verdicts)

    def absorb(self, chunk: int, rows: Rows, clock: int | None = None) -> None:
        """Adds the valid rows of a chunk, and judges nothing: for what was judged before, by others."""
        gone = self.windows.move(chunk, rows, clock)
        if len(rows) or gone:
            self._fold(chunk, rows, self.windows.touched(self._locate(rows), gone), gone)

    def make_room(self) -> None:
        """Grows now what new keys would soon make grow: for times in which nothing waits."""
        for table in self.tables.values():
            table.make_room()

    def _locate(self, rows: Rows) -> dict[Grain, Touch]:
        touches = {grain: table.locate(rows) for grain, table in self.tables.items()}
        for grain, touch in touches.items():
            self._settle(self.tables[grain], touch.new)
        return touches

    def _fold(self, chunk: int, rows: Rows, touches: Mapping[Grain, Touch], gone: Sequence[Gone]) -> None:
        self.windows.take_back(gone)
        self._add(rows, touches)
        self.windows.remember(chunk, rows, {grain: touch.slots for grain, touch in touches.items()})

    def _in_force(self, chunk: int) -> list[Judge | RowJudge]:
        """The judges of the patterns in force, in their order; those that begin follow the ones before them."""
        judges = sorted((j for j in self.judges if j.plan.judges(chunk)), key=lambda j: j.plan.place)
        for judge in judges:
            if judge.plan.begins(chunk) and (before := self._before(judge.plan)):
                judge.room(len(before.holding))
                judge.holding[: len(before.holding)] = before.holding
                judge.detected[: len(before.detected)] = before.detected
        return judges

    def _before(self, plan: Plan) -> Judge | RowJudge | None:
        """The last judge of the same pattern, for the same keys, that ended before the plan began."""
        ended = [j for j in self.judges if j.plan.until is not None and j.plan.until <= plan.first]
        mine = [j for j in ended if same_life(j.plan, plan)]
        return max(mine, key=lambda j: j.plan.first, default=None)

    def _judge_rows(
        self, judges: Sequence[Judge | RowJudge], chunk: int, rows: Rows, touches: Mapping[Grain, Touch]
    ) -> dict[str, RowVerdict]:
        """What patterns that are judged on transactions say, before the rows are added."""
        mine = [judge for judge in judges if isinstance(judge, RowJudge)]
        if not mine or not len(rows):
            return {}
        running = Running(rows, self.tables, touches, self.windows, self._filters)
        return {judge.plan.pattern.id: judge.judge(chunk, running) for judge in mine}

    def _settle(self, table: Table, new: Ints) -> None:
        """Gives new slots their coarser slots and their lookup values."""
        if not len(new):
            return
        codes = {k: v[new] for k, v in table.keys.items()}
        for grain in table.up:
            table.up[grain][new] = self.tables[grain].slots_of(codes, len(new))
        self._joins.settle(table, new, codes)

    def _add(self, rows: Rows, touches: Mapping[Grain, Touch]) -> None:
        clock = self.windows.clock
        risen = {grain: table.add(rows, touches[grain], clock) for grain, table in self.tables.items()}
        for grain, table in self.tables.items():
            self._dirty[grain].append(touches[grain].unique)
            for acc in table.spec.accumulators:
                if acc.op == "distinct" and not acc.last:
                    slots = risen[acc.child][acc.counter]
                    parents = slots if acc.child == grain else self.tables[acc.child].up[grain][slots]
                    np.add.at(table.columns[acc.name], parents, 1)

    def _judge(
        self,
        judges: Sequence[Judge | RowJudge],
        chunk: int,
        touches: Mapping[Grain, Touch],
        verdicts: Mapping[str, RowVerdict],
    ) -> Outcome:
        detections: list[Detection] = []
        turns: list[Turn] = []
        for judge in judges:
            if isinstance(judge, Judge):
                found, again, fallen = self._judge_chunk(judge, chunk, touches)
            elif (rows := verdicts.get(judge.plan.pattern.id)) is not None:
                slots = touches[judge.plan.per].slots[rows.rows]
                found, again, fallen = self._found(judge.plan, slots, chunk, rows.evidence), rows.again, rows.fallen
            else:
                continue
            detections += found
            turns += self._turns(judge.plan, again, fallen, chunk)
        return Outcome(tuple(detections), tuple(turns))

    def _turns(self, plan: Plan, again: Ints, fallen: Ints, chunk: int) -> list[Turn]:
        if not len(again) and not len(fallen):
            return []
        pattern, per = plan.pattern, plan.per
        told = pattern.cleared and not pattern.shadow
        turns = [Turn(chunk, pattern.id, k, True, False, pattern.shadow) for k in self.keys(per, again)]
        turns += [Turn(chunk, pattern.id, k, False, told, pattern.shadow) for k in self.keys(per, fallen)]
        return sorted(turns, key=lambda t: tuple(t.key.values()))

    def _judge_chunk(
        self, judge: Judge, chunk: int, touches: Mapping[Grain, Touch]
    ) -> tuple[list[Detection], Ints, Ints]:
        begins = judge.plan.begins(chunk)
        whole, judge.due = begins or judge.due, False
        verdict = judge.judge(touches, whole=whole) if touches or whole else Verdict(NONE, NONE)
        fired, again = _fired(judge, verdict)
        judge.detected[fired] = True
        reasons = evidence(judge.condition, fired, chunk) if len(fired) else []
        if begins:
            reasons = [{**reason, "in_force_from": chunk} for reason in reasons]
        return self._found(judge.plan, fired, chunk, reasons), again, verdict.fallen

    def _found(self, plan: Plan, slots: Ints, chunk: int, reasons: Sequence[dict[str, Any]]) -> list[Detection]:
        """Detections in the order of CONTRACT 6."""
        if not len(slots):
            return []
        pattern = plan.pattern
        keys = self.keys(plan.per, slots)
        found = [
            Detection(chunk, pattern.id, pattern.action, key, why, _occasion(pattern, chunk, why), pattern.shadow)
            for key, why in zip(keys, reasons, strict=True)
        ]
        return sorted(found, key=lambda d: d.place)

    def keys(self, grain: Grain, slots: Ints) -> list[dict[str, str]]:
        """The keys of slots, as text."""
        table = self.tables[grain]
        columns = [self.decoder.dictionaries[k].texts(table.keys[k][slots]) for k in grain]
        return (
            [dict(zip(grain, key, strict=True)) for key in zip(*columns, strict=True)] if grain else [{}] * len(slots)
        )

    @property
    def touched(self) -> int:
        """At most so many rows were touched since `take_dirty` was last asked."""
        return sum(min(sum(map(len, slots)), self.tables[g].size) for g, slots in self._dirty.items())

    def take_dirty(self) -> dict[Grain, Ints]:
        """The slots touched since this was last asked, by grain."""
        dirty = {g: _distinct(slots, self.tables[g].size) for g, slots in self._dirty.items()}
        self._dirty = {g: [] for g in self._dirty}
        return dirty

    @property
    def rings(self) -> Mapping[Grain, Ring]:
        """The rows of windows of transactions, by grain."""
        return self.windows.rings.rings

    def load(self, grain: Grain, codes: Mapping[str, Ints], counters: Mapping[str, Ints]) -> None:
        """Fills an empty table; keys are in slot order. Coarser tables must have been loaded before."""
        self._joins.move(0)
        table = self.tables[grain]
        length = len(next(iter(counters.values())))
        slots = table.slots_of(codes, length)
        for key in grain:
            table.keys[key][slots] = codes[key]
        for name, values in counters.items():
            table.columns[name][slots] = values
        self._settle(table, slots)

    @property
    def reads_time(self) -> bool:
        """Whether anything depends on the times of rows."""
        return self.decoder.detail.times is not None

    def reach(self, following: int) -> Reach | None:
        """What the windows need of the log before the chunk that follows; None when there are none."""
        return self.windows.reach(following)

    def resume(self, reach: Reach) -> None:
        """Begins to remember at the chunk that the windows reach back to; what was remembered is forgotten."""
        before, self.windows = self.windows, self._new_windows()
        self.windows.clock = reach.clock
        if self._rings_kept:
            self.windows.rings = before.rings

    def remember(self, chunk: int, rows: Rows, clock: int | None = None) -> None:
        """Takes the rows of a chunk that the loaded tables have for those that windows may still need."""
        self.windows.move(chunk, rows, clock)
        slots = {grain: table.slots_of(rows.codes, len(rows)) for grain, table in self.tables.items()}
        self.windows.recall(chunk, rows, slots)

    def mark(self, number: int, keys: Sequence[Mapping[str, str]], holds: Sequence[bool]) -> None:
        """Notes that the pattern of this number in the program was detected for these keys, and whether it holds."""
        judge = self.judges[number]
        grain = judge.plan.per
        codes = {c: np.array(self.decoder.dictionaries[c].codes(k[c] for k in keys), np.int64) for c in grain}
        slots = self.tables[grain].slots_of(codes, len(keys))
        judge.room(int(slots.max()) + 1)
        judge.detected[slots] = True
        judge.holding[slots] = np.array(holds, np.bool_)


def _occasion(pattern: Pattern, chunk: int, why: Mapping[str, Any]) -> str:
    """What tells a detection from others of its key, where there can be others."""
    if pattern.emit == "once":
        return ""
    return str(chunk) if pattern.judge == "chunk" else f"{chunk}:{why['row']}"


def _uses(plan: Plan, lookups: Collection[str]) -> bool:
    """Whether the pattern reads one of these lookups."""
    return any(use.lookup in lookups for use in plan.uses.values())


def _fired(judge: Judge, verdict: Verdict) -> tuple[Ints, Ints]:
    """The slots that the pattern is detected for, and those that it was detected for before and holds for again."""
    match judge.plan.pattern.emit:
        case "on_enter":
            return verdict.risen, NONE
        case "every_chunk":
            return np.flatnonzero(judge.holding), NONE
        case _:
            known = judge.detected[verdict.risen]
            return verdict.risen[~known], verdict.risen[known]


def _distinct(slots: Sequence[Ints], size: int) -> Ints:
    """The distinct ones of slots below `size`, in order: marking them costs less than sorting."""
    marked = np.zeros(size, np.bool_)
    for some in slots:
        marked[some] = True
    return np.flatnonzero(marked)
