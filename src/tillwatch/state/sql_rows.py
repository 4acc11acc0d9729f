"""What the SQL stores write and say: rows of a commit, statements for files, why something is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tillwatch.errors import StateMissing
from tillwatch.model import Detection
from tillwatch.state.base import Commit, Stream

Row = tuple[Any, ...]


class Files(NamedTuple):
    """The statements for the files of a stream, by name."""

    next: str
    last_planned: str
    put_plan: str
    unpublished: str
    all: str
    set_published: str


FILES: Mapping[Stream, Files] = {
    "detections": Files("next_seq", "last_planned", "put_plan", "unpublished", "outbox", "set_published"),
    "cleared": Files(
        "next_cleared",
        "last_planned_cleared",
        "put_cleared_plan",
        "unpublished_cleared",
        "cleared_outbox",
        "set_cleared_published",
    ),
}


def no_state_yet(place: object) -> StateMissing:
    """What a reader is told when there is no state."""
    return StateMissing(f"there is no state at {place} yet: nothing has been run with this configuration")


def changed(uri: str, before: str, now: str) -> str:
    """What is said of a state that another configuration has made: the lines that differ."""
    old, new = before.splitlines(), now.splitlines()
    lines = [f"  was  {line}" for line in old if line not in new]
    lines += [f"  now  {line}" for line in new if line not in old]
    return (
        f"{uri} was made by another configuration, and detections are a function of it:\n"
        + "\n".join(lines)
        + "\nPut it back, or choose new places for state and detections; the landing zone can stay."
    )


def other_chunk(uri: str, number: int) -> str:
    """What is said of a chunk that is not the one noted."""
    return (
        f"chunk {number} of the landing zone is not the one that was noted in {uri} when it landed: it was changed. "
        "Bring the landed one back; 'tillwatch audit' says which chunks differ."
    )


def key_text(key: Mapping[str, str]) -> str:
    """A key as it is kept."""
    return json.dumps(dict(key), ensure_ascii=False)


def times_of(commit: Commit) -> dict[int, str]:
    """When each chunk of a commit was processed."""
    return {r.info.number: r.at for r in commit.results}


def detection_rows(first: int, detections: Sequence[Detection], commit: Commit) -> list[Row]:
    """Detections as rows, numbered from `first`."""
    times = times_of(commit)
    return [_detection_row(seq, d, times[d.chunk]) for seq, d in enumerate(detections, first)]


def _detection_row(seq: int, d: Detection, at: str) -> Row:
    evidence = json.dumps(d.evidence, ensure_ascii=False)
    return (seq, d.chunk, d.pattern, d.action, key_text(d.key), at, evidence, d.occasion)
