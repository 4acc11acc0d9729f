"""After a restart: the tables as last saved, then the same step over the chunks since, up to the cursor.

Nothing is committed here. The detections found on the way were committed before; they must come out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tillwatch.detect import snapshot
from tillwatch.engine.decode import Decoded, Decoder
from tillwatch.engine.fold import Fold
from tillwatch.errors import StateConflict
from tillwatch.landing import Landing
from tillwatch.model import REACH, Chunk, Detection, Reach
from tillwatch.retry import Retry
from tillwatch.state.base import Cursor, State, StoredDetection

BATCH_CHUNKS = 24

Progress = Callable[[int, int], None]
"""Hears of chunks read again, and how many there are to be read."""


def unheard(done: int, total: int) -> None:
    """Nobody listens."""


def recover(
    fold: Fold,
    decoder: Decoder,
    landing: Landing,
    state: State,
    cursor: Cursor,
    retry: Retry,
    on_progress: Progress = unheard,
) -> None:
    """Brings an empty fold to the state before `cursor.chunk`; what is refused for now is tried again.

    Raises StateConflict when the log does not give the detections that were committed.
    """
    if cursor.chunk == 0:
        return
    fold.begin(cursor.tables)
    snapshot.restore(fold, retry(lambda: [state.load_table(shape) for shape in snapshot.shapes(fold.program)]))
    mark(fold, state, cursor.tables, retry)
    recall(fold, decoder, landing, state, cursor.tables, retry, on_progress)
    stored = [*retry(lambda: list(state.detections())), *retry(lambda: list(state.detections(shadow=True)))]
    expected = [s.detection.identity for s in stored if s.detection.chunk >= cursor.tables]
    digests = retry(lambda: state.digests(cursor.tables, cursor.chunk - 1))
    found = refold(fold, decoder, landing, range(cursor.tables, cursor.chunk), digests, retry, on_progress)
    if found != expected:
        raise StateConflict(
            f"folding chunks {cursor.tables} to {cursor.chunk - 1} again gives {len(found)} detections, which are not "
            f"the {len(expected)} committed: the landing zone was changed. Run 'tillwatch audit' to see where."
        )


def refold(
    fold: Fold,
    decoder: Decoder,
    landing: Landing,
    numbers: range,
    digests: Mapping[int, str],
    retry: Retry,
    on_progress: Progress = unheard,
) -> list[tuple[int, str, str, str]]:
    """Folds these chunks; returns the identities of the detections, in order, those in the shadow after the others."""
    found: list[Detection] = []
    for number, chunk in read_again(decoder, landing, numbers, digests, retry, on_progress):
        admitted = fold.admit(chunk)
        found += fold.step(number, admitted.rows, admitted.clock).detections
    return [d.identity for d in sorted(found, key=lambda d: d.shadow)]


def recall(
    fold: Fold,
    decoder: Decoder,
    landing: Landing,
    state: State,
    tables: int,
    retry: Retry,
    on_progress: Progress = unheard,
) -> None:
    """Takes the rows that windows still need from the chunks that the tables, as they were loaded, have already."""
    if not tables or not fold.reads_time:
        return
    noted = retry(lambda: state.get_meta(REACH))
    reach = Reach.of(noted) if noted else Reach(0, None)  # another engine saved the tables
    digests = retry(lambda: state.digests(reach.first, tables - 1))
    fold.resume(reach)
    for number, chunk in read_again(decoder, landing, range(reach.first, tables), digests, retry, on_progress):
        admitted = fold.admit(chunk)
        fold.remember(number, admitted.rows, admitted.clock)


def read_again(
    decoder: Decoder,
    landing: Landing,
    numbers: range,
    digests: Mapping[int, str],
    retry: Retry,
    on_progress: Progress = unheard,
) -> Iterator[tuple[int, Decoded]]:
    """These chunks, decoded some at a time. Raises StateConflict when one is not the chunk that was processed."""
    columns = decoder.sources
    for start in range(numbers.start, numbers.stop, BATCH_CHUNKS):
        batch = range(start, min(start + BATCH_CHUNKS, numbers.stop))
        chunks = [retry(lambda n=n: landing.read(n, columns)) for n in batch]  # type: ignore[misc]
        _check_digests(chunks, digests)
        yield from zip(batch, decoder.decode([c.frame for c in chunks], batch), strict=True)
        on_progress(batch.stop - numbers.start, len(numbers))


def _check_digests(chunks: Sequence[Chunk], digests: Mapping[int, str]) -> None:
    for info in (c.info for c in chunks):
        if digests.get(info.number, info.digest) != info.digest:
            raise StateConflict(
                f"chunk {info.number} of the landing zone is not the one that was processed: it was changed. "
                "Bring the landed one back; 'tillwatch audit' says which chunks differ."
            )


def mark(fold: Fold, state: State, before: int, retry: Retry) -> None:
    """Notes what was detected before a chunk; the last detection of each key says whether it held then."""
    for shadow in (False, True):
        stored = retry(lambda s=shadow: list(state.detections(shadow=s)))  # type: ignore[misc]
        turns = retry(lambda s=shadow: state.turns(before, shadow=s))  # type: ignore[misc]
        _mark(fold, [s for s in stored if s.detection.chunk < before], turns, shadow=shadow)


def _mark(
    fold: Fold, stored: Sequence[StoredDetection], turns: Sequence[tuple[int, int, bool]], *, shadow: bool
) -> None:
    """Detections made before the tables were saved; of each key the last one says whether it held then."""
    holds = {s.seq: True for s in stored}
    holds.update({seq: now for seq, _, now in turns if seq in holds})
    for number, plan in enumerate(fold.program.plans):
        if plan.pattern.shadow != shadow:
            continue
        mine = (s for s in stored if s.detection.pattern == plan.pattern.id and tuple(s.detection.key) == plan.per)
        last = {tuple(s.detection.key.values()): s for s in mine}
        if last:
            fold.mark(number, [s.detection.key for s in last.values()], [holds[s.seq] for s in last.values()])
