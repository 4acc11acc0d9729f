"""One run of a pipeline: its id, and the events of its beginning and end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import uuid4

from tillwatch import events
from tillwatch.config import masked
from tillwatch.events import Event, Notice, Observer, Recovered, RunBegan, RunEnded
from tillwatch.ingest import ChunkLanded, FileFinished, FileIgnored, FileStarted
from tillwatch.ingest import Event as IngestEvent
from tillwatch.observe.together import Together
from tillwatch.state.activity import How
from tillwatch.state.base import Mechanism


@dataclass(frozen=True, slots=True)
class Run:
    """One call of run, ingest or detect. `id`, 32 hexadecimal digits, is the same for both mechanisms of it."""

    observer: Observer
    stop: threading.Event
    once: bool
    id: str = field(default_factory=lambda: uuid4().hex)

    @contextmanager
    def begun(self, mechanism: Mechanism, *others: Observer) -> Iterator[Observer]:
        """A mechanism's part of the run, from its beginning to its end. Yields who is told what happens in it."""
        hears = Together(self.observer, *others)

        def tell(event: Event) -> None:
            hears(replace(event, mechanism=mechanism) if isinstance(event, Notice | Recovered) else event)

        tell(RunBegan(self.id, mechanism, self.once))
        try:
            yield tell
        except BaseException as error:
            tell(RunEnded(self.id, mechanism, "failed", type(error).__name__, masked(str(error))))
            raise
        how: How = "stopped" if self.stop.is_set() else "ended"
        tell(RunEnded(self.id, mechanism, how))


def of_ingest(event: IngestEvent, tell: Observer) -> None:
    """Tells what ingest has told, in the words that all observers know."""
    match event:
        case ChunkLanded(info=info, seconds=seconds):
            tell(events.Landed(info.number, info.rows, info.bytes, seconds, info.file.name))
        case FileStarted(file=file, row=row):
            tell(events.FileStarted(file.name, row))
        case FileFinished(record=record) if record.problem:
            name, text = record.file.name, f"{record.file.name} {record.problem}"
            tell(events.FileProblem(text, name, record.status, record.rows))
        case FileFinished(record=record):
            tell(events.FileFinished(record.file.name, record.rows))
        case FileIgnored(name=name, reason=reason):
            tell(events.FileProblem(f"{name} {reason}", name, "ignored"))
