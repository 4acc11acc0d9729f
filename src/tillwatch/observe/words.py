"""Each event as a log has it: level, action, a text for people, and fields.

Field names are those of the Elastic Common Schema; what it has no name for is below `tillwatch.`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tillwatch import events
from tillwatch.events import Event
from tillwatch.ingest.settings import PROBLEMS
from tillwatch.state.base import Mechanism

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@dataclass(frozen=True, slots=True)
class Entry:
    """What a log says of an event. `mechanism` is None where it is not known."""

    level: int
    action: str
    text: str
    mechanism: Mechanism | None
    fields: Mapping[str, Any] = field(default_factory=dict)


def entry(event: Event) -> Entry:
    """The entry of an event."""
    match event:
        case events.Landed():
            return Entry(INFO, "chunk-landed", _landed(event), "ingest", _of_landed(event))
        case events.Processed():
            return Entry(INFO, "chunks-processed", _processed(event), "detect", _of_processed(event))
        case events.Published():
            return Entry(INFO, "file-published", _published(event), "detect", _of_published(event))
        case events.Delivered():
            return Entry(INFO, "file-delivered", _delivered(event), "detect", _of_delivered(event))
        case events.RunBegan():
            return Entry(INFO, "run-began", f"{event.mechanism} begins", event.mechanism)
        case events.RunEnded():
            return _ended(event)
        case events.FileStarted(name=name, row=row):
            behind = f", behind row {row:,}" if row else ""
            return Entry(INFO, "file-started", f"reading {name}{behind}", "ingest", {"file.name": name})
        case events.FileFinished(name=name, rows=rows):
            fields = {"file.name": name, "tillwatch.rows": rows}
            return Entry(INFO, "file-finished", f"{name} is read, {rows:,} rows of it are landed", "ingest", fields)
        case events.Recovered():
            return Entry(INFO, "recovered", _recovered(event), event.mechanism, _of_recovered(event))
        case events.Notice():
            return _notice(event)


def _notice(event: events.Notice) -> Entry:
    who = event.mechanism
    match event:
        case events.Retried():
            fields = {
                "tillwatch.place": event.place,
                "tillwatch.attempt": event.attempt,
                "tillwatch.wait_seconds": event.wait,
                "error.type": event.error,
                "error.message": event.text,
                "event.outcome": "failure",
            }
            return Entry(WARNING, "retried", event.text, who, fields)
        case events.FileProblem():
            fields = {"file.name": event.name, "tillwatch.file_status": event.status, "tillwatch.rows": event.rows}
            level = ERROR if event.status in PROBLEMS else WARNING
            return Entry(level, "file-problem", event.text, who, fields)
        case events.Serving(url=url):
            return Entry(INFO, "serving", event.text, who, {"url.full": url})
        case events.EditTaken():
            return Entry(INFO, "edit-taken", event.text, who, {"tillwatch.chunk": [event.chunk]})
        case events.EditRefused():
            return Entry(WARNING, "edit-refused", event.text, who, {"event.outcome": "failure"})
    return Entry(WARNING, "notice", event.text, who)


def _ended(event: events.RunEnded) -> Entry:
    text = f"{event.mechanism} {event.how}"
    fields: dict[str, Any] = {"tillwatch.how": event.how}
    if event.how != "failed":
        return Entry(INFO, "run-ended", text, event.mechanism, fields | {"event.outcome": "success"})
    fields |= {"error.type": event.error, "error.message": event.text, "event.outcome": "failure"}
    return Entry(ERROR, "run-ended", f"{text}: {event.text or event.error}", event.mechanism, fields)


def _landed(event: events.Landed) -> str:
    size = "" if event.bytes is None else f", {event.bytes:,} bytes"
    return f"chunk {event.chunk} landed: {event.rows:,} rows{size}, in {event.seconds:.3f} s"


def _of_landed(event: events.Landed) -> dict[str, Any]:
    return {
        "tillwatch.chunk": [event.chunk],
        "tillwatch.rows": event.rows,
        "tillwatch.bytes": event.bytes,
        "file.name": event.file or None,
        **_took(event.seconds),
    }


def _processed(event: events.Processed) -> str:
    which = f"chunk {event.first}" if event.first == event.last else f"chunks {event.first} to {event.last}"
    parts = [f"{event.counted:,} rows counted"]
    if event.quarantined:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(event.reasons.items()))
        parts.append(f"{event.quarantined:,} quarantined" + (f" ({reasons})" if reasons else ""))
    parts += [f"{event.filtered:,} filtered"] if event.filtered else []
    parts += [f"{pattern} {count:,}" for pattern, count in event.detections.items()]
    return f"{which} processed: {', '.join(parts)}; fold {event.fold:.3f} s, commit {event.commit:.3f} s"


def _of_processed(event: events.Processed) -> dict[str, Any]:
    return {
        "tillwatch.chunk": list(range(event.first, event.last + 1)),
        "tillwatch.counted": event.counted,
        "tillwatch.quarantined": event.quarantined,
        "tillwatch.filtered": event.filtered,
        "tillwatch.reasons": [{"code": code, "rows": rows} for code, rows in sorted(event.reasons.items())],
        "tillwatch.detections": sum(event.detections.values()),
        "tillwatch.patterns": [{"id": pattern, "detections": n} for pattern, n in event.detections.items()],
        "tillwatch.fold_seconds": round(event.fold, 6),
        "tillwatch.commit_seconds": round(event.commit, 6),
        **_took(event.fold + event.commit),
    }


def _published(event: events.Published) -> str:
    return f"{event.file} published: {event.stream} {event.first} to {event.last}, in {event.seconds:.3f} s"


def _of_published(event: events.Published) -> dict[str, Any]:
    return {
        "tillwatch.chunk": list(event.chunks),
        "tillwatch.rows": event.rows,
        "tillwatch.stream": event.stream,
        "file.name": event.file,
        **_took(event.seconds),
    }


def _delivered(event: events.Delivered) -> str:
    return f"detections {event.first} to {event.last} delivered to {event.output}, in {event.seconds:.3f} s"


def _of_delivered(event: events.Delivered) -> dict[str, Any]:
    rows = event.last - event.first + 1
    place = f"outputs.{event.output}"
    return {"tillwatch.place": place, "tillwatch.rows": rows, "file.name": event.file, **_took(event.seconds)}


def _recovered(event: events.Recovered) -> str:
    return f"{event.place} works again, after {event.attempts:,} failures in {event.seconds:.1f} s"


def _of_recovered(event: events.Recovered) -> dict[str, Any]:
    return {"tillwatch.place": event.place, "tillwatch.attempt": event.attempts, **_took(event.seconds)}


def _took(seconds: float) -> dict[str, Any]:
    return {"event.duration": round(seconds * 1e9), "event.outcome": "success"}
