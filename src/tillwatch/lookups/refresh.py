"""Lookups whose source changes: what is in force, what was read anew and waits, what is refused.

Sources are looked at by a thread of their own, so that no chunk waits for them. A file of this machine is read once it
has been still from one look to the next: half a file is no version. A version comes into force when a chunk does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace

from tillwatch.clock import Clock
from tillwatch.config import Settings
from tillwatch.detect.change import Taken
from tillwatch.engine.lookup import Lookup, LookupData
from tillwatch.errors import SourceUnavailable, StateConflict, TillwatchError
from tillwatch.lookups.reading import read_lookup
from tillwatch.lookups.source import LookupSource
from tillwatch.lookups.versions import Kept, keep, kept
from tillwatch.retry import Retry
from tillwatch.sources import open_source
from tillwatch.state.base import LookupVersion
from tillwatch.stores.base import Store

SETTLED = 1.0
"""Seconds after which a file that has just changed is looked at again."""

Stamp = tuple[object, ...]
"""By what it is seen that a file may have changed, without reading it."""


@dataclass(slots=True)
class _Watched:
    """A lookup that is looked at every `period` seconds, next `at` a time; 0 for at the start only."""

    source: LookupSource
    period: float
    at: float = 0.0
    seen: Stamp | None = None
    read: Stamp | None = None


class Refresh:
    """The versions of a pipeline's lookups: those that `records` say, and what their sources hold now.

    Every source is looked at once when it is made. Raises SourceError for one that was never read before and cannot be
    read now, and StateConflict for one that must not change and has. What a person should hear of goes to `report`.

    A lookup whose lack of a key sends rows to the quarantine must not change: what a chunk has there is written before
    its commit, by whoever reads ahead, and never again.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[LookupSource],
        records: Sequence[LookupVersion],
        store: Store,
        clock: Clock,
        retry: Retry,
        report: Callable[[str], None],
    ) -> None:
        self._fixed = {name for name, what in settings.require.items() if what == "quarantine"}
        periods = {source.name: settings.lookups[source.name].period for source in sources}
        self._watched = [_Watched(s, 0.0 if s.name in self._fixed else periods[s.name]) for s in sources]
        self._digits, self._store = settings.amounts.digits, store
        self._clock, self._retry, self._report = clock, retry, report
        self._records = {record.name: record for record in records}  # the last of each
        self._in_force = {record.name: record.digest for record in records}
        self._first: list[LookupData] = []  # nobody has recorded them
        self.versions: list[Lookup] = kept(records, sources, store, retry)
        self._lock = threading.Lock()
        self._waiting: dict[str, LookupData] = {}
        self._refused: dict[str, str] = {}
        for watched in self._watched:
            self._begin(watched)

    @property
    def refused(self) -> str:
        """Why versions were refused, empty when none was."""
        with self._lock:
            return "; ".join(self._refused.values())

    def _begin(self, watched: _Watched) -> None:
        if watched.source.name in self._records:
            self._guarded(watched, self._read_first)
            self._check_fixed(watched.source.name)
        else:
            with suppress(TillwatchError):  # reading says it better
                watched.read = watched.seen = self._stamp(watched.source)
            data = read_lookup(watched.source, self._digits, self._retry)
            self._in_force[data.spec.name] = data.digest
            self._first.append(data)
            self.versions.append(data)
        watched.at = self._clock.monotonic() + watched.period

    def _check_fixed(self, name: str) -> None:
        if name in self._fixed and name in self._waiting:
            raise StateConflict(
                f"the lookup {name} has changed since the state was made, and 'require' sends rows to the quarantine "
                f"by it, so it must stay as it is. Put it back, or say 'require: {{{name}: mark}}' or take the changed "
                "one, with new places for state, quarantine and detections; the landing zone can stay."
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While it is open sources are looked at, as often as they are to be."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), name="tillwatch-lookups", daemon=True)
        if any(watched.period for watched in self._watched):
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread.is_alive():
                thread.join(SETTLED)  # one that waits for a place elsewhere ends with the process

    def take(self, chunk: int) -> list[Taken]:
        """What waits comes into force at a chunk; its values are kept from now on. The first version always was."""
        with self._lock:
            waiting = [*self._first, *self._waiting.values()]
            self._first, self._waiting = [], {}
            self._in_force |= {data.spec.name: data.digest for data in waiting}
        return [self._taken(data, chunk) for data in waiting]

    def committed(self, taken: Iterable[Taken]) -> None:
        """These were recorded."""
        for now in (t.record for t in taken if t.record.number > 1):
            self._report(f"lookup {now.name}: version {now.number}, {now.rows:,} keys, from chunk {now.first} on")

    def _taken(self, data: LookupData, chunk: int) -> Taken:
        name, before = data.spec.name, self._records.get(data.spec.name)
        number, first = (before.number + 1, chunk) if before else (1, 0)
        data = replace(data, first=first)
        place = keep(self._store, data, self._retry)
        record = LookupVersion(name, number, first, data.digest, data.frame.height, place, self._clock.now())
        self._records[name] = record
        return Taken(record, data, Kept(record, data.spec, self._store, self._retry))

    def _watch(self, over: threading.Event) -> None:
        due = [watched for watched in self._watched if watched.period]
        while not over.is_set():
            watched = min(due, key=lambda w: w.at)
            if self._clock.wait(over, watched.at - self._clock.monotonic()):
                return
            self._guarded(watched, self._look)

    def _look(self, watched: _Watched) -> None:
        """Reads a source that may have changed, once it is still."""
        stamp, seen = self._stamp(watched.source), watched.seen
        watched.seen = stamp
        if stamp is None or stamp != watched.read:
            if watched.source.uri is None and stamp != seen:
                watched.at = self._clock.monotonic() + min(watched.period, SETTLED)
                return
            self._read(watched)
        watched.at = self._clock.monotonic() + watched.period

    def _read_first(self, watched: _Watched) -> None:
        """What is in force need not be read where it is kept when the source still holds it."""
        data, record = self._read(watched), self._records[watched.source.name]
        if data is not None and data.digest == record.digest:
            at = max(n for n, version in enumerate(self.versions) if version.spec.name == record.name)
            self.versions[at] = replace(data, first=record.first)

    def _read(self, watched: _Watched) -> LookupData | None:
        """What the source holds waits, when it is other than what is in force; nothing if it has changed meanwhile."""
        watched.read = watched.seen = stamp = self._stamp(watched.source)
        data = read_lookup(watched.source, self._digits, replace(self._retry, patience=0.0))
        if stamp != self._stamp(watched.source):
            watched.read = None
            return None
        with self._lock:
            self._refused.pop(watched.source.name, None)
            if data.digest == self._in_force[watched.source.name]:
                self._waiting.pop(watched.source.name, None)
            else:
                self._waiting[watched.source.name] = data
        return data

    def _guarded(self, watched: _Watched, work: Callable[[_Watched], object]) -> None:
        """A source that cannot be read leaves what is in force as it is; that is told once."""
        name = watched.source.name
        try:
            work(watched)
        except TillwatchError as error:
            watched.at = self._clock.monotonic() + watched.period
            if isinstance(error, SourceUnavailable):
                watched.read = None
            with self._lock:
                told = self._refused.get(name) == str(error)
                self._refused[name] = str(error)
                self._waiting.pop(name, None)
            if not told:
                self._report(f"the lookup stays as it is, a new version was refused: {error}")

    def _stamp(self, source: LookupSource) -> Stamp | None:
        """None where only reading tells."""
        if source.said_by:
            return None
        if source.uri is not None:
            with closing(open_source(source.uri)) as place:
                return tuple(place.look().files)
        try:
            told = source.path.stat()
        except OSError:
            return (0,)
        return told.st_mtime_ns, told.st_size, told.st_ino
