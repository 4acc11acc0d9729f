"""Quality reports: of all processed chunks, of a day, of a run; and their objects at the end of a run.

A chunk belongs to the day on which it was processed, in the configured time zone, as the ledger noted it once. So a
report is a function of the log and the ledger, and a repeated one has the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tillwatch.engine.decode import Decoder
from tillwatch.landing import Landing
from tillwatch.report.page import page
from tillwatch.report.quality import Quality, qualities, total
from tillwatch.state.base import State
from tillwatch.stores.base import Store, put_same


@dataclass(frozen=True, slots=True)
class Report:
    """The quality of chunks `first`…`last`, together and by day. `day` is set when it is about that day only."""

    first: int | None
    last: int | None
    total: Quality
    days: Mapping[str, Quality]
    day: str | None = None

    def as_json(self) -> str:
        """The report as JSON text."""
        fields: dict[str, Any] = {"first_chunk": self.first, "last_chunk": self.last}
        if self.day is not None:
            fields = {"day": self.day, **fields}
        fields |= {"total": self.total.as_json(), "days": {day: q.as_json() for day, q in self.days.items()}}
        return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"

    def as_html(self) -> str:
        """The report as one page of HTML that needs nothing else."""
        title = f"Data quality of {self.day}" if self.day else "Data quality"
        return page(title, _chunks(self.first, self.last), self.total, self.days)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes reports of one pipeline. `decoder` is one of its own; `time` is the column of the time, if there is one."""

    landing: Landing
    decoder: Decoder
    time: str | None
    state: State

    def whole(self, day: str | None = None) -> Report:
        """The report of all processed chunks, or of those of one day (such as 2026-11-20)."""
        days = self._days()
        numbers = [n for n, of in days.items() if day in (None, of)]
        return self._report(numbers, days, day, {})

    def write(self, store: Store, first: int) -> list[str]:
        """Puts the report of the run that processed the chunks from `first` on, and those of days that grew.

        Names are `run/<first>-<last>` and `day/<day>/<last>`, each as `.json` and `.html`; the highest `last` of a day
        is its newest. Days that grew in a run that was killed are made good. Returns the names, also of those that
        were there already. Raises ObjectConflict when an object is there with other content.
        """
        days = self._days()
        names: list[str] = []
        measured: dict[int, Quality] = {}  # a run's chunks are those of a day as well
        if run := [n for n in days if n >= first]:
            names += _put(store, f"run/{first:012}-{max(run):012}", self._report(run, days, None, measured))
        known = max((int(name[-17:-5]) for name in store.list("day/") if name.endswith(".json")), default=-1)
        last = {day: n for n, day in sorted(days.items())}
        # In the order of their last chunks: what a killed run leaves out is beyond what it has put.
        for day, end in sorted(last.items(), key=lambda item: item[1]):
            if end > known:
                report = self._report([n for n, of in days.items() if of == day], days, day, measured)
                names += _put(store, f"day/{day}/{end:012}", report)
        return names

    def _days(self) -> dict[int, str]:
        """The processed chunks by number, and the day of each; what retention has removed cannot be looked at."""
        kept_from = self.landing.removed().chunks
        return {number: at[:10] for number, at in self.state.processed().items() if number >= kept_from}

    def _report(
        self, numbers: Sequence[int], days: Mapping[int, str], day: str | None, measured: dict[int, Quality]
    ) -> Report:
        missing = [n for n in numbers if n not in measured]
        measured.update(qualities(self.landing, self.decoder, self.time, missing))
        names = sorted({days[n] for n in numbers})
        by_day = {name: total(measured[n] for n in numbers if days[n] == name) for name in names}
        return Report(*_ends(numbers), total(by_day.values()), by_day, day)


def _ends(numbers: Sequence[int]) -> tuple[int | None, int | None]:
    return (min(numbers), max(numbers)) if numbers else (None, None)


def _put(store: Store, stem: str, report: Report) -> list[str]:
    # The JSON comes last: by it the next run knows that both are there.
    texts = {f"{stem}.html": report.as_html(), f"{stem}.json": report.as_json()}
    for name, text in texts.items():
        put_same(store, name, text.encode())
    return list(texts)


def _chunks(first: int | None, last: int | None) -> str:
    if first is None:
        return "No chunk has been processed."
    return f"Chunk {first:,}" if first == last else f"Chunks {first:,} to {last:,}"
