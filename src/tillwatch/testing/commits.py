"""For tests: commits made up for state stores, all that such a store says, and other processes that work on it."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from tillwatch.model import ChunkInfo, Detection, Position, SourceFile, Turn
from tillwatch.state.base import ChunkResult, Commit, State
from tillwatch.state.tables import TableShape

SHAPE = TableShape("customer_merchant", ("customer", "merchant"), ("transactions", "sum_amount"), ("importance",), {})
MEANING = "amounts: 4 fraction digits\npattern P: transactions > 1"
STARTED = "2026-11-20T13:05:07.123+05:30"
ODD_TEXTS = (
    "plain",
    "",
    " both ends ",
    'quote\' "double" back\\slash ; -- /* %s %(x)s :p ? $1 {b}',
    "line\nfeed\ttab\rreturn\x01\x1f\x7f",
    "ünïcødé-日本語-🛒-\u200b\ufeff\u2028\U0010ffff",
    "x" * 10_000,
)
ODD_VALUES = [None, True, False, 0, -1, 2**53 + 1, -(2**62), 0.1, -0.0, 1e300, 5e-324, [1, [None]], {"": {"ü": "\n"}}]


def info(number: int, rows: int = 10, size: int | None = None) -> ChunkInfo:
    """A chunk of the one source file."""
    file = SourceFile(0, "in/a b.csv", 1000, 1_700_000_000_123_456_789)
    return ChunkInfo(number, rows, file, 1 + 10 * number, Position(), digest=f"{number:064x}", bytes=size)


def detection(chunk: int, customer: str, pattern: str = "P", **evidence: Any) -> Detection:
    """A detection of a customer at the merchant M."""
    return Detection(chunk, pattern, "ACTION", {"customer": customer, "merchant": "M"}, {"chunk": chunk, **evidence})


def commit(
    first: int, found: Sequence[int | Sequence[Detection]] = (0,), turns: Sequence[Turn] = (), wrong: int = 0
) -> Commit:
    """The commit of chunks from `first` on, with these detections in each, or so many of its own."""
    results, detections = [], []
    for number, what in enumerate(found, first):
        reasons = {"amount_empty": wrong} if wrong else {}
        marked = {"known": wrong, "shops": 1} if wrong else {}
        results.append(ChunkResult(info(number), 10 - wrong, reasons, time(number), 0, marked))
        detections += [detection(number, f"{number}.{i}") for i in range(what)] if isinstance(what, int) else [*what]
    return Commit(tuple(results), tuple(detections), tuple(turns))


def time(chunk: int) -> str:
    """When a chunk was processed."""
    return f"2026-11-20T13:{chunk // 60:02}:{chunk % 60:02}.000+05:30"


def everything(state: State) -> list[object]:
    """All that a state store says of what it holds."""
    return [
        state.cursor(),
        state.started_at(),
        state.files(),
        state.landed(),
        list(state.chunks()),
        state.digests(0, 10**9),
        state.totals(),
        state.quarantined(),
        state.marked(),
        list(state.detections()),
        state.turns(10**9),
        state.by_pattern(),
        state.unplanned(),
        state.files_planned(),
        state.unpublished(),
        list(state.detections(shadow=True)),
        state.turns(10**9, shadow=True),
        state.by_pattern(shadow=True),
        list(state.cleared()),
        state.files_planned("cleared"),
        state.unplanned("cleared"),
        state.rule_sets(),
        state.lookup_versions(),
        state.activities(),
    ]


def hold_lease(open_state: Callable[[], State], told: Connection) -> None:
    """In another process: takes the lease of detect, says so, and keeps it until it is killed."""
    with open_state().lease("detect"):
        told.send("held")
        threading.Event().wait()


def commit_forever(open_state: Callable[[], State], told: Connection) -> None:
    """In another process: commits chunk after chunk, one detection more in each, and says so each time."""
    state = open_state()
    for number in itertools.count(state.cursor().chunk):
        state.commit(commit(number, [number % 4]), 3)
        told.send(number)


@contextmanager
def process(work: Callable[[Callable[[], State], Connection], None], open_state: Callable[[], State]) -> Iterator[Any]:
    """Another process at work; yields what it tells, and a function that kills it by SIGKILL."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=work, args=(open_state, there), daemon=True)
    child.start()
    there.close()

    def kill() -> None:
        child.kill()
        child.join()

    try:
        yield here, kill
    finally:
        kill()
        here.close()
