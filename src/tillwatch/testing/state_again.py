"""For tests: what state stores promise of doing things again, of deliveries and of the ledger; part of the suite."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Barrier
from typing import Any

from tillwatch.errors import StateConflict
from tillwatch.model import Detection, SourceFile
from tillwatch.state.base import FilePlan, FileRecord, State, TableRows
from tillwatch.state.sql_state import SqlState
from tillwatch.state.tables import TableShape
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit, everything, info, time
from tillwatch.testing.sharing import SharingSuite, expect

MERCHANTS = TableShape(
    "merchant",
    ("merchant",),
    ("transactions", "f", "m", "sum_amount"),
    (),
    {
        "transactions": '"transactions"',
        "total_amount": 'CASE WHEN "transactions" > 0 THEN CAST("sum_amount" AS REAL) / 10000 END',
        "female_customers": '"f"',
        "male_customers": '"m"',
    },
)
WITH_NUL = ("\0", "a\0b", "\u2400", "\u24000", "\u2400\0\u2400", "\\0 \\u0000")
LEDGER = (
    *("number", "file", "rows", "bytes", "landed_at", "counted", "quarantined", "processed_at"),
    *("missing", "detections", "published_at", "status"),
)


class AgainSuite(SharingSuite):
    """What every state store promises. A subclass says how one is opened; `place` is as in SharingSuite."""

    # a write whose answer was lost

    def test_a_commit_that_went_through_is_only_answered_again(self, place: Any) -> None:
        """Asked for again, by this connection or a later one, it gives the same answer, and nothing is done twice."""
        asked = commit(0, [3, 2], wrong=1)
        with self.started(place) as state:
            assert state.commit(asked, 2) == 6
            before = everything(state)
            assert [state.commit(asked, 2) for _ in range(3)] == [6, 6, 6]
            assert everything(state) == before
        with self.opened(place) as state:
            assert state.commit(asked, 2) == 6
            assert everything(state) == before
            assert state.commit(commit(2, [1]), 2) == 7

    def test_an_equal_commit_of_somebody_else_is_refused(self, place: Any) -> None:
        """What another process committed is not taken for one's own, equal or not; nor is one's own from before."""
        asked, later = commit(0, [3]), commit(1, [1])
        with self.started(place) as state, self.opened(place) as other:
            other.commit(asked, 2)
            before = everything(state)
            expect(StateConflict, partial(state.commit, replace(asked, token="another"), 2))
            state.commit(later, 2)
            expect(StateConflict, partial(state.commit, asked, 2))
            assert everything(other) != before
            assert state.commit(later, 2) == 5

    def test_of_many_that_commit_at_once_one_wins(self, place: Any) -> None:
        """Without a lease, the cursor alone keeps two writers apart: one commit is stored, all others are refused."""
        with self.started(place):
            pass
        ready = Barrier(6)

        def race(_: int) -> bool:
            with self.opened(place) as state:
                ready.wait()
                try:
                    return state.commit(commit(0, [3, 1]), 2) == 5
                except StateConflict:
                    return False

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(race, range(6)))
        with self.opened(place) as state:
            assert sorted(won) == [False] * 5 + [True]
            assert (state.cursor().chunk, state.cursor().seq, state.unplanned()) == (2, 5, 0)

    def test_whatever_writes_can_be_done_again(self, place: Any) -> None:
        """Every write, repeated at once, leaves what it left the first time."""
        plan = FilePlan("detections-000000000001-000000000002.csv", 1, 2)
        rows = TableRows(MERCHANTS.name, _merchants([("M", 3, 1, 2, 45500)]))
        found = commit(0, [5])
        with self.opened(place) as state:
            writes: list[Callable[[], object]] = [
                lambda: state.start("f", MEANING, STARTED, [SHAPE, MERCHANTS]),
                lambda: state.make_tables([SHAPE, MERCHANTS]),
                lambda: state.record_file(FileRecord(info(0).file, "reading", 10)),
                lambda: state.record_landed([info(0, size=99), info(1)], time(9)),
                lambda: state.commit(found, 2),
                lambda: state.plan_rest(2),
                lambda: state.mark_published([plan], time(5)),
                lambda: state.mark_delivered("out", plan, time(6)),
                lambda: state.save_tables([rows], 1),
            ]
            for write in writes:
                write()
                once = [everything(state), state.undelivered("out"), state.load_table(MERCHANTS)]
                write()
                assert [everything(state), state.undelivered("out"), state.load_table(MERCHANTS)] == once

    # deliveries

    def test_each_output_has_its_own_files_to_come(self, place: Any) -> None:
        """An output is owed all planned files in order, also those planned before it was there, save the noted ones."""
        with self.started(place) as state:
            assert state.undelivered("a") == []
            state.commit(commit(0, [6]), 2)
            first, second, third = plans = state.files_planned()
            state.mark_delivered("a", second, "now")
            state.mark_delivered("a", second, "later")
            state.mark_delivered("b", first, "now")
            assert (state.undelivered("a"), state.undelivered("b")) == ([first, third], [second, third])
            assert state.undelivered('it\'s "odd" \u2400') == plans == state.unpublished()
        with self.opened(place) as state:
            state.mark_published([first], "now")
            published = replace(first, published_at="now")
            assert (state.undelivered("a"), state.undelivered("c")) == ([published, third], [published, second, third])

    # the ledger

    def test_what_is_known_of_a_landed_chunk_is_filled_in_once(self, place: Any) -> None:
        """Its size and the time stay as they were noted first, and come later when detect was quicker than ingest."""
        with self.started(place) as state:
            state.commit(commit(0, [0]), 50)
            state.record_landed([info(0, size=100), info(1)], time(7))
            state.record_landed([info(0, size=5), info(1, size=200)], time(8))
            state.record_landed([info(1), info(2)])
            assert rows_of(state, "chunks", "number", "bytes", "landed_at", "processed_at") == [
                (0, 100, time(7), time(0)),
                (1, 200, time(7), None),
                (2, None, None, None),
            ]

    def test_the_ledger_reconciles_ingest_and_detect(self, place: Any) -> None:
        """A row a chunk: landed, consumed, and published once every detection of it is in a file that is there."""
        with self.started(place) as state:
            state.record_file(FileRecord(info(0).file, "reading", 40))
            state.record_landed([info(n, size=100 + n) for n in range(4)], time(20))
            state.commit(commit(0, [2, 2, 0], wrong=1), 3)
            state.mark_published(state.files_planned()[:1], time(30))
            assert rows_of(state, "ledger", *LEDGER) == [
                (0, "in/a b.csv", 10, 100, time(20), 9, 1, time(0), 0, 2, time(30), "published"),
                (1, "in/a b.csv", 10, 101, time(20), 9, 1, time(1), 0, 2, time(30), "consumed"),
                (2, "in/a b.csv", 10, 102, time(20), 9, 1, time(2), 0, 0, None, "published"),
                (3, "in/a b.csv", 10, 103, time(20), None, None, None, None, 0, None, "landed"),
            ]
            state.plan_rest(3)
            state.mark_published(state.files_planned()[1:2], time(31))
            assert [(row[-1], row[-2]) for row in rows_of(state, "ledger", *LEDGER)][1] == ("published", time(31))

    def test_a_file_elsewhere_is_known_by_its_id_and_revision(self, place: Any) -> None:
        """Both come back; two files may share a name."""
        files = [SourceFile(n, "a.csv", 5, 7, f"id-{n}", revision) for n, revision in enumerate(("", "3\u2400", "ü"))]
        with self.opened(place) as state:
            for file in files:
                state.record_file(FileRecord(file, "reading"))
        with self.opened(place) as state:
            assert [f.file for f in state.files()] == files

    # views and odd texts

    def test_views_have_the_names_that_people_know(self, place: Any) -> None:
        """Transactions and genders by merchant, and the values of a pair, where the program keeps what they show."""
        rows = _merchants([("M1", 3, 1, 2, 45500), ("M2", 0, 0, 0, 0)])
        with self.opened(place) as state:
            state.start("f", MEANING, STARTED, [MERCHANTS])
            state.save_tables([TableRows("merchant", rows)], 0)
            counts = rows_of(state, "merchant_transaction_counts", "merchant", "transactions")
            assert counts == [("M1", 3), ("M2", 0)]
            genders = rows_of(state, "merchant_gender_stats", "merchant", "female_customers", "male_customers")
            assert genders == [("M1", 1, 2), ("M2", 0, 0)]
            assert rows_of(state, "merchant_stats", "merchant", "total_amount") == [("M1", 4.55), ("M2", None)]

    def test_texts_with_nul_come_back(self, place: Any) -> None:
        """In keys, evidence, tables and problems: a character that JSON and Parquet can hold stops no pipeline."""
        found = [Detection(0, "P", "A", {"customer": text, "merchant": "M"}, {"why": text}) for text in WITH_NUL]
        count = len(WITH_NUL)
        rows: dict[str, list[Any]] = {"id": list(range(count)), "customer": list(WITH_NUL), "merchant": ["M"] * count}
        rows |= {"transactions": [1] * count, "sum_amount": [1] * count, "importance": [None] * count}
        with self.started(place) as state:
            state.commit(commit(0, [found]), 50)
            state.save_tables([TableRows(SHAPE.name, rows)], 1)
            state.record_file(FileRecord(info(0).file, "broken", 1, None, WITH_NUL[1]))
        with self.opened(place) as state:
            assert [s.detection for s in state.detections()] == found
            assert list(state.load_table(SHAPE).columns["customer"]) == list(WITH_NUL)
            assert state.files()[0].problem == WITH_NUL[1]


def rows_of(state: State, view: str, *columns: str) -> list[tuple[Any, ...]]:
    """What people read in a view, by its first column."""
    assert isinstance(state, SqlState)
    return list(state.contents(view, columns, columns[:1]))


def _merchants(rows: list[tuple[str, int, int, int, int]]) -> dict[str, Any]:
    merchants, transactions, women, men, amounts = (list(values) for values in zip(*rows, strict=True))
    known = {"transactions": transactions, "f": women, "m": men, "sum_amount": amounts}
    return {"id": list(range(len(rows))), "merchant": merchants, **known}
