"""From commits to files: full ones at once, a short one when nothing waits and it has lingered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tillwatch.clock import Clock
from tillwatch.events import Published
from tillwatch.publish.files import publish
from tillwatch.retry import Retry
from tillwatch.state.base import Commit, State, Stream
from tillwatch.stores.base import Store


class Outbox:
    """Publishes what the state has planned, each stream in its store; without one it is only planned.

    `on_published` hears of each file.
    """

    def __init__(
        self,
        state: State,
        stores: Mapping[Stream, Store],
        clock: Clock,
        retry: Retry,
        rows_per_file: int,
        linger: float,
        on_published: Callable[[Published], None] = lambda _: None,
    ) -> None:
        def line(stream: Stream) -> _Line:
            return _Line(stream, state, stores.get(stream), clock, retry, rows_per_file, linger, on_published)

        self._detections, self._cleared = line("detections"), line("cleared")

    def start(self) -> None:
        """Publishes what an earlier run has left."""
        self._detections.start()
        self._cleared.start()

    def committed(self, commit: Commit) -> None:
        """This was committed just now."""
        self._detections.committed(sum(not d.shadow for d in commit.detections))
        self._cleared.committed(sum(t.cleared for t in commit.turns))

    def idle(self) -> float | None:
        """Nothing waits: publishes what has lingered. Returns for how long something lingers yet, if anything does."""
        left = [seconds for line in (self._detections, self._cleared) if (seconds := line.idle()) is not None]
        return min(left, default=None)

    def rest(self) -> None:
        """Publishes all of it; the last files may be short."""
        self._detections.rest()
        self._cleared.rest()


class _Line:
    """The files of one stream."""

    def __init__(
        self,
        stream: Stream,
        state: State,
        store: Store | None,
        clock: Clock,
        retry: Retry,
        rows_per_file: int,
        linger: float,
        on_published: Callable[[Published], None],
    ) -> None:
        self._stream, self._state, self._store = stream, state, store
        self._clock, self._retry, self._on_published = clock, retry, on_published
        self._rows_per_file, self._linger = rows_per_file, linger
        self._lingering_since: float | None = None

    def start(self) -> None:
        self._publish()
        self._note_lingering(0)

    def committed(self, new: int) -> None:
        if new:
            self._publish()
            self._note_lingering(new)

    def idle(self) -> float | None:
        if self._lingering_since is None:
            return None
        left = self._lingering_since + self._linger - self._clock.monotonic()
        if left <= 0:
            self.rest()
            self._lingering_since = None
        return max(left, 0.0)

    def rest(self) -> None:
        if self._retry(lambda: self._state.unplanned(self._stream)):
            self._retry(lambda: self._state.plan_rest(self._rows_per_file, self._stream))
            self._publish()

    def _publish(self) -> None:
        if (store := self._store) is not None:
            now, told = self._clock.now, self._on_published
            self._retry(lambda: publish(self._state, store, now, self._stream, told))

    def _note_lingering(self, new: int) -> None:
        """Since when the oldest one that is in no file yet has been waiting; `new` ones came just now."""
        waiting = self._retry(lambda: self._state.unplanned(self._stream))
        if waiting == 0:
            self._lingering_since = None
        elif self._lingering_since is None or waiting <= new:
            self._lingering_since = self._clock.monotonic()
