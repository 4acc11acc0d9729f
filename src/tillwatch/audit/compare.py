"""What the state has beside what a fresh fold of the log gives: each difference in words."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from tillwatch.model import Chunk, ChunkInfo, Detection, Turn
from tillwatch.state.base import ChunkRecord, StoredCleared, StoredDetection, TableRows


def wrong_info(chunk: Chunk, before: ChunkInfo | None, record: ChunkRecord | None) -> list[str]:
    info, problems = chunk.info, []
    if info.rows != chunk.frame.height:
        problems.append(f"chunk {info.number} says {info.rows} rows and has {chunk.frame.height}")
    follows = before is not None and before.number + 1 == info.number and before.file == info.file
    if before and follows and info.first_row != before.first_row + before.rows:
        problems.append(
            f"chunk {info.number} begins at row {info.first_row}, expected {before.first_row + before.rows}"
        )
    if record and record.digest != info.digest:
        problems.append(
            f"chunk {info.number} is not the one that was landed: digest {info.digest}, noted {record.digest}"
        )
    return problems


def not_fresh(detections: Sequence[Detection], stored: Sequence[StoredDetection]) -> list[str]:
    """Detections that are not those of the log, in their order and with their evidence."""
    fresh, kept = [d.identity for d in detections], [s.detection.identity for s in stored]
    in_fresh, in_kept = set(fresh), set(kept)
    problems = [f"the log gives {d}, the state has no such detection" for d in fresh if d not in in_kept]
    problems += [f"the state has {d}, the log does not give it" for d in kept if d not in in_fresh]
    if not problems and fresh != kept:
        problems.append("the detections are in another order than the log gives them")
    if not problems:
        pairs = zip(detections, stored, strict=True)
        other = [s.seq for d, s in pairs if d.evidence != s.detection.evidence]
        problems += [f"seq {seq} has other evidence than the log gives" for seq in other]
    return problems


class _LastSeq:
    """Which detection of a pattern and key was the last one up to a chunk; they are numbered from 1."""

    def __init__(self, detections: Iterable[Detection]) -> None:
        self._found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        for seq, d in enumerate(detections, 1):
            chunks, seqs = self._found.setdefault((d.pattern, d.key_text), ([], []))
            chunks.append(d.chunk)
            seqs.append(seq)

    def of(self, turn: Turn) -> int:
        """Its seq, 0 for none."""
        key = _text(turn.key)
        chunks, seqs = self._found.get((turn.pattern, key), ([], []))
        return [0, *seqs][bisect_right(chunks, turn.chunk)]


def other_lives(
    detections: Sequence[Detection],
    turns: Sequence[Turn],
    stored: Sequence[StoredDetection],
    there: Iterable[tuple[int, int, bool]],
) -> list[str]:
    """What became of detections later, and which hold now."""
    seqs = _LastSeq(detections)
    fresh = {(seqs.of(t), t.chunk, t.holds) for t in turns}
    there = set(there)
    problems = [f"turn {t} (seq, chunk, holds) is in the state, the log does not give it" for t in there - fresh]
    problems += [f"the log gives turn {t} (seq, chunk, holds), the state has none" for t in fresh - there]
    last = {(t.pattern, _text(t.key)): t for t in turns}
    for s in stored:
        turn = last.get((s.detection.pattern, s.detection.key_text))
        holds = turn.holds if turn and turn.chunk >= s.detection.chunk else True
        if s.holds != holds:
            problems.append(f"seq {s.seq} is said to hold: {s.holds}, its turns say {holds}")
    return sorted(problems)


def ceased(detections: Iterable[Detection], turns: Iterable[Turn], stored: Sequence[StoredCleared]) -> list[str]:
    """Where what is cleared, in its order, is not what the log gives."""
    seqs = _LastSeq(detections)
    fresh = [(seqs.of(t), t.chunk, t.pattern, _text(t.key)) for t in turns if t.cleared]
    kept = [(c.seq, c.chunk, c.pattern, _text(c.key)) for c in stored]
    what = "(seq, chunk, pattern, key)"
    problems = [f"the log clears {one} {what}, the state does not" for one in sorted({*fresh} - {*kept})]
    problems += [f"the state clears {one} {what}, the log does not" for one in sorted({*kept} - {*fresh})]
    if not problems and fresh != kept:
        problems.append("what is cleared is in another order than the log gives it")
    return problems + [f"number {c.number} where {n} is expected" for n, c in enumerate(stored, 1) if c.number != n][:1]


def different(kept: TableRows, fresh: TableRows, keys: Sequence[str]) -> list[str]:
    """Where the rows differ. Engines number them in orders of their own: they are compared by their keys."""
    ids = list(kept.columns["id"])
    if len(ids) != len(fresh.columns["id"]):
        return [f"{kept.name} has {len(ids)} rows, a fresh fold {len(fresh.columns['id'])}"]
    if ids != list(range(len(ids))):
        return [f"{kept.name} has gaps in its ids"]
    here, there = _key_order(kept, keys), _key_order(fresh, keys)
    return [
        f"{kept.name}.{column}, id {n}: state has {values[n]}, a fresh fold {fresh.columns[column][m]}"
        for column, values in kept.columns.items()
        for n, m in zip(here, there, strict=True)
        if column != "id" and values[n] != fresh.columns[column][m]
    ]


def _key_order(rows: TableRows, keys: Sequence[str]) -> list[int]:
    """The places of rows in the order of their keys."""
    texts = list(zip(*(rows.columns[k] for k in keys), strict=True))
    return sorted(range(len(texts)), key=texts.__getitem__) if texts else list(range(len(rows.columns["id"])))


def _text(key: Mapping[str, str]) -> str:
    return json.dumps(dict(key), ensure_ascii=False)
