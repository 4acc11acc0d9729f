"""Draft patterns over the landed history, beside those in force: one reading of the log, one fold for all of them.

The step is the pipeline's own. Nothing is written: not the state, not a detection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal

from tillwatch.detect.setup import Setup
from tillwatch.engine.fold import Fold
from tillwatch.errors import ConfigError, LogError, StateConflict, StateMissing
from tillwatch.history.difference import Difference, difference
from tillwatch.history.drafts import Side, Trial
from tillwatch.history.reading import batches, check_whole, time_of
from tillwatch.history.refold import Progress
from tillwatch.history.stepping import columns_of, compiled, fold_of, stepped
from tillwatch.history.sweep import Sweep, points
from tillwatch.landing import Landing
from tillwatch.model import Chunk, Detection
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Plan, Program
from tillwatch.patterns.shown import show
from tillwatch.retry import Retry
from tillwatch.state.base import State

_OF_THE_RUN = {"program", "lookups", "fingerprint", "meaning", "rules", "rows_per_file", "linger"}
"""What of a setup does not say how rows are read."""


@dataclass(frozen=True, slots=True)
class ChunkTime:
    """A chunk, what the column of the time says in its last row, and the day on which it was processed.

    `time` is None without such a column, `day` (such as 2026-11-20) is None where the state does not know it.
    """

    number: int
    time: str | None
    day: str | None


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a swept threshold, and what it changes."""

    value: Decimal
    difference: Difference


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep and its points. `now` is the threshold in force, None when the pattern is not."""

    sweep: Sweep
    points: tuple[Point, ...]
    now: Decimal | None


@dataclass(frozen=True, slots=True)
class Backtest:
    """What drafts would change in chunks `first`…`last`; `rows` were folded, those of the chunks before too.

    `as_run` is False when the state was made by another configuration: then what is called "now" was never run.
    """

    first: int
    last: int
    rows: int
    chunks: tuple[ChunkTime, ...]
    differences: tuple[Difference, ...]
    sweeps: tuple[Swept, ...]
    as_run: bool


@dataclass(slots=True)
class Folding:
    """The fold of all patterns that read rows in one way. A pattern that is there already is not folded twice.

    Only the first `explained` patterns keep the evidence of their detections: of a long sweep it would be too much.
    """

    setup: Setup
    patterns: list[Pattern] = field(default_factory=list)
    explained: int = 0
    fold: Fold = field(init=False)
    found: list[list[Detection]] = field(init=False)
    _places: list[int] = field(init=False)

    def add(self, patterns: Iterable[Pattern], side: Side) -> range:
        """Takes patterns up with the features that they have in their configuration. Returns their numbers here."""
        first = len(self.patterns)
        declared = side.composed.program.features
        self.patterns += [replace(p, features={**declared, **p.features}) for p in patterns]
        return range(first, len(self.patterns))

    def add_side(self, side: Side) -> dict[str, int]:
        """Takes all patterns of a side up, with their evidence; returns their numbers by id."""
        numbers = self.add(side.patterns, side)
        self.explained = len(self.patterns)
        return dict(zip((p.id for p in side.patterns), numbers, strict=True))

    def start(self) -> None:
        """Makes the fold. Raises PatternError."""
        whole = compiled(self.setup.program, self.patterns)
        kept: list[Plan] = []
        self._places = []
        for plan in whole.plans:
            place = next((i for i, other in enumerate(kept) if same_plan(plan, other)), len(kept))
            kept += [plan] if place == len(kept) else []
            self._places.append(place)
        self.found = [[] for _ in kept]
        self.fold = fold_of(self.setup, _numbered(whole, kept))

    def take(self, chunks: Sequence[Chunk]) -> None:
        """Folds some chunks."""
        explained = set(self._places[: self.explained])
        for _, _, outcome in stepped(self.fold, [c.info.number for c in chunks], [c.frame for c in chunks]):
            for detection in outcome.detections:
                plan = int(detection.pattern)
                self.found[plan].append(detection if plan in explained else replace(detection, evidence={}))

    def detections(self, number: int) -> list[Detection]:
        """What pattern `number` has detected, under its own name."""
        pattern = self.patterns[number]
        return [replace(d, pattern=pattern.id, action=pattern.action) for d in self.found[self._places[number]]]


def same_plan(one: Plan, other: Plan) -> bool:
    """Whether both detect the same at the same time, whatever their names."""
    named = {"id": "", "action": "", "title": "", "why": "", "when": "", "thresholds": {}, "features": {}}
    a, b = (replace(p.pattern, **named, tree=one.tree, spot=one.pattern.spot) for p in (one, other))  # type: ignore[arg-type]
    return a == b and one.uses == other.uses and show(one.tree) == show(other.tree)


def _numbered(program: Program, plans: Sequence[Plan]) -> Program:
    """The program of these plans, their numbers as ids: a pattern may be there in many forms."""
    numbered = [replace(plan, pattern=replace(plan.pattern, id=str(n))) for n, plan in enumerate(plans)]
    return replace(program, plans=tuple(numbered))


def backtest(
    trial: Trial,
    sweeps: Sequence[Sweep],
    first: int,
    last: int | None,
    retry: Retry,
    on_progress: Progress = lambda done, total: None,
) -> Backtest:
    """Folds the log once and says what the drafts change, and what each value of a swept threshold would.

    The fold begins with chunk 0, since state is made of all rows; detections before chunk `first` are left out, and
    chunks after `last`. Raises LogError when the log is not whole, or has not so many chunks; ConfigError for a sweep
    over what is not there.
    """
    tested = _Tested.of(trial, sweeps)
    landing = trial.pipeline.landing
    end = _end(landing, first, last, retry)
    days, as_run = retry(lambda: _known(trial))
    rows, times = _fold(tested.foldings, trial, range(end + 1), retry, on_progress)
    return Backtest(
        first,
        end,
        rows,
        tuple(ChunkTime(number, times[number], days.get(number)) for number in range(first, end + 1)),
        tuple(tested.difference(pattern, first) for pattern in trial.named or tested.ids),
        tuple(tested.swept(number, first) for number in range(len(sweeps))),
        as_run,
    )


@dataclass(frozen=True, slots=True)
class _Tested:
    """All patterns of a back-test by their numbers in the folds `now` and `draft`, which may be one."""

    trial: Trial
    sweeps: Sequence[Sweep]
    now: Folding
    draft: Folding
    before: Mapping[str, int]
    after: Mapping[str, int]
    points: Sequence[range]

    @classmethod
    def of(cls, trial: Trial, sweeps: Sequence[Sweep]) -> _Tested:
        """Raises ConfigError for a sweep over what is not there, PatternError for patterns that cannot be."""
        swept = [points(sweep, trial.draft.patterns) for sweep in sweeps]
        now, draft = foldings(trial)
        before, after = now.add_side(trial.now), draft.add_side(trial.draft)
        tested = cls(trial, sweeps, now, draft, before, after, [draft.add(some, trial.draft) for some in swept])
        for folding in tested.foldings:
            folding.start()
        return tested

    @property
    def foldings(self) -> list[Folding]:
        """Each of them once."""
        return [self.now] if self.now is self.draft else [self.now, self.draft]

    @property
    def ids(self) -> tuple[str, ...]:
        """The patterns of both sides."""
        return tuple({**self.before, **self.after})

    def difference(self, pattern: str, first: int) -> Difference:
        """What the draft changes of a pattern from chunk `first` on."""
        draft = self.draft.detections(self.after[pattern]) if pattern in self.after else []
        return self._changes(pattern, draft, first)

    def swept(self, number: int, first: int) -> Swept:
        """What each point of a sweep changes from chunk `first` on."""
        sweep = self.sweeps[number]
        found = [
            Point(value, self._changes(sweep.pattern, self.draft.detections(place), first))
            for value, place in zip(sweep.values, self.points[number], strict=True)
        ]
        return Swept(sweep, tuple(found), _threshold(self.trial.now, sweep))

    def _changes(self, pattern: str, draft: Sequence[Detection], first: int) -> Difference:
        now = self.now.detections(self.before[pattern]) if pattern in self.before else []
        sides = [(self.now, self.before), (self.draft, self.after)]
        emits = {side.patterns[numbers[pattern]].emit for side, numbers in sides if pattern in numbers}
        return difference(pattern, now, draft, first, by_row=emits == {"every_transaction"})


def foldings(trial: Trial) -> tuple[Folding, Folding]:
    """The folds of both sides; one for both when they read rows in the same way."""
    now = Folding(trial.now.setup)
    alike = _reading(trial.now.setup) == _reading(trial.draft.setup)
    return now, now if alike else Folding(trial.draft.setup)


def _reading(setup: Setup) -> list[object]:
    """How rows are read, and what is joined to them."""
    own = [getattr(setup, f.name) for f in fields(setup) if f.name not in _OF_THE_RUN]
    return [*own, setup.program.digits, [(data.spec, data.digest) for data in setup.lookups]]


def _end(landing: Landing, first: int, last: int | None, retry: Retry) -> int:
    """The last chunk to be folded."""
    retry(lambda: check_whole(landing))
    numbers = retry(lambda: list(landing.numbers()))
    if not numbers:
        raise LogError("nothing is landed yet: run 'tillwatch run' or 'tillwatch ingest' first")
    end = numbers[-1] if last is None else last
    if end > numbers[-1]:
        raise LogError(f"chunk {end} is not landed; the last one is {numbers[-1]}")
    if first > end:
        raise ConfigError(f"there are no chunks from {first} to {end}")
    return end


def _known(trial: Trial) -> tuple[dict[int, str], bool]:
    """The days of processed chunks, and whether the state is that of the configuration. There need be no state."""
    setup = trial.now.setup
    try:
        with trial.pipeline.opened(readonly=True) as state, state.snapshot():
            days = {number: at[:10] for number, at in state.processed().items()}
            return days, _is_of(state, setup)
    except StateMissing:
        return {}, True


def _is_of(state: State, setup: Setup) -> bool:
    try:
        state.claim_allowed(setup.fingerprint, setup.meaning)
    except StateConflict:
        return False
    return True


def _fold(
    foldings: Sequence[Folding], trial: Trial, numbers: range, retry: Retry, on_progress: Progress
) -> tuple[int, list[str | None]]:
    """Folds these chunks, from 0 on; returns how many rows they have, and the time of each."""
    time = trial.pipeline.settings.columns.time
    columns = list({c for f in foldings for c in columns_of(f.setup)} | ({time} if time else set()))
    rows, times = 0, list[str | None]()
    for batch in batches(trial.pipeline.landing, numbers, columns, retry):
        for folding in foldings:
            folding.take(batch)
        rows += sum(chunk.info.rows for chunk in batch)
        times += [time_of(chunk, time) for chunk in batch]
        on_progress(len(times), len(numbers))
    return rows, times


def _threshold(side: Side, sweep: Sweep) -> Decimal | None:
    pattern = next((p for p in side.patterns if p.id == sweep.pattern), None)
    return pattern.thresholds.get(sweep.threshold) if pattern else None
