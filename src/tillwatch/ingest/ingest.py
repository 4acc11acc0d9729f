"""The loop of ingest: look at the source, take files in order, land their rows in chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tillwatch.clock import Clock
from tillwatch.errors import ChunkRefused, SourceError, SourceUnavailable
from tillwatch.ingest.discover import look
from tillwatch.ingest.formats import pieces_of
from tillwatch.ingest.known import Finding, Known
from tillwatch.ingest.lander import Lander, landing_thread
from tillwatch.ingest.pace import Pace
from tillwatch.ingest.readers.base import FileBroken, FileRefused, Piece
from tillwatch.ingest.readers.stream import file_digest
from tillwatch.ingest.reconcile import reconcile
from tillwatch.ingest.settings import (
    PROBLEMS,
    ChunkLanded,
    Event,
    FileFinished,
    FileStarted,
    IngestResult,
    IngestSettings,
)
from tillwatch.ingest.watch import Watch
from tillwatch.landing import Landing
from tillwatch.model import ChunkInfo, Position, SourceFile
from tillwatch.retry import Retry
from tillwatch.sources import Source, open_source
from tillwatch.sources.base import FileChanged, FileIgnored, Found
from tillwatch.state.base import FileRecord, FileStatus, Ledger

T = TypeVar("T")


def ingest(
    settings: IngestSettings,
    landing: Landing,
    ledger: Ledger,
    clock: Clock,
    stop: threading.Event,
    once: bool,
    on_event: Callable[[Event], None],
    retry: Retry,
) -> IngestResult:
    """Lands the source, going on after what is in the landing zone already.

    Runs until `stop` is set, then finishes the chunk in hand; with `once` it lands what is there, flat out, and
    returns. A file that cannot be read, ends early or is changed does not keep others from being read: the
    result has it. What a store, the ledger or a source elsewhere refuses for now is tried again as `retry` has
    patience. Events come in the calling thread. Raises SourceError when the source is not there or a disk fails,
    LogError, StoreError and StateError as the landing zone and the ledger do.
    """
    settings = replace(settings, every=0.0) if once else settings
    number, position = retry(lambda: reconcile(landing, ledger))
    tally = _Tally(on_event)
    with (
        closing(open_source(settings.root)) as source,
        landing_thread(landing, ledger, clock, retry, tally.landed) as lander,
    ):
        pace = Pace(settings.every, clock)
        _Ingest(settings, source, landing, ledger, lander, pace, retry, stop, tally, number).run(position, clock, once)
        lander.settle()
    return tally.result()


class _Tally:
    """Passes events on and sums them up."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._chunks = 0
        self._rows = 0
        self._problems: dict[str, str] = {}

    def landed(self, info: ChunkInfo, seconds: float) -> None:
        self._chunks += 1
        self._rows += info.rows
        self._on_event(ChunkLanded(info, seconds))

    def started(self, file: SourceFile, row: int) -> None:
        self._on_event(FileStarted(file, row))

    def finished(self, record: FileRecord) -> None:
        problem = f"{record.file.name} {record.problem}"
        told = self._problems.pop(record.file.name, None)
        if record.status in PROBLEMS:
            self._problems[record.file.name] = problem
        if told != problem:
            self._on_event(FileFinished(record))

    def ignored(self, ignored: FileIgnored) -> None:
        if ignored.problem:
            self._problems[ignored.name] = f"{ignored.name} {ignored.reason}"
        self._on_event(ignored)

    def result(self) -> IngestResult:
        return IngestResult(self._chunks, self._rows, tuple(self._problems.values()))


class _Ingest:
    """One run."""

    def __init__(
        self,
        settings: IngestSettings,
        source: Source,
        landing: Landing,
        ledger: Ledger,
        lander: Lander,
        pace: Pace,
        retry: Retry,
        stop: threading.Event,
        tally: _Tally,
        number: int,
    ) -> None:
        self._settings = settings
        self._source = source
        self._landing = landing
        self._ledger = ledger
        self._lander = lander
        self._pace = pace
        self._retry = retry
        self._stop = stop
        self._tally = tally
        self._number = number
        self._known = Known(retry(ledger.files), self._digest_of)
        self._has_seen: Callable[[Found], bool] = lambda found: False

    def run(self, position: Position, clock: Clock, once: bool) -> None:
        """Takes files until there is none (`once`) or until stopped; goes on at `position` in the one begun."""
        begun = self._begun()
        first = begun.file.key if begun else None
        watch = Watch(self._source, self._settings, clock, self._retry, once, first, self._tally.ignored)
        self._has_seen = watch.has_seen
        found = watch.next()
        # When stopped, it may only not have been seen yet.
        if begun and not self._stop.is_set() and (found is None or found.key != first):
            self._finish(begun, "broken", f"is gone after row {begun.rows}: the rows behind it are not landed")
        while not self._stop.is_set():
            if found:
                self._take(found, position)
            elif once:
                return
            else:
                clock.wait(self._stop, watch.period)
            found = watch.next()

    def _begun(self) -> FileRecord | None:
        """The file to go on with, under the name it has now."""
        begun = self._known.begun()
        if begun is None:
            return None
        seen = self._retry(lambda: look(self._source, self._settings.format))
        now = self._known.follow(begun, seen.files, self._continues)
        if now is not begun:
            self._note(now)
        return now

    def _continues(self, found: Found) -> bool:
        """Whether the rows of the last landed chunk are in this file, where they should be."""
        last = self._retry(lambda: self._landing.info(self._number - 1))
        before = self._retry(lambda: self._landing.info(self._number - 2)) if self._number > 1 else None
        start = before.position if before and before.file.number == last.file.number else Position()
        settings = replace(self._settings, rows=last.rows)
        try:
            file = self._source.file(found, self._retry)
            with closing(pieces_of(file, last.file.name, settings, start)) as pieces:
                piece = next(pieces, None)
        except (FileRefused, FileBroken, FileChanged):
            return False
        return piece is not None and self._retry(lambda: self._landing.holds(last.number, piece.frame))

    def _digest_of(self, found: Found) -> str | None:
        file = self._source.file(found, self._retry)
        try:
            return file_digest(file) if isinstance(file, Path) else None
        except FileRefused:  # it says so again when it is read
            return None

    def _take(self, found: Found, position: Position) -> None:
        judgement = self._known.judge(found)
        record = judgement.record
        match judgement.finding:
            case Finding.NEW:
                self._note(record)
                self._read(found, record, Position())
            case Finding.BEGUN:
                self._read(found, record, position)
            case Finding.PARTIAL:
                self._tally.finished(record)
            case Finding.CHANGED if record.status == "changed":
                self._tally.finished(record)
            case Finding.CHANGED:
                self._finish(record, "changed", _changed_since(record))
            case Finding.DUPLICATE if judgement.original:
                original = judgement.original.file.name
                self._finish(record, "duplicate", f"has the same content as {original}: it is not read again")

    def _read(self, found: Found, record: FileRecord, position: Position) -> None:
        """Lands a file's rows from `position` on, and notes how it ended, or when stopped, how far it came."""
        self._tally.started(record.file, position.row)
        ended: SourceError | None = None
        try:
            file = self._source.file(found, self._unless_stopped)
            with closing(pieces_of(file, record.file.name, self._settings, position)) as pieces:
                for piece in pieces:
                    if not self._pace.turn(self._stop):
                        return self._leave(record)
                    # Elsewhere each range is known to be of the revision that was found.
                    if isinstance(file, Path) and not self._source.unchanged(found):
                        raise FileChanged(found.name)
                    self._land(record.file, piece)
                    record = replace(record, rows=piece.position.row, digest=piece.file_digest)
                    position = piece.position
                self._lander.settle()
        except ChunkRefused as error:
            ended, refused = FileRefused(f"cannot be landed: {error}"), self._lander.go_on()
            self._number = refused.number
            record = replace(record, rows=refused.first_row - 1, digest=None)
        except (FileRefused, FileBroken, FileChanged) as error:
            ended = error
        except SourceUnavailable:
            if self._stop.is_set():
                return self._leave(record)
            raise
        changed = isinstance(ended, FileChanged) or (record.digest is None and not self._is_unchanged(found))
        if changed and record.rows == position.row and (renamed := self._renamed(record)):
            return self._read(*renamed, position)
        if changed:
            self._finish(record, *_changed_meanwhile(record))
        else:
            self._finish(record, *_outcome(record, ended))
        return None

    def _renamed(self, record: FileRecord) -> tuple[Found, FileRecord] | None:
        """A file that is gone under the name under which it was read, by its new one; None when it is just gone."""
        try:
            seen = self._retry(lambda: look(self._source, self._settings.format))
        except SourceError:
            return None
        self._lander.settle()  # the ledger must not be ahead
        self._known.add(record)
        now = self._known.follow(record, [f for f in seen.files if f.key == record.file.key or not self._has_seen(f)])
        if now is record:
            return None
        self._note(now)
        return next(found for found in seen.files if found.key == now.file.key), now

    def _unless_stopped(self, action: Callable[[], T]) -> T:
        """Tries again as the others do; a large file elsewhere is not fetched to its end after a stop."""
        if self._stop.is_set():
            raise SourceUnavailable("a stop was asked for")
        return self._retry(action)

    def _leave(self, record: FileRecord) -> None:
        """Stops within a file: it is noted how far it came."""
        self._lander.settle()
        self._note(record)

    def _is_unchanged(self, found: Found) -> bool:
        return self._retry(lambda: self._source.unchanged(found))

    def _land(self, file: SourceFile, piece: Piece) -> None:
        info = ChunkInfo(self._number, piece.frame.height, file, piece.first_row, piece.position, piece.file_digest)
        self._lander.put(info, piece.frame)
        self._number += 1
        if self._pace.every:
            self._lander.settle()
            self._pace.rest(self._stop)

    def _finish(self, record: FileRecord, status: FileStatus, problem: str | None) -> None:
        self._lander.settle()
        record = replace(record, status=status, problem=problem)
        self._note(record)
        self._known.add(record)
        self._tally.finished(record)

    def _note(self, record: FileRecord) -> None:
        self._retry(lambda: self._ledger.record_file(record))


def _outcome(record: FileRecord, ended: SourceError | None) -> tuple[FileStatus, str | None]:
    if ended is None:
        return "done", None if record.rows else "has no rows"
    if isinstance(ended, FileBroken):
        return "broken", str(ended)
    return ("broken", f"{ended}, after row {record.rows}") if record.rows else ("refused", str(ended))


def _changed_meanwhile(record: FileRecord) -> tuple[FileStatus, str]:
    if not record.rows:
        return "refused", "was changed or removed before a row of it was landed: it is taken when it stays as it is"
    return "changed", (
        f"was changed or removed while it was read: its first {record.rows} rows are landed, the rows behind them "
        "are not. Put these under a new name"
    )


def _changed_since(record: FileRecord) -> str:
    return (
        f"has changed after it was taken: its first {record.rows} rows are landed and stay, the new content is "
        "not read. Give new content a new name"
    )
