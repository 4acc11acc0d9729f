"""For tests: what every state store says to those who review a pipeline."""

from __future__ import annotations

from typing import Any

import pytest

from tillwatch.state import sql_review
from tillwatch.state.base import ChunkResult, Commit, TableRows
from tillwatch.state.review import Band, WrongChunk
from tillwatch.testing.commits import ODD_TEXTS, SHAPE, commit, detection, info, time
from tillwatch.testing.sharing import SharingSuite


class ReviewSuite(SharingSuite):
    """What every state store promises. A subclass says how one is opened; `place` is as in SharingSuite."""

    def test_a_table_is_read_piece_by_piece(self, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """All rows come once, in order, however many at a time; none of an empty table."""
        columns = {
            "id": [*range(7)],
            "customer": [*ODD_TEXTS],
            "merchant": [f"M{n}" for n in range(7)],
            "transactions": [2**61 + n for n in range(7)],
            "sum_amount": [-n for n in range(7)],
            "importance": [None, 0.1, -0.5, None, 1e300, 0.0, 2.0],
        }
        with self.started(place) as state:
            assert (list(state.table_parts(SHAPE)), state.rows_in(SHAPE)) == ([], 0)
            state.save_tables([TableRows(SHAPE.name, columns)], 0)
            assert ([shape.name for shape in state.shapes()], state.rows_in(SHAPE)) == ([SHAPE.name], 7)
            for size in (1, 3, 7, 50_000):
                monkeypatch.setattr(sql_review, "ROWS", size)
                with state.snapshot():
                    parts = list(state.table_parts(SHAPE))
                assert {c: [v for part in parts for v in part[c]] for c in SHAPE.columns} == columns
                assert max(len(part["id"]) for part in parts) <= size

    def test_the_last_detection_of_a_key_is_known(self, place: Any) -> None:
        """By pattern and the whole key, of any characters; another pattern's or key's does not count."""
        keys = [detection(0, text, "Odd").key for text in ODD_TEXTS]
        with self.started(place) as state:
            state.commit(commit(0, [[detection(0, text, "Odd") for text in ODD_TEXTS]]), 50)
            assert [state.last_of("Odd", key) for key in keys] == [*range(1, len(keys) + 1)]
            assert state.last_of("P", keys[0]) is None
            assert state.last_of("Odd", {**keys[0], "merchant": "other"}) is None
            assert state.last_of("Odd", keys[0], shadow=True) is None

    def test_chunks_are_summed_up_in_bands(self, place: Any) -> None:
        """Rows by what became of them, reasons, times; the last band has what is left; only of processed chunks."""
        reasons = [{"a": 2, "b": 1}, {}, {"a": 1}, {}, {"c": 9}]
        results = [
            ChunkResult(info(n), 10 - sum(why.values()) - n % 2, why, time(n), n % 2) for n, why in enumerate(reasons)
        ]
        with self.started(place) as state:
            assert state.bands(3) == []
            state.commit(Commit(tuple(results), (), ()), 50)
            state.record_landed([info(5)])
            assert state.bands(3) == [
                Band(0, 2, 30, 25, 1, time(0), time(2), {"a": 3, "b": 1}),
                Band(3, 4, 20, 10, 1, time(3), time(4), {"c": 9}),
            ]
            assert [band.quarantined for band in state.bands(1)] == [3, 0, 1, 0, 9]
            assert state.wrong_chunks(None, 2) == [WrongChunk(4, 9, time(4)), WrongChunk(2, 1, time(2))]
            assert state.wrong_chunks("a", 5) == [WrongChunk(2, 1, time(2)), WrongChunk(0, 2, time(0))]
            assert state.wrong_chunks("none", 5) == []
