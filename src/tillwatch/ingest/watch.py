"""Looking at the source again and again: which files to take next, and when they can be taken."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable

from tillwatch.clock import Clock
from tillwatch.errors import SourceError
from tillwatch.ingest.discover import Found, look
from tillwatch.ingest.settings import FileIgnored, IngestSettings

_PERIOD = 1.0


class Watch:
    """Hands out each revision of each file once, in order.

    A file is held back while it may still be being written: until its size and modification time have stayed
    the same for a `period`, or when `once`, not at all. The file `first` comes first and is not held back.
    """

    def __init__(
        self,
        settings: IngestSettings,
        clock: Clock,
        once: bool,
        first: str | None,
        on_ignored: Callable[[FileIgnored], None],
    ) -> None:
        self.period = min(_PERIOD, settings.every or _PERIOD)
        self._settings = settings
        self._clock = clock
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
            if self._once or found.unchanged():
                self._handed_out.add(found)
                return found
        return None

    def _look(self) -> None:
        try:
            seen = look(self._settings)
        except SourceError as error:
            if not self._looked:
                raise
            self._tell(FileIgnored(str(self._settings.root), f"cannot be looked at now: {error}", False))
            return
        self._looked = True
        for ignored in seen.ignored:
            self._tell(ignored)
        fresh = [found for found in seen.files if found not in self._handed_out]
        now = self._clock.monotonic()
        self._since = {found: self._since.get(found, now) for found in fresh}
        ready = [found for found in fresh if self._is_settled(found, now)]
        self._queue.extend(sorted(ready, key=lambda found: found.name != self._first))

    def _is_settled(self, found: Found, now: float) -> bool:
        wall = datetime.datetime.fromisoformat(self._clock.now()).timestamp()
        age = max(wall - found.modified / 1e9, now - self._since[found])
        return self._once or found.name == self._first or age >= self.period

    def _tell(self, ignored: FileIgnored) -> None:
        if ignored not in self._told:
            self._told.add(ignored)
            self._on_ignored(ignored)
