"""What begins, lasts and is over, told once at each end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tillwatch.alerts.alert import Alert, Moment

REMEMBERED = 1000
"""So many conditions of a rule are known as told; the oldest are forgotten first."""


class Turn(NamedTuple):
    """A condition began, or ended; and since when it held."""

    kind: Literal["began", "ended"]
    since: str


@dataclass(slots=True)
class Conditions:
    """The conditions of one rule, each with its subject, such as a place; one that is over for `settle` seconds ends.

    `open` are those that were found to hold, and since when; `noted` are those of them that somebody was told of.
    """

    settle: float
    open: dict[str, str] = field(default_factory=dict)
    noted: dict[str, str] = field(default_factory=dict)
    _over: dict[str, float] = field(default_factory=dict)

    def see(self, subject: str, holds: bool, since: str, now: Moment) -> Turn | None:
        """What is to be told now.

        >>> conditions = Conditions(60)
        >>> [conditions.see("", holds, "noon", Moment(t, "")) for t, holds in enumerate([True, True, False, True])]
        [Turn(kind='began', since='noon'), None, None, None]
        >>> [conditions.see("", False, "", Moment(t, "")) for t in (100, 159, 160, 161)]
        [None, None, Turn(kind='ended', since='noon'), None]
        """
        if holds:
            self._over.pop(subject, None)
            if subject not in self.open:
                self.open[subject] = since
                return Turn("began", since)
        elif subject in self.open and now.seconds - self._over.setdefault(subject, now.seconds) >= self.settle:
            del self._over[subject]
            return Turn("ended", self.open.pop(subject))
        return None

    def told(self, alert: Alert) -> None:
        """An alert has reached somebody."""
        for subject in alert.subjects:
            if alert.kind == "began":
                self.noted[subject] = alert.since
            else:
                self.noted.pop(subject, None)
        while len(self.noted) > REMEMBERED:
            del self.noted[next(iter(self.noted))]

    def adopt(self, known: Mapping[str, str]) -> None:
        """Takes over what another process, or an earlier one, has told."""
        self.open, self.noted = dict(known), dict(known)
        self._over.clear()
