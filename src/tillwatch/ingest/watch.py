"""Looking at the source again and again: which files to take next, and when they can be taken."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable
from functools import partial

from tillwatch.clock import Clock
from tillwatch.errors import SourceError, SourceUnavailable
from tillwatch.ingest.discover import look
from tillwatch.ingest.settings import IngestSettings
from tillwatch.retry import Retry
from tillwatch.sources.base import FileIgnored, Found, Source

_PERIOD = 1.0


class Watch:
    """Hands out each revision of each file once, in order.

    A file is held back while it may still be being written: until its size and modification time have stayed
    the same for a time, or when `once`, not at all. The file with the key `first` comes first and is not held back.
    Between two looks `period` seconds are to be left.
    """

    def __init__(
        self,
        source: Source,
        settings: IngestSettings,
        clock: Clock,
        retry: Retry,
        once: bool,
        first: str | None,
        on_ignored: Callable[[FileIgnored], None],
    ) -> None:
        self._settled = min(_PERIOD, settings.every or _PERIOD)
        self.period = max(self._settled, source.poll)
        self._source = source
        self._settings = settings
        self._clock = clock
        self._retry = retry
        self._once = once
        self._first = first
        self._on_ignored = on_ignored
        self._queue: deque[Found] = deque()
        self._handed_out: set[Found] = set()
        self._since: dict[Found, float] = {}
        self._told: set[FileIgnored] = set()
        self._looked = False

    def next(self) -> Found | None:
        """The next file to take, None when there is none now. Raises SourceError as `look` does, at first."""
        if not self._queue and not (self._once and self._looked):
            self._look()
        while self._queue:
            found = self._queue.popleft()
            try:
                is_there = self._once or self._retry(partial(self._source.unchanged, found))
            except SourceUnavailable:  # patience has ended, or a stop was asked for: it is found again
                return None
            if is_there:
                self._handed_out.add(found)
                return found
        return None

    def bytes_behind(self) -> int:
        """The size of the files that are found and not handed out."""
        return sum(found.size for found in self._queue)

    def has_seen(self, found: Found) -> bool:
        """Whether the last look found it, or it was handed out before."""
        return found in self._since or found in self._handed_out

    def _look(self) -> None:
        try:
            seen = self._retry(lambda: look(self._source, self._settings.format))
        except SourceError as error:
            if not self._looked:
                raise
            self._tell(FileIgnored(self._source.uri, f"cannot be looked at now: {error}", False))
            return
        self._looked = True
        for ignored in seen.ignored:
            self._tell(ignored)
        fresh = [found for found in seen.files if found not in self._handed_out]
        now = self._clock.monotonic()
        self._since = {found: self._since.get(found, now) for found in fresh}
        ready = [found for found in fresh if self._is_settled(found, now)]
        self._queue.extend(sorted(ready, key=lambda found: found.key != self._first))

    def _is_settled(self, found: Found, now: float) -> bool:
        wall = datetime.datetime.fromisoformat(self._clock.now()).timestamp()
        age = max(wall - found.modified / 1e9, now - self._since[found])
        return self._once or found.key == self._first or age >= self._settled

    def _tell(self, ignored: FileIgnored) -> None:
        if ignored not in self._told:
            self._told.add(ignored)
            self._on_ignored(ignored)
