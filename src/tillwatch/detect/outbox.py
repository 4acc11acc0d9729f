"""From committed detections to files: full ones at once, a short one when nothing waits and it has lingered."""

from __future__ import annotations

from tillwatch.clock import Clock
from tillwatch.publish.files import publish
from tillwatch.retry import Retry
from tillwatch.state.base import State
from tillwatch.stores.base import Store


class Outbox:
    """Publishes what the state has planned. Without a store nothing is published; it is planned all the same."""

    def __init__(
        self, state: State, store: Store | None, clock: Clock, retry: Retry, rows_per_file: int, linger: float
    ) -> None:
        self._state, self._store = state, store
        self._clock, self._retry = clock, retry
        self._rows_per_file, self._linger = rows_per_file, linger
        self._lingering_since: float | None = None

    def start(self) -> None:
        """Publishes what an earlier run has left."""
        self._publish()
        self._note_lingering(0)

    def committed(self, new: int) -> None:
        """So many detections were committed just now."""
        if new:
            self._publish()
            self._note_lingering(new)

    def idle(self) -> float | None:
        """Nothing waits: publishes what has lingered. Returns for how long something lingers yet, if anything does."""
        if self._lingering_since is None:
            return None
        left = self._lingering_since + self._linger - self._clock.monotonic()
        if left <= 0:
            self.rest()
            self._lingering_since = None
        return max(left, 0.0)

    def rest(self) -> None:
        """Publishes all of it; the last file may be short."""
        if self._retry(self._state.unplanned):
            self._retry(lambda: self._state.plan_rest(self._rows_per_file))
            self._publish()

    def _publish(self) -> None:
        if (store := self._store) is not None:
            self._retry(lambda: publish(self._state, store, self._clock.now))

    def _note_lingering(self, new: int) -> None:
        """Since when the oldest detection that is in no file yet has been waiting; `new` ones came just now."""
        waiting = self._retry(self._state.unplanned)
        if waiting == 0:
            self._lingering_since = None
        elif self._lingering_since is None or waiting <= new:
            self._lingering_since = self._clock.monotonic()
