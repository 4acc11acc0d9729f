"""What is being tried again, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tillwatch.alerts.alert import Moment
from tillwatch.events import Recovered, Retried


@dataclass(frozen=True, slots=True)
class Trouble:
    """A place that does not answer: since when, and what was said last."""

    since: Moment
    text: str


class Troubles:
    """Places in trouble. Ingest and detect in one process may be so each by itself."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str | None], Trouble] = {}

    def failed(self, event: Retried, now: Moment) -> None:
        """A place failed, and is tried again."""
        key = (event.place, event.mechanism)
        self._of[key] = replace(self._of.get(key, Trouble(now, "")), text=event.text)

    def worked(self, event: Recovered) -> None:
        """A place works again."""
        self._of.pop((event.place, event.mechanism), None)

    def by_place(self) -> Mapping[str, Trouble]:
        """The longest trouble of each place."""
        found: dict[str, Trouble] = {}
        for (place, _), trouble in self._of.items():
            if place not in found or trouble.since.seconds < found[place].since.seconds:
                found[place] = trouble
        return found
