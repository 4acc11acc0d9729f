"""Mechanism Y on Spark: the driver's part. Waits for batches, commits what they found, publishes.

Rules of where the stream stands:

1. The state's cursor is the one truth. A run begins its query at the cursor, with a checkpoint of its own, which lives
   as long as the run: so Spark's checkpoint has nothing to say that could be wrong.
2. A batch is committed in one transaction: results, detections, turns, cursor, and the manifest that names the state of
   every shard. Objects that are not in the manifest do not count.
3. A batch that comes again changes nothing: executors pass over chunks below the manifest's, and a commit that is not
   the next one is refused by the state.
4. When the manifest is behind the cursor (the embedded engine was at work, the number of buckets was changed, objects
   are missing), the chunks in between are folded again first, and must give the detections that were committed.
5. Shards fold all patterns that were ever in force, each at its chunks. An edit of patterns is taken at the start: the
   log is folded again, and the first commit of new chunks records it, and has the tables that it needs.
6. A new version of a lookup comes into force with a batch: the query begins anew, its tasks are told of the version,
   and the commit of the batch records it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import SparkSession

from tillwatch.clock import Clock
from tillwatch.config import Settings
from tillwatch.detect import snapshot
from tillwatch.detect.change import Edits, Refresh, Taken
from tillwatch.detect.loop import POLL_SECONDS, REFUSED, REFUSED_LOOKUP, Wake, is_more, progress_of
from tillwatch.detect.outbox import Outbox
from tillwatch.detect.saving import Saving
from tillwatch.detect.setup import Setup
from tillwatch.engine.joined import RowLookups
from tillwatch.errors import StateConflict
from tillwatch.events import Processed, Published
from tillwatch.landing import Landing
from tillwatch.model import REACH, Reach
from tillwatch.patterns.history import following, joined
from tillwatch.patterns.program import Program
from tillwatch.retry import Retry
from tillwatch.spark.batch import Told, told_by
from tillwatch.spark.manifest import NOTE, Manifest, Saved, from_text, to_text
from tillwatch.spark.objects import Objects
from tillwatch.spark.query import Query
from tillwatch.spark.reading import NOTHING, Joined, ReadPlan
from tillwatch.spark.shards import Group, groups_of
from tillwatch.spark.staging import save_staged
from tillwatch.spark.tables import Order, next_saved, saved_tables
from tillwatch.spark.worker import Job
from tillwatch.state.base import ChunkResult, Commit, Cursor, RuleChange, RuleSet, State, Stream
from tillwatch.state.staging import Merge
from tillwatch.stores.base import Store

BATCH_CHUNKS = 60
BATCH_ROWS = 600_000
LOCAL_LOOK, REMOTE_LOOK = "20ms", "500ms"
"""How often Spark looks for new chunks; elsewhere each look is a request."""


@dataclass(frozen=True, slots=True)
class Places:
    """What executors open for themselves."""

    settings: Settings

    def plan(
        self, setup: Setup, groups: tuple[Group, ...], start: int, fence: int, tasks: int, joined: Joined = NOTHING
    ) -> ReadPlan:
        """What the source is told."""
        landing = self.settings.landing
        chunks = max(1, min(BATCH_CHUNKS, BATCH_ROWS // self.settings.source.rows))
        return ReadPlan(
            landing.uri,
            landing.format,
            landing.layout,
            self.settings.quarantine,
            dict(setup.columns),
            setup.program.digits,
            setup.negative,
            setup.optional,
            setup.where,
            groups,
            start,
            fence,
            chunks,
            tasks,
            setup.detail,
            joined,
        )


class SparkDetect:
    """One run of Mechanism Y on one pipeline. The caller holds the lease, and ends the session afterwards.

    `in_force` are the patterns that the state was made by, each from a chunk on.
    """

    def __init__(
        self,
        spark: SparkSession,
        settings: Settings,
        in_force: Sequence[tuple[int, Setup]],
        landing: Landing,
        state: State,
        files: Mapping[Stream, Store],
        objects: Store,
        clock: Clock,
        retry: Retry,
        on_progress: Callable[[Processed | Published], None],
        edits: Edits,
        lookups: Refresh,
    ) -> None:
        self._spark, self._settings, self._edits, self._refresh = spark, settings, edits, lookups
        self._in_force, self._taken = list(in_force), True
        setup = self._setup
        self._versions, self._new = list(setup.lookups), list[Taken]()
        self._landing, self._state = landing, state
        self._objects = Objects(objects, retry)
        self._outbox = Outbox(state, files, clock, retry, setup.rows_per_file, setup.linger, on_progress)
        self._clock, self._retry, self._on_progress = clock, retry, on_progress
        self._refused: str | None = None
        self._saving = Saving(clock.monotonic())
        self._asked_at = clock.monotonic()
        self._query: Query | None = None
        spark.conf.set("spark.sql.streaming.pollingDelay", REMOTE_LOOK if landing.remote else LOCAL_LOOK)

    def run(self, wake: Wake, *, once: bool) -> None:
        """Works until stopped; with `once` until no chunk is left and none will come."""
        try:
            self._start(wake)
            while not wake.stop.is_set():
                wake.hint.clear()
                last_look = once and wake.upstream_done()  # asked before looking, so that nothing slips between
                if self._retry(lambda: self._landing.has(self._manifest.chunk)):
                    self._take_lookups()
                    self._retry(lambda: self._work(wake))
                elif last_look:
                    if not self._retry(lambda: is_more(self._landing, self._manifest.chunk)):
                        break
                else:
                    self._clock.wait(wake.hint, self._idle())
        finally:
            self._close()
        self._finish()

    @property
    def _setup(self) -> Setup:
        """What is in force now, or will be with the next commit."""
        return self._in_force[-1][1]

    def _start(self, wake: Wake) -> None:
        setup = self._setup
        tables = snapshot.shapes(setup.program)
        claim = (setup.fingerprint, setup.meaning, self._clock.now(), tables, setup.rules)
        cursor = self._retry(lambda: self._state.start(*claim))
        self._take_edit(cursor)
        setup, chunks = self._setup, [chunk for chunk, _ in self._in_force]
        self._program = joined([s.program for _, s in self._in_force], chunks)
        self._rules = rules_name(self._in_force)
        self._manifest = self._begun(cursor)
        self._divide()
        self._saves = saves_of(self._groups, setup.program)
        self._cursor, self._tables = cursor.chunk, cursor.tables
        self._objects.collect(self._manifest)
        self._outbox.start()
        while self._manifest.chunk < self._cursor and not wake.stop.is_set():
            self._retry(lambda: self._work(wake))

    def _divide(self) -> None:
        """The patterns in groups, and the lookups as their shards need them from now on."""
        name = self._rules or self._setup.fingerprint
        self._groups = groups_of(self._program, self._manifest.buckets, self._setup.lateness, self._versions)
        self._lookups = self._objects.put_lookups(self._groups, self._versions, name, self._manifest.chunk)
        by_row = RowLookups.of(self._versions, self._setup.require)
        names = self._objects.put_joined(by_row.lookups, self._manifest.chunk)
        self._joined = Joined(self._settings.spark.state, names, self._setup.require)

    def _take_lookups(self) -> None:
        """Versions of lookups that wait come into force with the next batch, which is there."""
        self._note_refused()
        self._new += (taken := self._refresh.take(self._cursor))
        if later := [t.kept for t in taken if t.record.number > 1]:
            self._close()
            self._versions += later
            self._divide()

    def _note_refused(self) -> None:
        if (refused := self._refresh.refused) != self._refused:
            self._refused = refused
            self._retry(lambda: self._state.note({REFUSED_LOOKUP: refused}))

    def _take_edit(self, cursor: Cursor) -> None:
        """Patterns that were edited since the last run come into force with the first commit of this one."""
        wanted = self._edits.look()
        if wanted is not None and (gone := self._retry(self._landing.removed).chunks):
            self._edits.refuse(f"the whole log is folded again for it, of which chunks 0 to {gone - 1} were removed")
            wanted = None
        if wanted is not None:
            program = following(self._setup.program, wanted.program, cursor.chunk)
            if cursor.chunk == 0:
                self._in_force.clear()  # nothing was judged by it
            self._in_force.append((cursor.chunk, replace(wanted, program=program)))
            self._taken = False
        self._retry(lambda: self._state.note({REFUSED: self._edits.refused}))

    def _begun(self, cursor: Cursor) -> Manifest:
        """The manifest to go on from, of a new run. It is noted, which only the holder of the lease can."""
        noted = from_text(self._retry(lambda: self._state.get_meta(NOTE)))
        last = max(noted.run if noted else 0, self._objects.last_run())
        manifest = replace(self._known(noted, cursor), run=last + 1)
        self._retry(lambda: self._state.note({NOTE: to_text(manifest)}))
        return manifest

    def _known(self, manifest: Manifest | None, cursor: Cursor) -> Manifest:
        """The manifest that the state has, as far as it can be gone on from."""
        wanted = self._settings.spark.buckets
        if manifest and manifest.rules != self._rules:
            manifest = None  # of other patterns
        if manifest and wanted in (None, manifest.buckets) and manifest.chunk <= cursor.chunk:
            if (manifest.chunk, manifest.saved.chunk) != (cursor.chunk, cursor.tables):
                manifest = replace(manifest, saved=Saved())  # the embedded engine gave ids meanwhile
            if not self._objects.missing(manifest):
                return manifest
        return Manifest(wanted or self._spark.sparkContext.defaultParallelism, rules=self._rules)

    def _work(self, wake: Wake) -> None:
        """Takes a batch from Spark and commits it, if there is one before the query ends or the run is stopped."""
        try:
            query = self._running()
            self._asked_at = self._clock.monotonic()
            while (records := query.next(POLL_SECONDS)) is None:
                if wake.stop.is_set():
                    return
                if query.ended:
                    self._close()
                    return
            told = told_by(records, self._program)
            if told.chunks:
                self._take(told)
            query.done()
        except BaseException:
            self._close()
            raise

    def _running(self) -> Query:
        if self._query is None:
            tasks = self._spark.sparkContext.defaultParallelism
            setup = replace(self._setup, detail=self._setup.reading_for([s for _, s in self._in_force]))
            stands = (self._manifest.chunk, self._cursor)
            plan = Places(self._settings).plan(setup, self._groups, *stands, tasks, self._joined)
            reading = plan if plan.lateness.quarantine else None
            self._query = Query(self._spark, plan, lambda: replace(self._job(), reading=reading))
        return self._query

    def _close(self) -> None:
        if (query := self._query) is not None:
            self._query = None
            query.close()

    def _job(self, manifest: Manifest | None = None) -> Job:
        manifest = manifest or self._manifest
        return Job(
            self._groups, manifest.chunk, manifest.run, manifest.shards, self._settings.spark.state, self._lookups
        )

    def _take(self, told: Told) -> None:
        """Commits a batch, or, when its chunks were committed before, sees that they give the same again."""
        before = self._manifest
        first, last = told.chunks[0][0].number, told.chunks[-1][0].number
        if [info.number for info, *_ in told.chunks] != list(range(before.chunk, last + 1)):
            raise StateConflict(
                f"Spark gave chunks {first} to {last}, expected them from {before.chunk} on without a gap"
            )
        after = before.after(last + 1, told.versions)
        if last < self._cursor:
            self._check_again(told, first, last)
            self._retry(lambda: self._state.note({NOTE: to_text(after)}))
            self._manifest = after
        else:
            self._commit(told, after)
        self._objects.replaced(before, after)

    def _commit(self, told: Told, after: Manifest) -> None:
        now = self._clock.now()
        results = tuple(
            ChunkResult(info, counted, reasons, now, out, marked) for info, counted, reasons, out, marked in told.chunks
        )
        change = None
        if not self._taken:
            change, after = self._change(after)
        notes = {NOTE: to_text(after)}
        if change is not None and self._setup.detail.times is not None:  # its tables are new; see `_save`
            notes[REACH] = Reach(0, None).text()
        commit = Commit(results, told.detections, told.turns, notes, change, tuple(t.record for t in self._new))
        began = self._clock.monotonic()
        self._retry(lambda: self._state.commit(commit, self._setup.rows_per_file))
        self._manifest, self._cursor, committed = after, commit.last + 1, self._clock.monotonic()
        if change is not None:
            self._taken, self._tables = True, self._cursor
            self._edits.taken(self._setup, change.rules.first)
        self._refresh.committed(self._new)
        self._new = []
        self._outbox.committed(commit)
        self._saving.worked(self._clock.monotonic())
        self._on_progress(progress_of(commit, began - self._asked_at, committed - began))

    def _change(self, after: Manifest) -> tuple[RuleChange, Manifest]:
        """The edit that comes into force with a commit, with all rows of the tables that it needs."""
        chunk, setup = self._in_force[-1]
        saved = next_saved(replace(after, saved=Saved()), self._saves)
        order = Order(self._job(after), 0, saved.ids, columns_of(setup.program))
        rules = RuleSet(chunk, setup.fingerprint, setup.meaning, setup.rules, self._clock.now())
        tables = tuple(snapshot.shapes(setup.program))
        return RuleChange(rules, tables, lambda: saved_tables(self._spark, order)), replace(after, saved=saved)

    def _check_again(self, told: Told, first: int, last: int) -> None:
        noted = self._retry(lambda: self._state.digests(first, last))
        changed = next((i.number for i, *_ in told.chunks if noted.get(i.number, i.digest) != i.digest), None)
        stored = self._retry(
            lambda: [s.detection for kind in (False, True) for s in self._state.detections(shadow=kind)]
        )
        expected = [d.identity for d in stored if first <= d.chunk <= last]
        found = [d.identity for d in sorted(told.detections, key=lambda d: d.shadow)]
        if changed is not None or found != expected:
            raise StateConflict(
                f"folding chunks {first} to {last} again gives {len(found)} detections, which are not the "
                f"{len(expected)} committed, or another chunk {changed}: the landing zone was changed. "
                "Run 'tillwatch audit' to see where."
            )

    def _idle(self) -> float:
        """Nothing waits: publish what has lingered, save the tables. Returns for how long to wait, in seconds."""
        self._note_refused()
        left = self._outbox.idle()
        if self._manifest.chunk > self._tables and self._saving.fits(self._unsaved, self._clock.monotonic()):
            self._save()
        return POLL_SECONDS if left is None else min(left, POLL_SECONDS)

    @property
    def _unsaved(self) -> int:
        """At most so many rows would be saved."""
        return sum(sum(version.sizes.values()) for version in self._manifest.shards.values())

    def _finish(self) -> None:
        """The run ended: the last file may be short."""
        self._outbox.rest()
        if self._manifest.chunk > self._tables:
            self._save()

    def _save(self) -> None:
        """Brings the tables of the state up to the manifest. The rows are the executors'.

        They write them where they can, else the driver passes them on.
        """
        began, rows = self._clock.monotonic(), self._unsaved
        saved = next_saved(self._manifest, self._saves)
        order = Order(self._job(), self._manifest.saved.chunk, saved.ids, columns_of(self._setup.program))
        manifest = replace(self._manifest, saved=saved)
        notes = {NOTE: to_text(manifest)}
        if (
            self._setup.detail.times is not None
        ):  # the shards have what they need; another engine then reads the whole log
            notes[REACH] = Reach(0, None).text()
        if staging := self._state.staging():
            merge = Merge(saved.chunk, self._cursor, self._tables, notes)
            self._retry(lambda: save_staged(self._spark, staging, self._settings.state, order, merge))
        else:
            self._retry(lambda: self._state.save_tables(saved_tables(self._spark, order), saved.chunk))
            self._retry(lambda: self._state.note(notes))
        self._tables, self._manifest = saved.chunk, manifest
        self._saving.done(rows, began, self._clock.monotonic())


def rules_name(in_force: Sequence[tuple[int, Setup]]) -> str:
    """What the patterns that were ever in force are known by together; empty for those that never changed."""
    if len(in_force) == 1:
        return ""
    return hashlib.sha256(repr([(chunk, s.fingerprint) for chunk, s in in_force]).encode()).hexdigest()


def columns_of(program: Program) -> Mapping[str, frozenset[str]]:
    """The columns of each table of the state beside its keys: shards may have more, of patterns that ended."""
    return {t.name: frozenset((*(a.name for a in t.accumulators), *t.lookups)) for t in program.tables}


def saves_of(groups: tuple[Group, ...], program: Program) -> Mapping[int, frozenset[str]]:
    """Which of the program's tables each shard saves: those of its group that no group before has."""
    saves: dict[int, frozenset[str]] = {}
    taken: set[str] = set()
    wanted = {t.name for t in program.tables}
    for group in groups:
        mine = ({t.name for t in group.program.tables} & wanted) - taken
        taken |= mine
        saves.update(dict.fromkeys(group.shards, frozenset(mine)))
    return saves
