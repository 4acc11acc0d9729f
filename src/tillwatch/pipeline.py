"""A configured pipeline: X lands, Y detects, both at once or each on its own.

source ─► ingest ─► landing zone ─► decode ─► step ─► commit ─► publish ─► detections
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from tillwatch.clock import Clock, SystemClock
from tillwatch.compose import Composed, compose, overlaps, reporter, setup
from tillwatch.config import Settings, load
from tillwatch.detect.loop import Detect, Processed, Wake
from tillwatch.detect.setup import Setup
from tillwatch.edits import Edits, History, history_of
from tillwatch.errors import ConfigError, FilesSetAside, PatternError, StateError
from tillwatch.ingest import ChunkLanded, FileFinished, FileIgnored, IngestSettings, ingest
from tillwatch.ingest import Event as IngestEvent
from tillwatch.landing import Landing
from tillwatch.patterns.rules import Rules, from_text
from tillwatch.publish.deliver import Delivery
from tillwatch.publish.frame import as_frame
from tillwatch.publish.output import Output
from tillwatch.publish.outputs import open_output
from tillwatch.retry import Retry
from tillwatch.shared_landing import SharedLanding
from tillwatch.state import open_state
from tillwatch.state.base import Mechanism, State, Stream
from tillwatch.state.postgres_place import SCHEMES
from tillwatch.stores import Store, check_creates, open_store

PATIENCE_ONCE = 10.0
"""Seconds for which a run that works off what is there tries again what a store refuses."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Progress of ingest: a chunk of so many rows is in the landing zone."""

    chunk: int
    rows: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know: a file set aside, a store tried again."""

    text: str


Event = Landed | Processed | Notice
Observer = Callable[[Event], None]


def ignore(_: Event) -> None:
    """The observer that does nothing."""


class Pipeline:
    """A pipeline as one configuration describes it. Opening it reads no data and writes nothing.

    >>> Pipeline.open("no-such.yaml")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    tillwatch.errors.ConfigError: …
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        source: tuple[Path, Sequence[str]] | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.settings = settings
        self.broken = ""
        self._source = source  # the file and the overrides that the settings are from
        self.clock: Clock = clock or SystemClock(settings.detections.timezone)
        self.composed: Composed = compose(settings, rules=rules)
        self._setup: Setup | None = None

    @classmethod
    def open(cls, path: str | Path = "tillwatch.yaml", overrides: Sequence[str] = ()) -> Pipeline:
        """The pipeline of a configuration file; `overrides` are `KEY=VALUE`, as for `--set`.

        Raises ConfigError with every mistake and its place.
        """
        return cls(load(Path(path), overrides), source=(Path(path), overrides))

    @classmethod
    def look(cls, path: str | Path = "tillwatch.yaml", overrides: Sequence[str] = ()) -> Pipeline:
        """The same to be looked at: when the patterns are being edited, and are broken now, those in force.

        `broken` then says what is wrong. Raises ConfigError as `open` does when none are in force.
        """
        settings = load(Path(path), overrides)
        try:
            return cls(settings, source=(Path(path), overrides))
        except PatternError as error:
            with suppress(StateError), closing(open_state(settings.state, readonly=True)) as state:
                if records := state.rule_sets():
                    found = cls(settings, source=(Path(path), overrides), rules=from_text(records[-1].rules))
                    found.broken = str(error)
                    return found
            raise

    @cached_property
    def landing(self) -> Landing:
        """The landing zone."""
        landing = self.settings.landing
        return Landing(self.store(landing.uri), landing.format, landing.layout)

    def store(self, uri: str) -> Store:
        """The store at a configured place."""
        return open_store(uri)

    def proved_store(self, uri: str, retry: Retry) -> Store:
        """The store at a configured place, once it has shown that it creates objects only if absent."""
        store = self.store(uri)
        if store.remote:
            retry(lambda: check_creates(store))
        return store

    def outputs(self) -> dict[str, Output]:
        """The further outputs, by name; nothing is asked of them yet."""
        return {name: open_output(o, self.store, self.clock) for name, o in self.settings.outputs.items()}

    @property
    def setup(self) -> Setup:
        """What detect works with; the lookups are read the first time."""
        return self.read_setup(None)

    def read_setup(self, retry: Retry | None) -> Setup:
        """The same; lookups elsewhere are asked for with `retry`, else for some seconds. Raises SourceError."""
        if self._setup is None:
            self._setup = setup(self.composed, retry)
        return self._setup

    def run(self, *, once: bool = False, stop: threading.Event | None = None, observer: Observer = ignore) -> None:
        """Ingest and detect together, until stopped; with `once` until what is there is worked off.

        Raises FilesSetAside when source files were set aside, after everything else is done.
        """
        stop = stop or threading.Event()
        hint, landed_all = threading.Event(), threading.Event()

        place = self.settings.landing
        landing = SharedLanding(self.store(place.uri), place.format, place.layout, hint)

        def upstream() -> None:
            try:
                self._ingest(landing, stop, observer, once=once)
            finally:
                landed_all.set()
                hint.set()

        wake = Wake(stop, hint, landed_all.is_set)
        _together(stop, upstream, lambda: self._detect(landing, wake, once=once, observer=observer))

    def ingest(self, *, once: bool = False, stop: threading.Event | None = None, observer: Observer = ignore) -> None:
        """Mechanism X: lands the source. Raises LeaseHeld, and FilesSetAside as `run` does."""
        self._ingest(self.landing, stop or threading.Event(), observer, once=once)

    def _ingest(self, landing: Landing, stop: threading.Event, observer: Observer, *, once: bool) -> None:
        retry = self._retry(stop, observer, once=once)
        with self._at_work("ingest", retry) as state:
            self.proved_store(self.settings.landing.uri, retry)
            result = ingest(
                self.ingest_settings(),
                landing,
                state,
                self.clock,
                stop,
                once,
                lambda event: _pass_on(event, observer),
                retry,
            )
        if once and result.problems:
            raise FilesSetAside("\n".join(result.problems))

    def detect(self, *, once: bool = False, stop: threading.Event | None = None, observer: Observer = ignore) -> None:
        """Mechanism Y: detects in what is landed. Raises LeaseHeld."""
        wake = Wake(stop or threading.Event())
        with self._watched(wake):
            self._detect(self.landing, wake, once=once, observer=observer)

    def _detect(self, landing: Landing, wake: Wake, *, once: bool, observer: Observer) -> None:
        retry = self._retry(wake.stop, observer, once=once)
        with self._at_work("detect", retry) as state:
            self.read_setup(retry)
            # Asked before anything is delivered: the ids of what is delivered depend on it.
            history = retry(lambda: self.history(state))
            retry(landing.check_layout)  # in another layout than the one there, it would wait for ever
            first = retry(state.cursor).chunk
            with self._delivery(retry, once=once):
                work = self._detect_on_spark if self.settings.engine == "spark" else self._detect_here
                work(landing, state, history, retry, wake, observer, once=once)
                self._report(state, first, retry)

    def history(self, state: State) -> History:
        """The patterns that the state was made by. Raises StateConflict when more than patterns is other now."""
        return history_of(state, self.settings, self.setup)

    def _edits(self, in_force: Setup, observer: Observer) -> Edits:
        """What looks after edits of the patterns."""
        file = self._source[0] if self._source else None

        def read() -> Settings:
            return load(*self._source) if self._source else self.settings

        def report(text: str) -> None:
            observer(Notice(text))

        files = (file,) if file else ()
        return Edits(read, files, self.composed, self.setup, in_force, self.clock, report)

    def _detect_here(
        self,
        landing: Landing,
        state: State,
        history: History,
        retry: Retry,
        wake: Wake,
        observer: Observer,
        *,
        once: bool,
    ) -> None:
        """The embedded engine."""
        quarantine = self.proved_store(self.settings.quarantine, retry)
        files = self._files(state, retry)
        edits = self._edits(history.setup, observer)
        detect = Detect(history.setup, landing, state, files, quarantine, self.clock, retry, observer, edits)
        detect.run(wake, once=once)

    def _detect_on_spark(
        self,
        landing: Landing,
        state: State,
        history: History,
        retry: Retry,
        wake: Wake,
        observer: Observer,
        *,
        once: bool,
    ) -> None:
        """The Spark engine."""
        from tillwatch.spark.session import session

        settings = self.settings
        with session(settings.spark) as spark:
            from tillwatch.spark.detect import SparkDetect  # needs PySpark, which `session` has seen to

            self.proved_store(settings.quarantine, retry)
            files, objects = self._files(state, retry), self.proved_store(settings.spark.state, retry)
            edits = self._edits(history.setup, observer)
            in_force = list(zip(history.chunks, history.setups, strict=True))
            detect = SparkDetect(
                spark, settings, in_force, landing, state, files, objects, self.clock, retry, observer, edits
            )
            detect.run(wake, once=once)

    def _files(self, state: State, retry: Retry) -> dict[Stream, Store]:
        """Where files go: none of detections when there are to be none, none of what is cleared unless there is any."""
        detections = self.settings.detections
        stores: dict[Stream, Store] = {}
        if detections.format != "none":
            stores["detections"] = self.proved_store(detections.uri, retry)
        if self.composed.clears or retry(lambda: any(state.cleared(last=1))):
            stores["cleared"] = self.proved_store(detections.cleared, retry)
        return stores

    def _delivery(self, retry: Retry, *, once: bool) -> Delivery:
        """Delivers to the further outputs while it is open."""
        return Delivery(self.outputs(), self.opened, retry, once=once)

    def _report(self, state: State, first: int, retry: Retry) -> None:
        """Writes the quality reports of a run that began at chunk `first`."""
        if (place := self.settings.reports) is not None:
            store = self.proved_store(place, retry)
            retry(lambda: reporter(self.composed, self.landing, state, self.setup.row_lookups).write(store, first))

    def _watched(self, wake: Wake) -> AbstractContextManager[None]:
        landing = self.settings.landing
        if self.store(landing.uri).remote:
            return nullcontext()
        return _watched(landing.uri, wake, deep=landing.layout != "flat")

    def detections(self) -> pl.DataFrame:
        """All detections so far, in `seq` order, as a Polars DataFrame (Arrow: `.to_arrow()`, `.to_pandas()`).

        Columns: seq, chunk (Int64), patternId, ActionType, customerName, MerchantId, detectionTime, file (null until
        planned), key (JSON text of all key columns), holds (Boolean: whether the condition is true now), evidence
        (JSON text). A customer or merchant that the pattern is not per is the empty string.
        """
        with self.opened(readonly=True) as state:
            return as_frame(list(state.detections()))

    def ingest_settings(self) -> IngestSettings:
        """What ingest works with."""
        source = self.settings.source
        return IngestSettings(
            source.uri,
            source.rows,
            source.every,
            source.format,
            source.delimiter,
            dict(self.composed.required),
        )

    def _retry(self, stop: threading.Event, observer: Observer, *, once: bool) -> Retry:
        return Retry(self.clock, stop, lambda text: observer(Notice(text)), PATIENCE_ONCE if once else None)

    @contextmanager
    def _at_work(self, mechanism: Mechanism, retry: Retry) -> Iterator[State]:
        """The state, with the lease of a mechanism. A database that is not there yet is waited for, a file is not."""
        if mixed_up := list(overlaps(self.composed)):
            raise ConfigError("\n".join(mixed_up))
        with ExitStack() as stack:
            elsewhere = self.settings.state.startswith(SCHEMES)
            patient = retry if elsewhere else replace(retry, patience=0.0)
            state = patient(lambda: stack.enter_context(self.opened()))
            patient(lambda: stack.enter_context(state.lease(mechanism)))
            yield state

    @contextmanager
    def opened(self, *, readonly: bool = False) -> Iterator[State]:
        """A connection to the state, closed at the end. Raises StateError."""
        state = open_state(self.settings.state, readonly=readonly)
        try:
            yield state
        finally:
            state.close()


def _pass_on(event: IngestEvent, observer: Observer) -> None:
    """What a person wants to know of ingest."""
    match event:
        case ChunkLanded(info=info):
            observer(Landed(info.number, info.rows))
        case FileFinished(record=record) if record.problem:
            observer(Notice(f"{record.file.name} {record.problem}"))
        case FileIgnored(name=name, reason=reason):
            observer(Notice(f"{name} {reason}"))


def _together(stop: threading.Event, *works: Callable[[], None]) -> None:
    """Runs works side by side; when one fails the others stop, save that files set aside stop nobody."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            errors.append(error)
            if not isinstance(error, FilesSetAside):
                stop.set()

    threads = [threading.Thread(target=guarded, args=(w,), name="tillwatch") for w in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
    if errors:
        raise min(errors, key=lambda e: isinstance(e, FilesSetAside))


@contextmanager
def _watched(uri: str, wake: Wake, *, deep: bool) -> Iterator[None]:
    """File-system events in the landing zone as a hint that something has landed; polling is the truth."""
    from watchfiles import watch

    folder, over = Path(uri), threading.Event()

    def listen() -> None:
        for _ in watch(folder, stop_event=over, debounce=2, step=2, rust_timeout=500, recursive=deep):
            wake.hint.set()

    with suppress(OSError):  # a folder that cannot be made is reported by whoever needs it
        folder.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=listen, name="tillwatch-watch", daemon=True)
    if folder.is_dir():
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
