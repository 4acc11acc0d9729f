"""Sending to one channel, in a thread of its own: nobody waits for it but at the end, and then not for long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tillwatch.alerts.alert import Alert
from tillwatch.alerts.channels import ChannelError
from tillwatch.alerts.message import Message
from tillwatch.alerts.outgoing import Item, Outgoing
from tillwatch.alerts.words import many
from tillwatch.clock import Clock

LONGEST_WAIT = 60.0


class Sender:
    """Sends what it is offered, in order. `on_told` hears of alerts that got there, `notice` of trouble in words."""

    def __init__(
        self,
        name: str,
        send: Callable[[Message], None],
        outgoing: Outgoing,
        clock: Clock,
        on_told: Callable[[Alert], None],
        notice: Callable[[str], None],
    ) -> None:
        self._name, self._send, self._outgoing, self._clock = name, send, outgoing, clock
        self._on_told, self._notice = on_told, notice
        self._lock, self._wake, self._last = threading.Lock(), threading.Event(), threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._work, name=f"tillwatch-alerts-{name}", daemon=True)
        self._thread.start()

    def offer(self, message: Message, alert: Alert) -> None:
        """One more message. Returns at once."""
        with self._lock:
            self._outgoing.offer(message, alert)
        self._wake.set()

    def end(self) -> None:
        """No more will be offered: what waits is tried once more. Returns at once."""
        self._last.set()
        self._wake.set()

    def join(self, until: float) -> None:
        """Waits for the end of it, until then by the clock; what was not sent is told."""
        self._thread.join(max(0.0, until - self._clock.monotonic()))
        with self._lock:
            left = len(self._outgoing)
        if left:
            self._tell(f"{many(left, 'message')} could not be sent before the end of the run")

    def _work(self) -> None:
        while True:
            self._wake.clear()
            last = self._last.is_set()
            with self._lock:
                now = self._clock.monotonic()
                item, pause = self._outgoing.next(now, last=last), self._outgoing.pause(now)
            if item is not None:
                if not self._try(item) and last:
                    return
            elif last:
                return
            else:
                self._clock.wait(self._wake, LONGEST_WAIT if pause is None else min(pause, LONGEST_WAIT))

    def _try(self, item: Item) -> bool:
        try:
            self._send(item.message)
        except ChannelError as error:
            self._failed(item, str(error))
            return False
        with self._lock:
            self._outgoing.sent(self._clock.monotonic())
        if self._failing:
            self._failing = False
            self._tell("works again")
        for alert in item.alerts:
            self._on_told(alert)
        return True

    def _failed(self, item: Item, reason: str) -> None:
        if not self._failing:
            self._failing = True
            self._tell(f"{reason}. It is tried again, the pipeline goes on")
        if self._last.is_set():
            return  # it still waits, and is told as not sent
        with self._lock:
            given_up = self._outgoing.failed(self._clock.monotonic())
            dropped = self._outgoing.dropped
        if given_up is not None:
            self._tell(f"gave up on '{given_up.message.title}'; {many(dropped, 'message')} dropped so far")

    def _tell(self, text: str) -> None:
        self._notice(f"alerts: channel {self._name}: {text}")
