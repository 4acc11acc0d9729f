"""What waits for one channel, in order: how often it may be sent, when it is tried again, what is given up."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tillwatch.alerts.alert import Alert
from tillwatch.alerts.message import Message

HOUR = 3600.0
WAITING = 100
"""So many messages wait at most; the oldest is dropped for a new one."""

DELAYS = (10.0, 30.0, 90.0, 300.0, 900.0, 1800.0)
"""Seconds after which a message is tried again; then it is given up."""


@dataclass(frozen=True, slots=True)
class Item:
    """A message, the alerts that it tells, how many messages it stands for, and how it has fared."""

    message: Message
    alerts: tuple[Alert, ...]
    count: int = 1
    tries: int = 0
    not_before: float = 0.0


class Outgoing:
    """The queue of a channel. All times are seconds that never go back.

    Within any hour at most `per_hour` messages are sent. What is beyond is held back, and summed up in one message when
    there is room again. `dropped` counts messages that nobody gets.
    """

    def __init__(
        self, per_hour: int, summed_up: Callable[[Mapping[str, int]], Message], delays: tuple[float, ...] = DELAYS
    ) -> None:
        self._per_hour, self._summed_up, self._delays = per_hour, summed_up, delays
        self._queue: deque[Item] = deque()
        self._held: deque[Item] = deque(maxlen=WAITING)
        self._titles = Counter[str]()
        self._sent: deque[float] = deque()
        self._head: Item | None = None
        self.dropped = 0

    def __len__(self) -> int:
        """The messages that wait."""
        return len(self._queue) + self._titles.total() + (self._head.count if self._head else 0)

    def offer(self, message: Message, alert: Alert) -> None:
        """One more; when too many wait the oldest is dropped."""
        if len(self._queue) == WAITING:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(Item(message, (alert,)))

    def next(self, now: float, *, last: bool = False) -> Item | None:
        """What is to be sent now, if anything is. At the `last` chance nothing is waited for any more."""
        if self._head is None:
            self._head = self._take(now, last=last)
        head = self._head
        return head if head is not None and (last or now >= head.not_before) else None

    def pause(self, now: float) -> float | None:
        """The seconds until there may be something to send; None while nothing waits."""
        if self._head is not None:
            return max(0.0, self._head.not_before - now)
        if not len(self):
            return None
        return max(0.0, self._sent[0] + HOUR - now) if self._is_full(now) else 0.0

    def sent(self, now: float) -> None:
        """What `next` gave was sent."""
        self._sent.append(now)
        self._head = None

    def failed(self, now: float) -> Item | None:
        """What `next` gave could not be sent: it is tried again later. Returns it when it is given up."""
        head = self._head
        if head is None or head.tries >= len(self._delays):
            self._head = None
            self.dropped += head.count if head else 0
            return head
        self._head = replace(head, tries=head.tries + 1, not_before=now + self._delays[head.tries])
        return None

    def _take(self, now: float, *, last: bool) -> Item | None:
        full = self._is_full(now)
        while full and self._queue:
            item = self._queue.popleft()
            self._held.append(item)
            self._titles[item.message.title] += 1
        if self._titles and (last or not full):
            alerts = tuple(alert for item in self._held for alert in item.alerts)
            summed_up = Item(self._summed_up(self._titles), alerts, self._titles.total())
            self._held.clear()
            self._titles.clear()
            return summed_up
        return self._queue.popleft() if self._queue else None

    def _is_full(self, now: float) -> bool:
        while self._sent and self._sent[0] <= now - HOUR:
            self._sent.popleft()
        return len(self._sent) >= self._per_hour
