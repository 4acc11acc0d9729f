"""What a mechanism at work says of itself in the state, every few seconds, for whoever looks at it."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from tillwatch.clock import Clock
from tillwatch.config import masked
from tillwatch.events import EditRefused, Event, FileProblem, Notice, Observer, Retried
from tillwatch.ingest.settings import PROBLEMS
from tillwatch.state.activity import Activity, How
from tillwatch.state.base import Mechanism, State

BEAT_SECONDS = 2.0
LAST_SECONDS = 2.0
"""How long the end of a run waits until it is noted."""

LONGEST_TROUBLE = 2_000
"""Characters of a trouble that are kept."""


class Keeper:
    """Sums up what a mechanism tells, as its observer, and keeps it in the state while `beating`.

    It writes from a thread of its own, by a connection of its own: what is slow or fails there, the mechanism does not
    notice. A failure is told once.
    """

    def __init__(self, run: str, mechanism: Mechanism, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._known = Activity(mechanism, run, socket.gethostname(), os.getpid(), clock.now(), clock.now())
        self._retries = Counter[str]()
        self._begins, self._told = True, False

    def __call__(self, event: Event) -> None:
        match event:
            case Retried(place=place):
                self._retries[place] += 1
                self._trouble(event.text)
            case FileProblem(status=status) if status in PROBLEMS:
                self._trouble(event.text)
            case EditRefused():
                self._trouble(event.text)

    @contextmanager
    def beating(
        self, opened: Callable[[], AbstractContextManager[State]], tell: Observer, stop: threading.Event
    ) -> Iterator[None]:
        """While open, the state says that the mechanism is alive; then how it came to its end."""
        self._change(began_at=self._clock.now())
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(opened, tell, over), name="tillwatch-beat", daemon=True)
        thread.start()
        try:
            yield
            self._end("stopped" if stop.is_set() else "ended")
        except BaseException as error:
            self._trouble(str(error) or type(error).__name__)
            self._end("failed")
            raise
        finally:
            over.set()
            thread.join(LAST_SECONDS)

    def now(self) -> Activity:
        """What is known by now."""
        with self._lock:
            return replace(self._known, beat_at=self._known.ended_at or self._clock.now(), retries=dict(self._retries))

    def _trouble(self, text: str) -> None:
        with self._lock:
            errors, said = self._known.errors + 1, masked(text)[:LONGEST_TROUBLE]
            self._known = replace(self._known, errors=errors, last_trouble=said, last_trouble_at=self._clock.now())

    def _end(self, how: How) -> None:
        self._change(ended_at=self._clock.now(), how=how)

    def _change(self, **what: object) -> None:
        with self._lock:
            self._known = replace(self._known, **what)  # type: ignore[arg-type]

    def _beat(self, opened: Callable[[], AbstractContextManager[State]], tell: Observer, over: threading.Event) -> None:
        """Notes what is known until it is over, and then once more."""
        while True:
            try:
                with opened() as state:
                    while not over.is_set():
                        self._note(state)
                        over.wait(BEAT_SECONDS)
                    self._note(state)
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is must not end the run, and is told
                self._tell(error, tell)
            if over.wait(BEAT_SECONDS):
                return

    def _note(self, state: State) -> None:
        state.record_activity(self.now(), begins=self._begins)
        self._begins = False

    def _tell(self, error: Exception, tell: Observer) -> None:
        if not self._told:
            self._told = True
            tell(Notice(f"the state does not take notes of this run for now, which go on when it does: {error}"))
