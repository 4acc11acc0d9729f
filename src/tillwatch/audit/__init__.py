"""The proof from the files: the log is whole, every row is accounted for, every detection is in one file, and the
state is what a fresh fold of the log gives."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tillwatch.audit.compare import ceased, different, not_fresh, other_lives, wrong_info
from tillwatch.detect import quarantine, snapshot
from tillwatch.edits import History
from tillwatch.engine.lookup import Lookup
from tillwatch.errors import LogError
from tillwatch.model import Chunk, ChunkInfo, Detection, Turn
from tillwatch.pipeline import PATIENCE_ONCE, Pipeline
from tillwatch.publish.files import render, render_cleared
from tillwatch.retry import Retry
from tillwatch.state.base import ChunkRecord, Cursor, FilePlan, State, StoredCleared, StoredDetection, Stream, TableRows
from tillwatch.stores.base import Store
from tillwatch.stores.probe import PREFIX

BATCH_CHUNKS = 24


@dataclass(frozen=True, slots=True)
class Check:
    """One thing proved or not. `text` says what was looked at; `problems` what was found wrong.

    `limit` says what cannot be proved any more, because retention has removed chunks; it is empty otherwise.
    """

    name: str
    text: str
    problems: tuple[str, ...]
    limit: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems


@dataclass(slots=True)
class Findings:
    """What one reading of the log gives."""

    rows: int = 0
    counted: int = 0
    quarantined: int = 0
    filtered: int = 0
    removed: int = 0
    log: list[str] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Found:
    """Detections in the state, published ones or those in the shadow, and their turns."""

    stored: Sequence[StoredDetection]
    turns: Sequence[tuple[int, int, bool]]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the state says at one moment. `tables` are those of running values, by name."""

    history: History
    cursor: Cursor
    started_at: str
    found: Found
    in_shadow: Found
    cleared: Sequence[StoredCleared]
    cleared_plans: Sequence[FilePlan]
    chunks: Mapping[int, ChunkRecord]
    quarantined: Mapping[str, int]
    marked: Mapping[str, int]
    plans: Sequence[FilePlan]
    tables: Mapping[str, TableRows]


def audit(
    pipeline: Pipeline,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_notice: Callable[[str], None] = lambda text: None,
) -> Iterator[Check]:
    """Proves a pipeline from its files, check by check. `on_progress` hears chunks read and chunks in all.

    It may run beside X and Y: it looks at one snapshot of the state. What a store or a database refuses for now is
    tried again for some seconds, and `on_notice` hears of it. Raises StateError when there is no state, StoreError
    when a place cannot be read.
    """
    retry = Retry(pipeline.clock, threading.Event(), on_notice, PATIENCE_ONCE)
    pipeline.read_setup(retry)
    kept = retry(lambda: _kept(pipeline))
    numbers = retry(lambda: list(pipeline.landing.numbers()))
    removed = retry(pipeline.landing.removed)
    gone = f"chunks 0 to {removed.chunks - 1}" if removed.chunks else ""
    yield _numbers(numbers, kept.cursor)
    damaged = list(_damaged(kept.history.setup.lookups))
    found = _Reading(pipeline, kept, removed.chunks, retry, on_progress, folds=not damaged).findings(numbers)
    text = f"{len(numbers) - removed.chunks} chunks, {found.rows:,} rows, as their digests say"
    limit = f"the rows of {gone}, removed at {removed.at}"
    yield Check("digests", text, tuple(found.log), limit if gone else "")
    text = f"{found.rows:,} landed = {found.counted:,} counted + {found.quarantined:,} quarantined"
    text += f" + {found.filtered:,} filtered" if pipeline.composed.where else ""
    limit = f"which of the {found.removed:,} rows of {gone} were valid"
    yield Check("rows", text, tuple(found.accounts), limit if gone else "")
    yield _sequence(kept)
    yield _files(pipeline, kept, retry)
    if pipeline.composed.clears or kept.cleared:
        yield _cleared_files(pipeline, kept, retry)
    if count := len(kept.history.setup.lookups):
        yield Check(
            "lookups", f"{count} version{'s' if count > 1 else ''}, with the values that were kept", tuple(damaged)
        )
    gone = gone or ("the values of lookups" if damaged else "")
    yield from _unproved(kept, gone) if gone else _folded(kept, found)


def _damaged(lookups: Sequence[Lookup]) -> Iterator[str]:
    """What is wrong with the values of versions."""
    for lookup in lookups:
        try:
            _ = lookup.frame
        except LogError as error:
            yield str(error)


def _folded(kept: _Kept, found: Findings) -> Iterator[Check]:
    """The state beside a fresh fold of the log."""
    yield _found_again("detections", found, kept.found, shadow=False)
    if kept.in_shadow.stored or any(d.shadow for d in found.detections):
        yield _found_again("shadow", found, kept.in_shadow, shadow=True)
    if kept.cleared or any(t.cleared for t in found.turns):
        problems = tuple(ceased((d for d in found.detections if not d.shadow), found.turns, kept.cleared))
        yield Check("cleared", f"{len(kept.cleared)} equal a fresh fold of the log", problems)
    yield Check("state", f"tables equal a fresh fold of chunks 0 to {kept.cursor.tables - 1}", tuple(found.tables))


def _found_again(name: str, found: Findings, kept: Found, *, shadow: bool) -> Check:
    detections = [d for d in found.detections if d.shadow == shadow]
    turns = [t for t in found.turns if t.shadow == shadow]
    problems = tuple(not_fresh(detections, kept.stored) or other_lives(detections, turns, kept.stored, kept.turns))
    return Check(name, f"{len(kept.stored)} equal a fresh fold of the log, evidence and later turns included", problems)


def _unproved(kept: _Kept, gone: str) -> Iterator[Check]:
    """There can be no fresh fold without the first chunks, or without a lookup."""
    limit = f"that the log gives them, without {gone}"
    yield Check("detections", f"{len(kept.found.stored)} in the state", (), limit)
    yield Check("state", f"tables before chunk {kept.cursor.tables}", (), limit)


def _kept(pipeline: Pipeline) -> _Kept:
    """Read as a whole, so that it is of one moment also when the connection was lost and it is read again."""
    with pipeline.opened(readonly=True) as state, state.snapshot():
        history = pipeline.history(state)
        cursor = state.cursor()
        shapes = snapshot.shapes(history.setup.program) if cursor.chunk else ()
        return _Kept(
            history,
            cursor,
            state.started_at() or "",
            _found(state, cursor, shadow=False),
            _found(state, cursor, shadow=True),
            list(state.cleared()),
            state.files_planned("cleared"),
            {c.number: c for c in state.chunks()},
            state.quarantined(),
            state.marked(),
            state.files_planned(),
            {shape.name: state.load_table(shape) for shape in shapes},
        )


def _found(state: State, cursor: Cursor, *, shadow: bool) -> Found:
    return Found(list(state.detections(shadow=shadow)), state.turns(cursor.chunk, shadow=shadow))


def _numbers(numbers: Sequence[int], cursor: Cursor) -> Check:
    missing = sorted(set(range(max([cursor.chunk, *(n + 1 for n in numbers)]))) - set(numbers))
    problems = tuple(f"chunk {n} is not in the landing zone" for n in missing)
    return Check("chunks", f"numbers 0 to {len(numbers) - 1} without a gap" if numbers else "none landed", problems)


class _Reading:
    """One pass over the log: digests, rows, and the fold."""

    def __init__(
        self,
        pipeline: Pipeline,
        kept: _Kept,
        removed: int,
        retry: Retry,
        on_progress: Callable[[int, int], None],
        *,
        folds: bool,
    ) -> None:
        self._pipeline, self._kept, self._cursor, self._removed = pipeline, kept, kept.cursor, removed
        self._retry, self._progress = retry, on_progress
        whole = kept.history.whole
        self._folds = folds and not removed
        self._decoder = whole.decoder()
        self._fold = whole.fold(self._decoder)
        self._quarantine = pipeline.store(pipeline.settings.quarantine)
        self._before: ChunkInfo | None = None
        self._found = Findings()

    def findings(self, numbers: Sequence[int]) -> Findings:
        """Reads all chunks. The fold stops being compared where a chunk is missing or damaged; it needs the first."""
        self._compare_tables(0)
        self._extra_in_quarantine()
        batch: list[Chunk] = []
        for done, number in enumerate(numbers, 1):
            chunk = self._read(number) if number >= self._removed else self._record(number)
            if chunk is not None:
                batch.append(chunk)
            full = len(batch) == BATCH_CHUNKS or number + 1 in (self._cursor.tables, self._cursor.chunk)
            if batch and (full or done == len(numbers)):
                self._take(batch)
                batch = []
                self._compare_tables(number + 1)
            self._progress(done, len(numbers))
        self._compare_reasons()
        self._compare_marked()
        return self._found

    def _read(self, number: int) -> Chunk | None:
        try:
            chunk = self._retry(lambda: self._pipeline.landing.read(number))
        except LogError as error:
            self._found.log.append(str(error))
            self._before = None
            return None
        self._found.log += wrong_info(chunk, self._before, self._kept.chunks.get(number))
        self._before = chunk.info
        if number >= self._cursor.chunk:
            return None
        return chunk

    def _record(self, number: int) -> Chunk | None:
        """What is known of a chunk that was removed, beside what the state noted of it. There is no chunk to take."""
        try:
            info = self._retry(lambda: self._pipeline.landing.info(number))
        except LogError as error:
            self._found.log.append(str(error))
            return None
        self._found.removed += info.rows
        self._before, noted = info, self._kept.chunks.get(number)
        if noted is None or noted.digest != info.digest:
            what = noted.digest if noted else "none"
            self._found.log.append(f"chunk {number}, now removed, had digest {info.digest}, noted {what}")
        elif info.rows != (noted.counted or 0) + (noted.quarantined or 0) + (noted.filtered or 0):
            rows = f"{noted.counted} counted, {noted.quarantined} quarantined and {noted.filtered} filtered"
            self._found.accounts.append(f"chunk {number}, now removed, had {info.rows} rows; the state says {rows}")
        return None

    def _take(self, batch: Sequence[Chunk]) -> None:
        decoded = self._decoder.decode([c.frame for c in batch], [c.info.number for c in batch])
        for chunk, read in zip(batch, decoded, strict=True):
            rows = self._fold.admit(read) if not self._removed else read
            number = chunk.info.number
            counted, wrong = len(rows.rows), len(rows.rejects)
            self._found.rows += chunk.frame.height
            self._found.counted += counted
            self._found.quarantined += wrong
            self._found.filtered += rows.filtered
            self._account(number, chunk.frame.height, counted, wrong, rows.filtered)
            if wrong:
                self._set_aside(number, quarantine.render(chunk, rows.rejects))
            if self._folds:
                outcome = self._fold.step(number, rows.rows, rows.clock)
                self._found.detections += outcome.detections
                self._found.turns += outcome.turns
            elif not self._removed:
                self._fold.absorb(number, rows.rows, rows.clock)
            self._found.reasons.update(quarantine.by_code(rows.rejects))
            self._found.marked.update(rows.marked)

    def _account(self, number: int, rows: int, counted: int, wrong: int, filtered: int) -> None:
        record = self._kept.chunks.get(number)
        noted = (record.rows, record.counted, record.quarantined, record.filtered) if record else None
        if noted != (rows, counted, wrong, filtered) or rows != counted + wrong + filtered:
            self._found.accounts.append(
                f"chunk {number} has {rows} rows, {counted} counted, {wrong} not valid, {filtered} filtered; the state "
                f"says {noted}"
            )

    def _set_aside(self, number: int, expected: bytes) -> None:
        name = quarantine.name(number)
        if not self._retry(lambda: self._quarantine.has(name)):
            self._found.accounts.append(f"the quarantine has no {name} for the rejected rows of chunk {number}")
        elif self._retry(lambda: self._quarantine.get(name)) != expected:
            self._found.accounts.append(f"the quarantine's {name} is not what chunk {number} gives")

    def _compare_reasons(self) -> None:
        noted = self._kept.quarantined
        if self._removed:
            by_chunk = sum(c.quarantined or 0 for c in self._kept.chunks.values())
            if sum(noted.values()) != by_chunk or self._found.reasons - Counter(noted):
                self._found.accounts.append(
                    f"quarantined by reason {dict(self._found.reasons)} in chunks that are kept, {by_chunk} in all by "
                    f"chunk, the state says {noted}"
                )
        elif noted != dict(self._found.reasons):
            self._found.accounts.append(f"quarantined by reason {dict(self._found.reasons)}, the state says {noted}")

    def _compare_marked(self) -> None:
        noted, found = Counter(self._kept.marked), self._found.marked
        if found - noted or (noted != found and not self._removed):
            there = "in chunks that are kept, " if self._removed else ""
            self._found.accounts.append(f"marked by lookup {dict(found)}, {there}the state says {dict(noted)}")

    def _extra_in_quarantine(self) -> None:
        """Files for processed chunks of which no row was rejected."""
        rejected = {quarantine.name(c.number) for c in self._kept.chunks.values() if c.quarantined}
        end = quarantine.name(self._cursor.chunk)
        there = self._retry(lambda: list(self._quarantine.list()))
        extra = [n for n in there if n < end and n not in rejected]
        self._found.accounts += [f"the quarantine has {name}, and no row of that chunk was rejected" for name in extra]
        removed = {name for name in rejected if name < quarantine.name(self._removed)}
        self._found.accounts += [f"the quarantine has no {name}" for name in sorted(removed - set(there))]

    def _compare_tables(self, reached: int) -> None:
        if reached != self._cursor.tables or self._cursor.chunk == 0 or not self._folds:
            return
        for name, kept in self._kept.tables.items():
            keys = next(t.grain for t in self._kept.history.setup.program.tables if t.name == name)
            self._found.tables += different(kept, snapshot.whole_table(self._fold, name), keys)


def _sequence(kept: _Kept) -> Check:
    problems = []
    for stored in (kept.found.stored, kept.in_shadow.stored):
        problems += [f"seq {s.seq} where {n} is expected" for n, s in enumerate(stored, 1) if s.seq != n][:1]
        times = Counter((s.detection.pattern, s.detection.key_text, s.detection.occasion) for s in stored)
        problems += [f"{pattern} is detected {n} times for {key}" for (pattern, key, _), n in times.items() if n > 1]
    again = any(s.detection.occasion for s in kept.found.stored)
    text = f"1 to {len(kept.found.stored)} without a gap, each (pattern, key) once{' on an occasion' if again else ''}"
    return Check("seq", text, tuple(problems))


def _files(pipeline: Pipeline, kept: _Kept, retry: Retry) -> Check:
    """Every detection in exactly one file, whole, and no file that nobody planned."""
    stored = kept.found.stored

    def data(plan: FilePlan) -> bytes:
        return render(kept.started_at, stored[plan.first - 1 : plan.last])

    store = pipeline.store(pipeline.settings.detections.uri)
    problems = _wrong_files(store, kept.plans, "detections", data, retry)
    problems += [f"{n} is in no plan" for n in _unplanned_files(pipeline, store, kept.plans, "detections", retry)]
    waiting = len(stored) - sum(p.last - p.first + 1 for p in kept.plans if p.published_at)
    rest = f"{waiting} still to be published"
    if pipeline.settings.detections.format == "none":
        rest = f"they go to {', '.join(pipeline.settings.outputs)}, and none is published here"
    return Check("files", f"{len(kept.plans)} files, every detection in exactly one; {rest}", tuple(problems))


def _cleared_files(pipeline: Pipeline, kept: _Kept, retry: Retry) -> Check:
    """The same of what is cleared."""

    def data(plan: FilePlan) -> bytes:
        return render_cleared(kept.cleared[plan.first - 1 : plan.last])

    store = pipeline.store(pipeline.settings.detections.cleared)
    plans = kept.cleared_plans
    problems = _wrong_files(store, plans, "cleared", data, retry)
    problems += [f"{n} is in no plan" for n in _unplanned_files(pipeline, store, plans, "cleared", retry)]
    waiting = len(kept.cleared) - sum(p.last - p.first + 1 for p in plans if p.published_at)
    text = (
        f"{len(plans)} files, each of {len(kept.cleared)} that ceased in exactly one; {waiting} still to be published"
    )
    return Check("cleared files", text, tuple(problems))


def _wrong_files(
    store: Store, plans: Sequence[FilePlan], stream: Stream, data: Callable[[FilePlan], bytes], retry: Retry
) -> list[str]:
    problems, covered = [], 0
    for plan in plans:
        if plan.first != covered + 1:
            number = {"detections": "seq", "cleared": "number"}[stream]
            problems.append(f"{plan.name} begins at {number} {plan.first}, expected {covered + 1}")
        covered = plan.last
        problems += retry(lambda p=plan: _wrong_file(store, p, stream, data(p)))  # type: ignore[misc]
    return problems


def _wrong_file(store: Store, plan: FilePlan, stream: Stream, data: bytes) -> list[str]:
    if store.has(plan.name):
        if store.get(plan.name) != data:
            return [f"{plan.name} does not hold {stream} {plan.first} to {plan.last} as the state has them"]
    elif plan.published_at:
        return [f"{plan.name} was published at {plan.published_at} and is not there"]
    return []


def _unplanned_files(
    pipeline: Pipeline, store: Store, plans: Sequence[FilePlan], stream: Stream, retry: Retry
) -> list[str]:
    planned = {plan.name for plan in plans}
    extra = [n for n in retry(lambda: list(store.list())) if n not in planned and not n.startswith(PREFIX)]
    if extra:  # detect may have published them since the snapshot; then it has planned them before
        planned = {plan.name for plan in retry(lambda: _plans_now(pipeline, stream))}
    return [n for n in extra if n not in planned]


def _plans_now(pipeline: Pipeline, stream: Stream) -> list[FilePlan]:
    with pipeline.opened(readonly=True) as state:
        return state.files_planned(stream)
