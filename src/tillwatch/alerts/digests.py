"""What happens often is gathered for a time, and told together: files that failed, detections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tillwatch.alerts.alert import Alert, Found, Known, Moment
from tillwatch.alerts.condition import Conditions
from tillwatch.alerts.words import many, of_detection
from tillwatch.events import FileProblem, Processed
from tillwatch.ingest.settings import PROBLEMS

SHOWN = 5
"""So many detections, or files, are shown in a message."""


class Gathering:
    """Since when something is being gathered, and whether it is time to tell it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.since: Moment | None = None

    def begin(self, now: Moment) -> None:
        """There is something."""
        self.since = self.since or now

    def over(self, now: Moment, *, last: bool) -> Moment | None:
        """Since when, if it is time."""
        since = self.since
        if since is None or not (last or now.seconds - since.seconds >= self._seconds):
            return None
        self.since = None
        return since


class FailedFiles:
    """Source files that failed, and those of them that were read after all; each is told once."""

    def __init__(self, digest: float) -> None:
        self.conditions = Conditions(0.0)
        self._gathering = Gathering(digest)
        self._failed: dict[str, str] = {}
        self._mended: dict[str, str] = {}

    def failed(self, event: FileProblem, now: Moment) -> None:
        """A file has a problem; one that is not a failure is none of ours."""
        if event.status in PROBLEMS and event.name not in self.conditions.open:
            self.conditions.open[event.name] = now.wall
            self._mended.pop(event.name, None)
            self._failed[event.name] = event.text
            self._gathering.begin(now)

    def mended(self, name: str, now: Moment) -> None:
        """A file was read to its end."""
        if self.conditions.open.pop(name, None) is None:
            return
        if self._failed.pop(name, None) is None:  # else nobody has heard of it yet
            self._mended[name] = f"{name} was read to its end"
            self._gathering.begin(now)

    def tell(self, now: Moment, *, last: bool) -> Iterator[Alert]:
        """What is to be told now."""
        if (since := self._gathering.over(now, last=last)) is None:
            return
        if self._failed:
            title = f"{many(len(self._failed), 'source file')} failed"
            yield Alert("file_failed", "began", title, since.wall, now.wall, tuple(self._failed), _some(self._failed))
        if self._mended:
            title = f"{many(len(self._mended), 'source file')} that had failed {_was(len(self._mended))} read after all"
            yield Alert("file_failed", "ended", title, since.wall, now.wall, tuple(self._mended), _some(self._mended))
        self._failed, self._mended = {}, {}


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _some(lines: Mapping[str, str]) -> tuple[str, ...]:
    more = len(lines) - SHOWN
    return (*list(lines.values())[:SHOWN], *([f"and {more:,} more"] if more > 0 else []))


class Finds:
    """Detections of the patterns that are told, in digests. `seq` is that of the next detection of any pattern."""

    def __init__(self, patterns: tuple[str, ...], digest: float) -> None:
        self._patterns = patterns
        self._gathering = Gathering(digest)
        self._found: dict[str, Found] = {}
        self._waiting: dict[int, int] = {}  # of each digest that nobody has yet: how many alerts of it
        self.seq: int | None = None

    def begin(self, known: Known, now: Moment) -> None:
        """Detect begins, at this seq, with what an earlier run has left."""
        self.seq = known.seq
        self._found = {pattern: found for pattern, found in known.untold.items() if pattern in self._patterns}
        if self._found:
            self._gathering.begin(now)

    def add(self, event: Processed, now: Moment) -> None:
        """Chunks were committed."""
        if self.seq is None:
            return
        for seq, detection in enumerate(event.found, self.seq):
            if detection.pattern in self._patterns:
                before = self._found.get(detection.pattern, Found())
                self._found[detection.pattern] = before.and_then(of_detection(seq, detection), SHOWN)
                self._gathering.begin(now)
        self.seq += len(event.found)

    def tell(self, now: Moment, *, last: bool) -> Iterator[Alert]:
        """What is to be told now, an alert for each pattern."""
        if self.seq is None or (since := self._gathering.over(now, last=last)) is None:
            return
        self._waiting[self.seq] = len(self._found)
        for pattern in [p for p in self._patterns if p in self._found]:
            found = self._found[pattern]
            title = f"{many(found.count, 'detection')} of {pattern}"
            more = found.count - len(found.first)
            facts = (*found.first, *([f"and {more:,} more"] if more > 0 else []))
            yield Alert("detections", "told", title, since.wall, now.wall, (pattern,), facts, self.seq)
        self._found = {}

    def told(self, alert: Alert) -> None:
        """An alert has reached somebody."""
        if alert.seq in self._waiting:
            self._waiting[alert.seq] -= 1
            if not self._waiting[alert.seq]:
                del self._waiting[alert.seq]

    @property
    def noted(self) -> int | None:
        """The seq up to which all is told; None while that is not known, or something waits to be told."""
        return None if self._found or self._waiting else self.seq
