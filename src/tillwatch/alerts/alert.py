"""What flows through the house of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tillwatch.state.base import Mechanism

RuleName = Literal["file_failed", "no_new_chunk", "lag", "quarantine_share", "unreachable", "detections"]
Kind = Literal["began", "ended", "told"]
"""A condition came true; it is over; something that happened and has no end."""

Scope = Literal["run", "ingest", "detect"]
"""What is at work in this process; `run` is both mechanisms."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: seconds that never go back, and what the clock on the wall said."""

    seconds: float
    wall: str


@dataclass(frozen=True, slots=True)
class Stand:
    """How things stand in the state: chunks landed and processed, and which mechanisms are at work.

    `open` are the conditions that are told and not over, by rule and what they are of, with since when.
    """

    landed: int
    processed: int
    at_work: frozenset[Mechanism]
    open: Mapping[RuleName, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """Detections of a pattern: how many, and the first few, each in a line."""

    count: int = 0
    first: tuple[str, ...] = ()

    def and_then(self, line: str, shown: int) -> Found:
        """The same with one more."""
        return Found(self.count + 1, (*self.first, line) if len(self.first) < shown else self.first)


@dataclass(frozen=True, slots=True)
class Known:
    """What the state knew when a mechanism began.

    `seq` is that of the next detection, None when it was ingest that began; `untold` are detections before it that an
    earlier run found and did not come to tell.
    """

    stand: Stand
    seq: int | None = None
    untold: Mapping[str, Found] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to be told.

    `subjects` are what it is of, such as places, files or a pattern; `since` is when it began; `facts` are lines that
    say more. `seq` is that of the next detection when these were gathered.
    """

    rule: RuleName
    kind: Kind
    title: str
    since: str
    at: str
    subjects: tuple[str, ...] = ("",)
    facts: tuple[str, ...] = ()
    seq: int = 0
