"""Alerts beside a pipeline: it hears events, judges them in a thread of its own, and hands messages to channels."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tillwatch.alerts.alert import Alert, Known, Moment, Scope, Stand
from tillwatch.alerts.channels import Channel
from tillwatch.alerts.configured import channels_of, letterhead
from tillwatch.alerts.judge import Judge
from tillwatch.alerts.memory import DETECTIONS, known, noted, stand
from tillwatch.alerts.message import Letterhead, summary
from tillwatch.alerts.outgoing import Outgoing
from tillwatch.alerts.sender import Sender
from tillwatch.clock import Clock
from tillwatch.compose import Composed
from tillwatch.config.alerts import Alerts
from tillwatch.errors import StateError
from tillwatch.events import Event, Notice, Observer, Recovered, Retried
from tillwatch.observe.together import Together
from tillwatch.state.base import Mechanism, State

TICK_SECONDS = 0.5
STAND_SECONDS = 2.0
"""How often the state is asked how things stand, where a rule needs that."""

GRACE_SECONDS = 5.0
"""How long the end of a run waits for what is still to be sent."""


@dataclass(frozen=True, slots=True)
class _Told:
    """An alert has reached somebody."""

    alert: Alert


class _End:
    """The run has ended."""


Begin = Callable[[Mechanism, State], None]
"""Is called with the state when a mechanism has its lease."""


def _nothing_to_know(mechanism: Mechanism, state: State) -> None:
    """Without rules, what earlier runs have told is of no interest."""


@contextmanager
def alerting(
    composed: Composed,
    scope: Scope,
    observer: Observer,
    opened: Callable[..., AbstractContextManager[State]],
    clock: Clock,
    *,
    once: bool,
) -> Iterator[tuple[Observer, Begin]]:
    """An observer of a run that passes on all it hears, with alerts where there are rules. Raises ConfigError."""
    alerts = composed.settings.alerts
    if not any(alerts.rules()):
        yield observer, _nothing_to_know
        return
    channels, head = channels_of(composed.settings), letterhead(composed, scope)
    told = Together(observer)
    with Alerting(alerts, channels, head, opened, clock, lambda text: told(Notice(text)), once=once) as watcher:
        yield Together(observer, watcher), watcher.begin


class Alerting:
    """An observer that tells people. Use it as a context around a run; it starts and ends its threads.

    `opened` opens the state, `readonly` or not; `notice` takes what a person at the terminal should know of channels.
    """

    def __init__(
        self,
        alerts: Alerts,
        channels: Mapping[str, Channel],
        head: Letterhead,
        opened: Callable[..., AbstractContextManager[State]],
        clock: Clock,
        notice: Callable[[str], None],
        *,
        once: bool,
    ) -> None:
        self._alerts, self._head, self._opened, self._clock, self._notice = alerts, head, opened, clock, notice
        self._asks = not once and any((alerts.lag, alerts.no_new_chunk, alerts.unreachable))
        self._judge = Judge(alerts, head.scope, once=once, now=self._now())
        self._inbox = queue.SimpleQueue[tuple[Event | Known | Stand | _Told | _End, Moment]]()
        self._notes: dict[str, str] = {}
        self._notes_lock, self._over = threading.Lock(), threading.Event()
        self._begun, self._until, self._failed_asks = False, 0.0, 0
        self._channels = channels
        self._senders: dict[str, Sender] = {}
        self._judging = threading.Thread(target=self._guarded(self._work), name="tillwatch-alerts", daemon=True)
        self._asking = threading.Thread(target=self._guarded(self._ask), name="tillwatch-alerts-state", daemon=True)

    def __call__(self, event: Event) -> None:
        """Hears an event; returns at once."""
        if not self._over.is_set():
            self._inbox.put((event, self._now()))

    def begin(self, mechanism: Mechanism, state: State) -> None:
        """A mechanism begins, with this state: what earlier runs have told is known from there. Raises StateError."""
        patterns = frozenset(self._alerts.detections)
        self._inbox.put((known(state, self._head.scope, mechanism, patterns), self._now()))
        self._begun = True

    def __enter__(self) -> Self:
        for name, channel in self._channels.items():
            outgoing = Outgoing(self._alerts.per_hour, lambda titles: summary(self._head.pipeline, titles))
            self._senders[name] = Sender(name, channel.send, outgoing, self._clock, self._told, self._notice)
        self._judging.start()
        self._asking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._until = self._clock.monotonic() + GRACE_SECONDS
        self._over.set()
        self._inbox.put((_End(), self._now()))
        for thread in (self._judging, self._asking):
            thread.join(max(0.0, self._until + GRACE_SECONDS - self._clock.monotonic()))

    def _now(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.now())

    def _told(self, alert: Alert) -> None:
        self._inbox.put((_Told(alert), self._now()))

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        """A defect here ends the alerts and not the pipeline; it is told once."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - its text is of nobody's making, so only its kind is told
                self._over.set()
                self._notice(f"alerts: ended by a defect ({type(error).__name__}); the pipeline goes on without them")

        return guarded

    # judging

    def _work(self) -> None:
        while True:
            try:
                event, now = self._inbox.get(timeout=TICK_SECONDS)
            except queue.Empty:
                self._pass_on(self._judge.tick(self._now()))
                continue
            if isinstance(event, _End):
                break
            self._take(event, now)
        self._finish()

    def _take(self, event: Event | Known | Stand | _Told, now: Moment) -> None:
        if isinstance(event, _Told):
            for rule, conditions in self._judge.told(event.alert).items():
                self._note(noted(rule, self._head.scope, conditions))
        else:
            self._pass_on(self._judge.hear(event, now))
        if (seq := self._judge.told_up_to()) is not None:
            self._note({DETECTIONS: str(seq)})

    def _pass_on(self, alerts: list[Alert]) -> None:
        for alert in alerts:
            message = self._head.message(alert)
            for name in self._alerts.channels_of(alert.rule, alert.subjects[0]):
                self._senders[name].offer(message, alert)

    def _finish(self) -> None:
        """Tells what was being gathered, waits for the channels as long as there is time, notes what was told."""
        self._pass_on(self._judge.tick(self._now(), last=True))
        for sender in self._senders.values():
            sender.end()
        for sender in self._senders.values():
            sender.join(self._until)
        while not self._inbox.empty():
            event, now = self._inbox.get()
            if isinstance(event, _Told):
                self._take(event, now)
        self._ask_once()

    # the state

    def _note(self, notes: Mapping[str, str]) -> None:
        with self._notes_lock:
            self._notes.update(notes)

    def _ask(self) -> None:
        while not self._over.wait(STAND_SECONDS):
            self._ask_once()

    def _ask_once(self) -> None:
        """Keeps what is to be noted, and asks how things stand. What the state refuses is done the next time."""
        with self._notes_lock:
            notes, self._notes = self._notes, {}
        if not notes and not (self._asks and self._begun):
            return
        try:
            with self._opened(readonly=not notes) as state:
                if notes:
                    state.note(notes)
                if self._asks:
                    self._inbox.put((stand(state, self._head.scope), self._now()))
            if self._failed_asks:
                self._inbox.put((Recovered("state", self._failed_asks, 0.0), self._now()))
                self._failed_asks = 0
        except StateError as error:  # a pipeline that has nothing to do would not notice for a minute
            self._failed_asks += 1
            failed = Retried(str(error), place="state", error=type(error).__name__, attempt=self._failed_asks)
            self._inbox.put((failed, self._now()))
            with self._notes_lock:
                self._notes = notes | self._notes
