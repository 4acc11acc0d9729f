"""Mechanism Y: waits for chunks, folds them in number order, commits, publishes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from tillwatch.clock import Clock
from tillwatch.detect import quarantine, snapshot
from tillwatch.detect.change import Edits, Refresh, Taken, changed, folding
from tillwatch.detect.outbox import Outbox
from tillwatch.detect.recovery import recover
from tillwatch.detect.saving import Saving
from tillwatch.detect.setup import Setup
from tillwatch.engine.decode import Decoded
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.errors import LogError, PatternError
from tillwatch.events import Processed, Published, ReadAgain
from tillwatch.landing import Landing
from tillwatch.model import REACH, Chunk
from tillwatch.patterns.history import following
from tillwatch.retry import Retry
from tillwatch.state.base import ChunkResult, Commit, RuleChange, RuleSet, State, Stream
from tillwatch.stores.base import Store, put_same

BATCH_CHUNKS = 24
BATCH_ROWS = 240_000
POLL_SECONDS = 0.25
LIST_SECONDS = 60.0
"""While nothing comes, how often the landing zone is listed, a look at the next chunk alone finds no gap; and the state
is asked, without which a lease that was lost is not missed."""

REFUSED = "refused_edit"
"""The fact of the state that says which edit of patterns was refused; empty when there is none."""

REFUSED_LOOKUP = "refused_lookup"
"""The same of versions of lookups."""

LOCAL_READERS, REMOTE_READERS = 2, 16


@dataclass(frozen=True, slots=True)
class Wake:
    """How detect learns of new chunks: `hint` may be set at any time; `upstream_done` says no more will come."""

    stop: threading.Event
    hint: threading.Event = field(default_factory=threading.Event)
    upstream_done: Callable[[], bool] = lambda: True


class Detect:
    """One run of Mechanism Y on one pipeline. The caller holds the lease.

    `files` are the stores of the files of each stream. Without one for detections no files are published; they are
    planned all the same, for further outputs. Edits of patterns and new versions of lookups are taken between two
    commits.
    """

    def __init__(
        self,
        setup: Setup,
        landing: Landing,
        state: State,
        files: Mapping[Stream, Store],
        quarantined: Store,
        clock: Clock,
        retry: Retry,
        on_progress: Callable[[Processed | Published | ReadAgain], None] = lambda _: None,
        edits: Edits | None = None,
        lookups: Refresh | None = None,
    ) -> None:
        self._at_work, self._edits, self._lookups = folding(setup), edits, lookups
        self._landing, self._state = landing, state
        self._quarantined = quarantined
        self._outbox = Outbox(state, files, clock, retry, setup.rows_per_file, setup.linger, on_progress)
        self._clock, self._retry, self._on_progress = clock, retry, on_progress
        self._next = self._saved = 0
        self._refused = self._refused_lookup = ""
        self._saving = Saving(clock.monotonic())
        self._listed_at = clock.monotonic()
        self._rows_per_chunk = BATCH_ROWS
        readers = REMOTE_READERS if landing.remote else LOCAL_READERS
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="tillwatch-read")
        self._ahead: dict[int, Future[Chunk]] = {}

    @property
    def _setup(self) -> Setup:
        return self._at_work.setup

    @property
    def _fold(self) -> Fold:
        return self._at_work.fold

    def run(self, wake: Wake, *, once: bool) -> None:
        """Works until stopped; with `once` until no chunk is left and none will come."""
        self._start()
        try:
            while not wake.stop.is_set():
                wake.hint.clear()
                last_look = once and wake.upstream_done()  # asked before looking, so that nothing slips between
                if self._work():
                    continue
                if last_look and not self._retry(self._is_more):
                    break
                if not last_look:
                    self._clock.wait(wake.hint, self._idle())
        finally:
            self._readers.shutdown(cancel_futures=True)
        self._finish()

    def _start(self) -> None:
        setup = self._setup
        tables = snapshot.shapes(setup.program)
        now = self._clock.now()
        claim = (setup.fingerprint, setup.meaning, now, tables, setup.rules)
        cursor = self._retry(lambda: self._state.start(*claim))
        recover(self._fold, self._at_work.decoder, self._landing, self._state, cursor, self._retry, self._recovered)
        self._next, self._saved = cursor.chunk, cursor.tables
        self._refused = self._retry(lambda: self._state.get_meta(REFUSED)) or ""
        self._refused_lookup = self._retry(lambda: self._state.get_meta(REFUSED_LOOKUP)) or ""
        self._outbox.start()

    def _recovered(self, done: int, chunks: int) -> None:
        self._on_progress(ReadAgain(done, chunks))

    def _work(self) -> bool:
        """Folds and commits the chunks that wait, up to a batch; says whether there were any."""
        chunks = self._read()
        if not chunks:
            return False
        taken, change = self._take_lookups(), self._change_patterns()
        began = self._clock.monotonic()
        commit = replace(self._fold_batch(chunks), change=change, lookups=tuple(t.record for t in taken))
        if change is not None and change.tables:
            commit = replace(commit, notes=self._reach(commit.last + 1))
        folded = self._clock.monotonic()
        self._retry(lambda: self._state.commit(commit, self._setup.rows_per_file))
        self._next, committed = commit.last + 1, self._clock.monotonic()
        if change is not None:
            self._changed(change)
        if self._lookups is not None:
            self._lookups.committed(taken)
        self._outbox.committed(commit)
        self._saving.worked(self._clock.monotonic())
        if self._saving.due(self._next - self._saved, self._fold.touched, self._clock.monotonic()):
            self._save()
        self._on_progress(progress_of(commit, folded - began, committed - folded))
        return True

    def _take_lookups(self) -> Sequence[Taken]:
        """Takes the versions of lookups that wait: they are in force from the next chunk on."""
        if self._lookups is None:
            return ()
        self._note_refused_lookups(self._lookups.refused)
        taken = self._lookups.take(self._next)
        later = [t for t in taken if t.record.number > 1]
        if later:
            self._fold.expect(t.data for t in later)
            setup = replace(self._setup, lookups=[*self._setup.lookups, *(t.kept for t in later)])
            self._at_work = replace(self._at_work, setup=setup)
        return taken

    def _note_refused_lookups(self, refused: str) -> None:
        if refused != self._refused_lookup:
            self._refused_lookup = refused
            self._retry(lambda: self._state.note({REFUSED_LOOKUP: refused}))

    def _change_patterns(self) -> RuleChange | None:
        """Takes the edit of patterns that waits, if there is one: it is in force from the next chunk on."""
        setup = self._edit()
        if setup is None or self._edits is None:
            return None
        if self._next > self._saved:
            self._save()
        before = self._setup.program
        setup = replace(setup, program=following(before, setup.program, self._next), lookups=self._setup.lookups)
        try:
            made = changed(before, setup, self._next, self._landing, self._state, self._retry, self._recovered)
        except PatternError as error:
            self._edits.refuse(str(error))
            self._edit()
            return None
        self._at_work = made
        rules = RuleSet(self._next, setup.fingerprint, setup.meaning, setup.rules, self._clock.now())
        shapes = snapshot.shapes(setup.program)
        if shapes == snapshot.shapes(before):
            return RuleChange(rules)
        return RuleChange(rules, tuple(shapes), lambda: snapshot.whole(made.fold))

    def _changed(self, change: RuleChange) -> None:
        """The edit was committed."""
        if change.tables:
            self._fold.take_dirty()
            self._saved = self._next
        if self._edits is not None:
            self._edits.taken(self._setup, change.rules.first)
            self._edit()

    def _edit(self) -> Setup | None:
        """The edit that waits; one that was refused is noted for who looks at the state."""
        if self._edits is None:
            return None
        wanted, refused = self._edits.look(), self._edits.refused
        if refused != self._refused:
            self._refused = refused
            self._retry(lambda: self._state.note({REFUSED: refused}))
        return wanted

    def _read(self) -> list[Chunk]:
        """The chunks that wait, in order, at most a batch; those behind them are read meanwhile."""
        self._read_ahead(2 * min(BATCH_CHUNKS, max(1, BATCH_ROWS // self._rows_per_chunk)))
        chunks: list[Chunk] = []
        rows = 0
        while len(chunks) < BATCH_CHUNKS and rows < BATCH_ROWS:
            reading = self._ahead.pop(self._next + len(chunks), None)
            if reading is None:
                break
            chunks.append(reading.result())
            rows += chunks[-1].info.rows
        if chunks:
            self._rows_per_chunk = max(1, rows // len(chunks))
        return chunks

    def _read_ahead(self, limit: int) -> None:
        columns = self._at_work.decoder.sources
        first = self._next + len(self._ahead)
        for number in self._retry(lambda: self._landing.waiting(first, self._next + limit - first)):
            self._ahead[number] = self._readers.submit(self._read_one, number, columns)

    def _read_one(self, number: int, columns: Sequence[str]) -> Chunk:
        return self._retry(lambda: self._landing.read(number, columns))

    def _fold_batch(self, chunks: Sequence[Chunk]) -> Commit:
        decoded = self._at_work.decoder.decode([c.frame for c in chunks], [c.info.number for c in chunks])
        results, outcomes = [], []
        for chunk, read in zip(chunks, decoded, strict=True):
            rows = self._fold.admit(read)
            self._set_aside(chunk, rows)
            outcomes.append(self._fold.step(chunk.info.number, rows.rows, rows.clock))
            reasons = quarantine.by_code(rows.rejects)
            told = (len(rows.rows), reasons, self._clock.now(), rows.filtered, rows.marked)
            results.append(ChunkResult(chunk.info, *told))
        return _commit(results, outcomes)

    def _set_aside(self, chunk: Chunk, decoded: Decoded) -> None:
        """Quarantines a chunk's rejects before the commit that counts them."""
        if decoded.rejects:
            whole = self._retry(lambda: self._landing.read(chunk.info.number))
            data = quarantine.render(whole, decoded.rejects)
            self._retry(lambda: put_same(self._quarantined, quarantine.name(chunk.info.number), data))

    def _idle(self) -> float:
        """Nothing waits: publish what has lingered, save the tables, make room. Returns how many seconds to wait."""
        now = self._clock.monotonic()
        self._edit()
        if self._lookups is not None:
            self._note_refused_lookups(self._lookups.refused)
        if now - self._listed_at >= LIST_SECONDS:
            self._retry(self._is_more)
            self._retry(self._state.cursor)  # a lease that another has now is found out by asking
        left = self._outbox.idle()
        if self._next > self._saved and self._saving.fits(self._fold.touched, now):
            self._save()
        self._fold.make_room()
        return POLL_SECONDS if left is None else min(left, POLL_SECONDS)

    def _finish(self) -> None:
        """The run ended: the last file may be short."""
        self._outbox.rest()
        if self._next > self._saved:
            self._save()

    def _save(self) -> None:
        """Brings the tables of the state up to the cursor."""
        began, touched = self._clock.monotonic(), self._fold.touched
        dirty = self._fold.take_dirty()
        notes = self._reach(self._next)
        self._retry(lambda: self._state.save_tables(snapshot.dump(self._fold, dirty), self._next, notes))
        self._saved = self._next
        self._saving.done(touched, began, self._clock.monotonic())

    def _reach(self, following: int) -> Mapping[str, str]:
        """What tables that are saved now need of the log behind them, to be noted with them."""
        reach = self._fold.reach(following)
        return {REACH: reach.text()} if reach else {}

    def _is_more(self) -> bool:
        self._listed_at = self._clock.monotonic()
        return is_more(self._landing, self._next)


def is_more(landing: Landing, expected: int) -> bool:
    """Whether a listing shows chunks that a look did not: merged by another pipeline, or landed just now.

    Raises LogError when chunks are landed behind one that is not.
    """
    later = next(iter(landing.numbers(expected)), None)
    if later is not None and not landing.has(expected):
        raise LogError(
            f"the landing zone has chunk {later} but not chunk {expected}: a chunk was removed. "
            "Bring it back; nothing after it can be judged."
        )
    return later is not None


def _commit(results: Sequence[ChunkResult], outcomes: Sequence[Outcome]) -> Commit:
    return Commit(
        tuple(results),
        tuple(d for o in outcomes for d in o.detections),
        tuple(t for o in outcomes for t in o.turns),
    )


def progress_of(commit: Commit, fold: float, transaction: float) -> Processed:
    """What a commit has brought, for who watches; folding and the transaction took so many seconds."""
    found = tuple(d for d in commit.detections if not d.shadow)
    reasons = Counter[str]()
    for result in commit.results:
        reasons.update(result.quarantined)
    return Processed(
        commit.first,
        commit.last,
        sum(r.counted for r in commit.results),
        reasons.total(),
        dict(Counter(d.pattern for d in found)),
        sum(r.filtered for r in commit.results),
        dict(reasons),
        fold,
        transaction,
        found,
    )
