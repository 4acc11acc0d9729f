"""Landing while the next chunk is being cut: one thread puts, in order; the ledger is told some chunks at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import polars as pl

from tillwatch.clock import Clock
from tillwatch.errors import ChunkRefused, LogError
from tillwatch.landing import Landing
from tillwatch.model import ChunkInfo
from tillwatch.retry import Retry
from tillwatch.state.base import Ledger

_AHEAD = 3
"""Chunks that may wait to be put: they are held in memory."""

_NOTE_CHUNKS = 20
_NOTE_SECONDS = 0.2


class Lander:
    """Lands chunks in the order given. After a failed put no later chunk is put: the log never has a gap.

    `on_landed` is called for each chunk once the ledger has it, with the seconds that landing took. Use within
    `landing_thread`.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        landing: Landing,
        ledger: Ledger,
        clock: Clock,
        retry: Retry,
        on_landed: Callable[[ChunkInfo, float], None],
    ) -> None:
        self._pool = pool
        self._landing = landing
        self._ledger = ledger
        self._clock = clock
        self._retry = retry
        self._on_landed = on_landed
        self._waiting: deque[Future[tuple[ChunkInfo, float]]] = deque()
        self._landed: list[tuple[ChunkInfo, float]] = []
        self._noted_at = clock.monotonic()
        self._failed = False
        self._refused: ChunkInfo | None = None

    def put(self, info: ChunkInfo, frame: pl.DataFrame) -> None:
        """Lands the chunk soon. Raises what landing this or an earlier chunk raised; `go_on` after ChunkRefused."""
        self._waiting.append(self._pool.submit(self._put, info, frame))
        while self._waiting and (len(self._waiting) > _AHEAD or self._waiting[0].done()):
            self._landed.append(self._waiting.popleft().result())
        if len(self._landed) >= _NOTE_CHUNKS or self._clock.monotonic() - self._noted_at >= _NOTE_SECONDS:
            self._note()

    def settle(self) -> None:
        """Returns when every chunk is landed and in the ledger."""
        while self._waiting:
            self._landed.append(self._waiting.popleft().result())
        self._note()

    def go_on(self) -> ChunkInfo:
        """Forgets the chunk that was refused, which it returns, and those behind it; theirs are the next numbers."""
        if self._refused is None:
            raise LogError("no chunk was refused")
        for behind in self._waiting:
            behind.exception()  # each has failed, because the one before it did
        self._waiting.clear()
        refused, self._refused, self._failed = self._refused, None, False
        self._note()
        return refused

    def _put(self, info: ChunkInfo, frame: pl.DataFrame) -> tuple[ChunkInfo, float]:
        if self._failed:
            raise LogError(f"chunk {info.number} was not landed, because the one before it could not be")
        began = self._clock.monotonic()
        try:
            landed = self._retry(lambda: self._landing.put(info, frame))
        except BaseException as error:
            self._failed = True
            self._refused = info if isinstance(error, ChunkRefused) else None
            raise
        return landed, self._clock.monotonic() - began

    def _note(self) -> None:
        landed, self._landed = self._landed, []
        self._noted_at = self._clock.monotonic()
        if landed:
            at = self._clock.now()
            self._retry(lambda: self._ledger.record_landed([info for info, _ in landed], at))
        for info, seconds in landed:
            self._on_landed(info, seconds)


@contextmanager
def landing_thread(
    landing: Landing, ledger: Ledger, clock: Clock, retry: Retry, on_landed: Callable[[ChunkInfo, float], None]
) -> Iterator[Lander]:
    """A Lander and its thread, which has ended when the block is left; what was waiting then is not put."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="landing")
    try:
        yield Lander(pool, landing, ledger, clock, retry, on_landed)
    finally:
        pool.shutdown(cancel_futures=True)
