"""For tests: what state stores promise of the figures of reports; part of the suite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tillwatch.model import Detection, SourceFile, Turn
from tillwatch.state import figures
from tillwatch.state.base import FileRecord
from tillwatch.state.figures import ChunkFigures, FileRead, Found, Quarantined
from tillwatch.testing.commits import commit, detection, info, time
from tillwatch.testing.sharing import SharingSuite


def at(chunk: int, customer: str, merchant: str | None = "M", pattern: str = "P") -> Detection:
    key = {"customer": customer} if merchant is None else {"customer": customer, "merchant": merchant}
    return replace(detection(chunk, customer, pattern), key=key)


class FiguresSuite(SharingSuite):
    """What every state store promises. A subclass says how one is opened; `place` is as in SharingSuite."""

    def test_figures_are_those_of_the_range(self, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Detections, quarantine and times of chunks, whole and in part, also when read in blocks."""
        monkeypatch.setattr(figures, "BLOCK_CHUNKS", 2)
        monkeypatch.setattr(figures, "BLOCK_SEQS", 2)
        found = [[at(0, "A"), at(0, "B", "N")], [], [at(2, "C"), at(2, "D", None, "Q")], [at(3, "E")]]
        turns = [Turn(3, "P", found[0][0].key, False)]
        with self.started(place) as state:
            state.record_landed([info(n) for n in range(3)], "2026-11-20T12:00:00.000+05:30")
            state.commit(commit(0, found[:3], wrong=2), 50)
            state.commit(commit(3, found[3:], turns, wrong=1), 50)
            assert state.found(0, 3) == [
                Found("P", "ACTION", 4, 3, 0, 3, 1, 5),
                Found("Q", "ACTION", 1, 1, 2, 2, 4, 4),
            ]
            assert state.found(1, 2) == [Found("P", "ACTION", 1, 1, 2, 2, 3, 3), Found("Q", "ACTION", 1, 1, 2, 2, 4, 4)]
            assert (state.found(1, 1), state.found(0, 9, shadow=True)) == ([], [])
            assert state.growth(1, 5, 0, 2) == [(0, "P", 2), (1, "P", 2), (1, "Q", 1)]
            assert _joined(state.seqs_of_chunks(1, 5)) == {0: (1, 2), 2: (3, 4), 3: (5, 5)}
            assert state.top_merchants(1, 5, 1) == [("M", "P", 3)]
            assert state.top_merchants(1, 5, 9) == [("M", "P", 3), ("N", "P", 1)]
            assert state.quarantined_in(0, 3) == [Quarantined("amount_empty", 7, 4, 0, 3)]
            assert state.quarantined_in(3, 3) == [Quarantined("amount_empty", 1, 1, 3, 3)]
            landed = "2026-11-20T12:00:00.000+05:30"
            assert list(state.chunk_figures(1, 3)) == [
                ChunkFigures(1, 10, 8, 2, 0, landed, time(1)),
                ChunkFigures(2, 10, 8, 2, 0, landed, time(2)),
                ChunkFigures(3, 10, 9, 1, 0, None, time(3)),
            ]

    def test_files_are_those_of_the_chunks(self, place: Any) -> None:
        """The last ones first, each with its own chunks of the range; others do not count."""
        with self.started(place) as state:
            for number in range(3):
                file = SourceFile(number, f"{number}.csv", 100 + number, 0)
                state.record_file(FileRecord(file, "done", 20))
                chunks = [replace(info(2 * number + n), file=file) for n in range(2)]
                state.record_landed(chunks)
            count, files = state.files_of_chunks(1, 3, 9)
            assert (count, files) == (
                2,
                [FileRead("1.csv", "done", 101, None, 2, 20, 2, 3), FileRead("0.csv", "done", 100, None, 1, 10, 1, 1)],
            )
            assert [f.name for f in state.files_of_chunks(0, 5, 1)[1]] == ["2.csv"]

    def test_days_are_those_of_processing(self, place: Any) -> None:
        """What is not processed is of no day."""
        with self.started(place) as state:
            state.commit(commit(0, [0, 0]), 50)
            state.record_landed([info(2)])
            assert state.chunks_of_days("2026-11-20", "2026-11-20") == (0, 1)
            assert state.chunks_of_days("", "2026-11-19") is None
            assert state.chunks_of_days("2026-11-21", "9999") is None


def _joined(parts: Any) -> dict[int, tuple[int, int]]:
    """The seqs of each chunk, of which there may be parts."""
    found: dict[int, tuple[int, int]] = {}
    for chunk, low, high in parts:
        found[chunk] = (found[chunk][0] if chunk in found else low, high)
    return found
