"""The log read in order, some chunks at a time; those behind them are read meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from tillwatch.errors import LogError
from tillwatch.landing import Landing
from tillwatch.model import Chunk
from tillwatch.retry import Retry

BATCH_CHUNKS = 24
BATCH_ROWS = 240_000
LOCAL_READERS, REMOTE_READERS = 2, 16


def batches(landing: Landing, numbers: range, columns: Sequence[str], retry: Retry) -> Iterator[list[Chunk]]:
    """These chunks with these columns, in order. What is refused for now is tried again. Raises LogError."""
    readers = REMOTE_READERS if landing.remote else LOCAL_READERS
    pool = ThreadPoolExecutor(readers, thread_name_prefix="tillwatch-read")
    waiting, ahead, size = iter(numbers), deque[Future[Chunk]](), 1

    def read(number: int) -> Chunk:
        return retry(lambda: landing.read(number, columns))

    try:
        while True:
            ahead.extend(pool.submit(read, number) for number in islice(waiting, 2 * size - len(ahead)))
            batch = [ahead.popleft().result() for _ in range(min(size, len(ahead)))]
            if not batch:
                return
            yield batch
            size = _batch_size(batch)
    finally:
        pool.shutdown(cancel_futures=True)


def _batch_size(batch: Sequence[Chunk]) -> int:
    """So many chunks like these are worked on at a time."""
    rows = sum(chunk.info.rows for chunk in batch)
    return max(1, min(BATCH_CHUNKS, BATCH_ROWS * len(batch) // max(1, rows)))


def check_whole(landing: Landing) -> None:
    """Raises LogError when the beginning of the log was removed: then no state can be worked out from it."""
    removed = landing.removed()
    if removed.chunks:
        raise LogError(
            f"chunks 0 to {removed.chunks - 1} of the landing zone were removed at {removed.at}, as landing.keep says. "
            "What held then cannot be worked out again; 'tillwatch detections --format jsonl' has the evidence that "
            "was stored."
        )


def time_of(chunk: Chunk, column: str | None) -> str | None:
    """What the column says in the last row of the chunk that has it."""
    if column not in chunk.frame.columns:
        return None
    texts = chunk.frame[column].drop_nulls()
    return str(texts[-1]).strip() if len(texts) else None
