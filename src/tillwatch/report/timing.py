"""When chunks landed, were processed and published: how long it took, and how much came in how much time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from tillwatch.state.base import FilePlan
from tillwatch.state.figures import ChunkFigures

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 60
"""Bars of a picture over time, at most."""

_WIDTHS = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0, 86400.0),
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Chunks in order, a value each. Times are seconds since 1970, NaN where not known or not yet.

    What became of the rows of a chunk that is not processed is 0.
    """

    number: Ints
    rows: Ints
    counted: Ints
    quarantined: Ints
    filtered: Ints
    landed: Floats
    processed: Floats

    @property
    def lags(self) -> Floats:
        """From landing to being processed, of the chunks of which both are known. Ingest may note a chunk some tenths
        of a second after detect has had it: then it took no time."""
        both = self.processed - self.landed
        return np.maximum(both[~np.isnan(both)], 0.0)

    @property
    def span(self) -> tuple[float, float] | None:
        """From the first thing that happened to the last one."""
        times = np.concatenate([self.landed, self.processed])
        times = times[~np.isnan(times)]
        return (float(times.min()), float(times.max())) if len(times) else None


@dataclass(frozen=True, slots=True)
class Lag:
    """How long something took, in seconds: half of it at most `p50`, 99 of 100 at most `p99`, all at most `most`."""

    count: int
    p50: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Bins:
    """Amounts in spans of time of `width` seconds each, from `start` on (seconds since 1970)."""

    start: float
    width: float
    amounts: Sequence[float]


def read_ledger(chunks: Iterable[ChunkFigures]) -> Ledger:
    """The chunks as columns."""
    whole = [array("q") for _ in range(5)]
    landed, processed = array("d"), array("d")
    for chunk in chunks:
        for column, value in zip(whole, chunk[:5], strict=True):
            column.append(value or 0)
        landed.append(_moment(chunk.landed_at))
        processed.append(_moment(chunk.processed_at))
    number, rows, counted, quarantined, filtered = (np.array(column, np.int64) for column in whole)
    return Ledger(number, rows, counted, quarantined, filtered, np.array(landed), np.array(processed))


def _moment(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else math.nan


def lag(took: Floats) -> Lag | None:
    """The lag that some times make, each of them one that was; None of none.

    >>> lag(np.array([3.0, 1.0, 2.0]))
    Lag(count=3, p50=2.0, p99=3.0, most=3.0)
    """
    if not len(took):
        return None
    p50, p99 = np.percentile(took, [50, 99], method="inverted_cdf")
    return Lag(len(took), float(p50), float(p99), float(took.max()))


def published(ledger: Ledger, chunks: Iterable[tuple[int, int, int]], files: Sequence[FilePlan]) -> Lag | None:
    """From the landing of a chunk to the file with a detection of it, of every detection of which both are known.

    `chunks` are chunks with the first and last seq of their detections, in order, as `files` are.
    """
    lasts = np.array([file.last for file in files], np.int64)
    there = np.array([_moment(file.published_at) for file in files], np.float64)
    start = int(ledger.number[0]) if len(ledger.number) else 0
    took, times = array("d"), array("q")
    for chunk, low, high in chunks:
        landed = ledger.landed[chunk - start]
        for place in range(int(np.searchsorted(lasts, low)), len(files)):
            file = files[place]
            if file.first > high:
                break
            took.append(there[place] - landed)
            times.append(min(high, file.last) - max(low, file.first) + 1)
    each = np.repeat(np.array(took, np.float64), np.array(times, np.int64))
    return lag(np.maximum(each[~np.isnan(each)], 0.0))


def in_time(times: Floats, amounts: Ints, span: tuple[float, float], zone: tzinfo) -> Bins:
    """Amounts by time, in spans of a round width that begin at round times of the zone."""
    first, last = span
    width = next((w for w in _WIDTHS if (last - first) / w < BINS), 0.0)
    width = width or 86400.0 * math.ceil((last - first) / 86400.0 / (BINS - 1))
    offset = datetime.fromtimestamp(first, zone).utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    start = round(math.floor(round((first + shift) / width, 6)) * width - shift, 3)
    known = ~np.isnan(times)
    places = np.floor(np.round((times[known] - start) / width, 6)).astype(np.int64)
    count = math.floor(round((last - start) / width, 6)) + 1
    found = np.bincount(places, weights=amounts[known].astype(np.float64), minlength=count)
    return Bins(start, width, [float(n) for n in found])


def clock_text(moment: float, zone: tzinfo, span: float) -> str:
    """A moment as it is written below a picture that shows so many seconds.

    >>> from datetime import timedelta, timezone
    >>> india = timezone(timedelta(hours=5, minutes=30))
    >>> [clock_text(1_795_000_000.25, india, s) for s in (1.0, 600.0, 7200.0, 1e5, 1e7)]
    ['16:36:40.250', '16:36:40', '16:36', '18 Nov 16:36', '18 Nov 2026']
    """
    at = datetime.fromtimestamp(moment, zone)
    if span <= 10:
        return at.isoformat(sep=" ", timespec="milliseconds")[11:23]
    if span <= 3600:
        return at.strftime("%H:%M:%S")
    if span <= 86400:
        return at.strftime("%H:%M")
    return f"{at.day} {at.strftime('%b %H:%M' if span <= 14 * 86400 else '%b %Y')}"
