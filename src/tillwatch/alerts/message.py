"""Messages as people read them: which pipeline, what, since when, what to do, where there is more."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from tillwatch.alerts.alert import Alert, Kind, RuleName, Scope
from tillwatch.config import masked

DOCS = "docs/alerts.md"
LONGEST_FACT = 500
SUMMED_UP = 20
"""So many different titles are shown of what was held back."""

ADVICE: Mapping[RuleName, str] = {
    "file_failed": "'tillwatch status' names every such file. One that was refused is read when it is mended; of one "
    "that was changed or ended early, what is landed stays: bring the rest under a new name.",
    "no_new_chunk": "Look at 'tillwatch status': is ingest at work, and does the source have a file that is not done?",
    "lag": "Look at 'tillwatch status': is detect at work? If it is, it catches up by itself, or is too slow for what "
    "comes in.",
    "quarantine_share": "'tillwatch quality' says which reasons and rows. Most often the source has another format "
    "now.",
    "unreachable": "Nothing is lost: it is tried again until it answers. Look at the service, the network and the "
    "credentials.",
    "detections": "'tillwatch explain NUMBER' says why one of them fired.",
}
"""What to do, by rule."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel gets. `kind` is that of its alert."""

    title: str
    body: str
    kind: Kind


def summary(pipeline: str, titles: Mapping[str, int]) -> Message:
    """What was held back, by how often.

    >>> print(summary("bank.csv", {"state cannot be reached": 3, "9 detections of PatId1": 1}).body)
    Held back, because there were more messages than 'per_hour' allows:
    <BLANKLINE>
      3 × state cannot be reached
      1 × 9 detections of PatId1
    <BLANKLINE>
    'tillwatch status' says how things are now.
    More: docs/alerts.md#how-often
    """
    shown = [f"  {count:,} × {_short(title)}" for title, count in list(titles.items())[:SUMMED_UP]]
    more = sum(list(titles.values())[SUMMED_UP:])
    rest = [f"  and {more:,} more"] if more else []
    first = "Held back, because there were more messages than 'per_hour' allows:"
    end = ("'tillwatch status' says how things are now.", f"More: {DOCS}#how-often")
    body = "\n".join((first, "", *shown, *rest, "", *end))
    return Message(f"tillwatch: {pipeline}: {sum(titles.values()):,} alerts held back", body, "told")


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What every message of a pipeline says of it; `runbooks` are those of patterns, by id."""

    pipeline: str
    state: str
    scope: Scope
    runbooks: Mapping[str, str]

    def message(self, alert: Alert) -> Message:
        """An alert as a message.

        >>> head = Letterhead("bank.csv", "./state.db", "run", {})
        >>> print(head.message(Alert("lag", "began", "detection is 60 chunks behind", "12:00", "12:00")).title)
        tillwatch: bank.csv: detection is 60 chunks behind
        """
        facts = [f"  {_short(fact)}" for fact in alert.facts]
        lines = [_sentence(alert.title), *facts, "", *self._about(alert), "", *self._advice(alert)]
        return Message(f"tillwatch: {self.pipeline}: {alert.title}", "\n".join(lines), alert.kind)

    def test(self, channel: str) -> Message:
        """A message that says that messages arrive."""
        lines = (
            f"This is a test of the channel {channel}: alerts of this pipeline arrive here.",
            "",
            *self.of_pipeline,
        )
        return Message(f"tillwatch: {self.pipeline}: test", "\n".join((*lines, f"More: {DOCS}")), "told")

    @property
    def of_pipeline(self) -> tuple[str, ...]:
        """Which pipeline it is."""
        return (f"Pipeline: {self.pipeline}, {self.scope} on {socket.gethostname()}", f"State: {self.state}")

    def _about(self, alert: Alert) -> tuple[str, ...]:
        ended = (f"Over at: {alert.at}",) if alert.kind == "ended" else ()
        return (*self.of_pipeline, f"Since: {alert.since}", *ended)

    def _advice(self, alert: Alert) -> tuple[str, ...]:
        more = f"More: {DOCS}#{alert.rule}"
        if alert.kind == "ended":
            return (more,)
        runbook = self.runbooks.get(alert.subjects[0], "") if alert.rule == "detections" else ""
        return (f"What to do: {' '.join([*runbook.split(), ADVICE[alert.rule]])}", more)


def _sentence(title: str) -> str:
    return f"{title[:1].upper()}{title[1:]}."


def _short(fact: str) -> str:
    line = masked(" ".join(fact.split()))
    return line if len(line) <= LONGEST_FACT else line[: LONGEST_FACT - 1] + "…"
