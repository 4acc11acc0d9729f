"""Retention: chunks that nothing needs any more are removed from the beginning of the log, their metadata stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch.errors import LogError, ObjectExists
from tillwatch.landing.layout import LayoutName, layout_of
from tillwatch.landing.merged import MergedChunks, Range
from tillwatch.landing.removed import Record, decode_record, encode_record, record_name
from tillwatch.model import REACH, Reach
from tillwatch.state.base import State
from tillwatch.stores.base import Store


@dataclass(frozen=True, slots=True)
class Limit:
    """Chunks below `chunk` may be removed; `why` says why the others stay."""

    chunk: int
    why: str


def limit(state: State, days: int, now: datetime, outputs: Iterable[str], *, files: bool) -> Limit:
    """Which chunks are not needed any more, as the state knows it.

    These were processed `days` days before `now` or earlier, the saved tables are beyond them, no window reaches back
    to them, and their detections are published (if there are `files`) and delivered to each of the `outputs`.
    """
    with state.snapshot():
        return min(_limits(state, days, now, outputs, files=files), key=lambda found: found.chunk)


def _limits(state: State, days: int, now: datetime, outputs: Iterable[str], *, files: bool) -> Iterator[Limit]:
    processed, cursor = state.processed(), state.cursor()
    # Chunks are processed in order: one without a time was processed before the next one that has one.
    young = (n for n, at in processed.items() if datetime.fromisoformat(at) > now - timedelta(days=days))
    yield Limit(next(young, max(processed, default=-1) + 1), f"not known to be processed {_days(days)} ago or earlier")
    yield Limit(cursor.tables, "the tables of the state are not saved beyond")
    if reach := state.get_meta(REACH):
        yield Limit(Reach.of(reach).first, "windows of the patterns still need them")
    waiting = {"not all detections are planned for a file": cursor.seq - state.unplanned()}
    if files and (plans := state.unpublished()):
        waiting["not all detections are published"] = plans[0].first
    for output in outputs:
        if plans := state.undelivered(output):
            waiting[f"output {output} does not have all detections"] = plans[0].first
    plans = state.files_planned("cleared")
    first = next((p.first for p in plans if p.published_at is None), plans[-1].last + 1 if plans else 1)
    if cleared := next(state.cleared(first, first), None):
        yield Limit(cleared.chunk, "not all that ceased to hold is published")
    for why, seq in waiting.items():
        if detection := next(state.detections(seq, seq), None):
            yield Limit(detection.detection.chunk, why)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


class Retention:
    """Removes merged chunks from the beginning of a log.

    A record with the metadata of the chunks is put, and read back, before their merged object is deleted: so that
    numbers, digests and the state of the source are known as before. From the record on, the chunks are removed; the
    object that a killed run leaves is deleted by the next one.
    """

    def __init__(self, store: Store, layout: LayoutName) -> None:
        self._store = store
        self._merged = MergedChunks(store, layout_of(layout, store))

    def due(self, below: int, planned: Sequence[Range] = ()) -> list[Range]:
        """The merged objects that hold only chunks below `below`, in order; `planned` are thought of as there."""
        there = [r for r in self._merged.look() if not r.removed]
        found: list[Range] = []
        following = self._merged.kept_from()
        for merged in (*there, *planned):
            if merged.first != following or merged.last >= below:
                break
            found.append(merged)
            following = merged.last + 1
        return found

    def remove(self, ranges: Iterable[Range], state: State, at: str) -> None:
        """Removes these at this time (ISO 8601), and what a killed run has left.

        Raises LogError when an object is damaged, or is not what the state says was landed: it is not removed then.
        """
        self._merged.look()
        for left in self._merged.superseded:
            self._check_record(left)
            self._store.delete(left.name)
        for merged in ranges:
            self._remove(merged, state.digests(merged.first, merged.last), at)

    def _remove(self, merged: Range, noted: Mapping[int, str], at: str) -> None:
        infos = [self._merged.info(n, merged) for n in range(merged.first, merged.last + 1)]
        for info in infos:
            if noted.get(info.number) != info.digest:
                raise LogError(
                    f"{self._store.uri}/{merged.name}: chunk {info.number} is not the one that was processed: digest "
                    f"{info.digest}, noted {noted.get(info.number, 'none')}. It was not removed; see 'tillwatch audit'."
                )
        with suppress(ObjectExists):  # another run has put it
            self._store.put(record_name(merged.first, merged.last), encode_record(Record(infos, at)))
        self._check_record(merged)
        self._store.delete(merged.name)

    def _check_record(self, merged: Range) -> None:
        """The record is there and says what the merged object says, before that is deleted."""
        name = record_name(merged.first, merged.last)
        where = f"{self._store.uri}/{name}"
        record = decode_record(self._store.get(name), merged.first, merged.last, where)
        if [*record.infos] != [self._merged.info(n, merged) for n in range(merged.first, merged.last + 1)]:
            raise LogError(
                f"{where} does not say of chunks {merged.first} to {merged.last} what {merged.name} says. Nothing was "
                "deleted: find out which of them is right, remove the other, and compact again."
            )
