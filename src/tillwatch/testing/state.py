"""For tests: the suite that every state store passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from tillwatch.errors import StateConflict, StateError
from tillwatch.model import Detection, SourceFile, Turn
from tillwatch.state.base import ChunkRecord, Cursor, FileRecord, State, StoredDetection, TableRows, Totals
from tillwatch.testing.commits import (
    MEANING,
    ODD_TEXTS,
    ODD_VALUES,
    SHAPE,
    STARTED,
    commit,
    commit_forever,
    detection,
    everything,
    info,
    process,
    time,
)
from tillwatch.testing.sharing import expect
from tillwatch.testing.state_again import AgainSuite
from tillwatch.testing.state_figures import FiguresSuite
from tillwatch.testing.state_life import LifeSuite
from tillwatch.testing.state_look import LookSuite
from tillwatch.testing.state_review import ReviewSuite


class StateSuite(AgainSuite, LifeSuite, FiguresSuite, LookSuite, ReviewSuite):
    """What every state store promises. A subclass says how one is opened.

    It defines `opener`, and a pytest fixture `place`: an empty place of its own for each test, a path or a database.
    """

    def test_a_new_state_is_empty(self, place: Any) -> None:
        """Nothing is in it, and reading it makes nothing."""
        nothing = Totals(0, 0, 0, 0, 0, 0)
        empty: list[object] = [Cursor(0, 1, 0), None, [], 0, [], {}, nothing, {}, {}, [], [], {}, 0, [], []]
        empty += [[], [], {}, [], [], 0, [], [], []]
        for _ in range(2):
            with self.opened(place) as state:
                assert everything(state) == empty
                assert not state.at_work("ingest") and not state.at_work("detect")
                state.claim_allowed("any", "")

    # start

    def test_a_restart_keeps_when_it_first_started(self, place: Any) -> None:
        """YStartTime is that of the first start; the cursor is where the commits have come to."""
        with self.opened(place) as state:
            assert state.start("f", MEANING, STARTED, [SHAPE]) == Cursor(0, 1, 0)
            state.commit(commit(0, [2, 1]), 50)
        with self.opened(place) as state:
            assert state.start("f", MEANING, "2027-01-01T00:00:00.000+05:30", [SHAPE]) == Cursor(2, 4, 0)
            assert state.started_at() == STARTED

    def test_another_configuration_is_told_and_changes_nothing(self, place: Any) -> None:
        """A state made by another program is refused with what was and what is now, line by line."""
        with self.started(place) as state:
            state.commit(commit(0, [2]), 50)
            before = everything(state)
            now = MEANING.replace("> 1", "> 2")
            for refused in (
                lambda: state.start("other", now, STARTED, [SHAPE]),
                lambda: state.claim_allowed("other", now),
            ):
                text = str(expect(StateConflict, refused))
                assert "was  pattern P: transactions > 1" in text and "now  pattern P: transactions > 2" in text
                assert "fraction digits" not in text
            assert everything(state) == before
            state.claim_allowed("fingerprint", MEANING)

    # commit

    def test_what_was_committed_comes_back(self, place: Any) -> None:
        """Chunks, counts, reasons, detections with their times, and the cursor, in this connection and later ones."""
        with self.started(place) as state:
            assert state.commit(commit(0, [1, 2], wrong=3), 50) == 4
            assert state.commit(commit(2, [0]), 50) == 4
            seen = everything(state)
        with self.opened(place, readonly=True) as state:
            assert everything(state) == seen
            assert state.cursor() == Cursor(3, 4, 0)
            assert list(state.chunks()) == [
                ChunkRecord(n, 0, 1 + 10 * n, 10, f"{n:064x}", 10 - wrong, wrong, 0)
                for n, wrong in enumerate((3, 3, 0))
            ]
            assert state.totals() == Totals(3, 30, 3, 24, 6, 0)
            assert state.quarantined() == {"amount_empty": 6}
            assert state.marked() == {"known": 6, "shops": 2}
            assert list(state.detections()) == [
                StoredDetection(seq, detection(chunk, f"{chunk}.{i}"), time(chunk), True, None)
                for seq, (chunk, i) in enumerate([(0, 0), (1, 0), (1, 1)], 1)
            ]
            assert state.by_pattern() == {"P": 3}

    def test_odd_texts_and_values_come_back(self, place: Any) -> None:
        """Keys of any characters and any number of columns, and evidence of any JSON, are as they were."""
        odd = [detection(0, text, f"P {text}"[:50], value=text, **{text[:20]: ODD_VALUES}) for text in ODD_TEXTS]
        odd += [Detection(0, "none", text, {"gender": text, "category": "c"}, {}) for text in ODD_TEXTS]
        with self.started(place) as state:
            state.commit(commit(0, [odd]), 50)
        with self.opened(place) as state:
            found = [s.detection for s in state.detections()]
            assert found == odd
            assert [list(d.key) for d in found] == [list(d.key) for d in odd]
            assert repr([d.evidence for d in found]) == repr([d.evidence for d in odd])

    def test_a_commit_from_elsewhere_is_refused_whole(self, place: Any) -> None:
        """One that does not begin at the cursor is told and changes nothing, whoever moved the cursor."""
        with self.started(place) as state, self.opened(place) as other:
            state.commit(commit(0, [1, 1]), 2)
            before = everything(state)
            for first in (0, 1, 3):
                text = str(expect(StateConflict, partial(other.commit, commit(first, [5]), 2)))
                assert "chunk 2" in text and f"chunk {first}" in text
                assert everything(state) == everything(other) == before
            other.commit(commit(2, [1]), 2)
            expect(StateConflict, lambda: state.commit(commit(2, [1]), 2))
            assert state.cursor() == Cursor(3, 4, 0)

    def test_a_chunk_that_is_not_the_one_noted_is_refused_whole(self, place: Any) -> None:
        """When detect read another chunk than ingest noted the commit fails and changes nothing; it tells which."""
        with self.started(place) as state:
            state.record_landed([info(0), replace(info(1), digest="other"), info(2)])
            assert state.digests(1, 2) == {1: "other", 2: info(2).digest}
            before = everything(state)
            assert "chunk 1" in str(expect(StateConflict, partial(state.commit, commit(0, [1, 1, 1]), 2)))
            assert everything(state) == before
            state.commit(commit(0, [1]), 2)

    def test_a_commit_that_fails_leaves_nothing(self, place: Any) -> None:
        """A (pattern, key) detected twice fails the commit, of which nothing stays; the next goes through."""
        with self.started(place) as state:
            state.commit(commit(0, [[detection(0, "A")]]), 50)
            before = everything(state)
            twice = [detection(1, "B"), detection(1, "C"), detection(1, "A")]
            expect(StateError, lambda: state.commit(commit(1, [twice], wrong=2), 2))
            assert everything(state) == before
            assert state.commit(commit(1, [twice[:2]], wrong=2), 2) == 4
        with self.opened(place) as state:
            assert [s.detection.customer for s in state.detections()] == ["A", "B", "C"]

    def test_a_commit_killed_at_any_moment_is_whole_or_absent(self, place: Any) -> None:
        """After SIGKILL in the middle of commits the state is that after some chunk, with all told ones in it."""
        with self.started(place):
            pass
        for commits in (1, 7):
            with process(commit_forever, self.opener(place)) as (told, kill):
                last = [told.recv() for _ in range(commits)][-1]
                kill()
            with self.opened(place) as state:
                chunks = state.cursor().chunk
                assert chunks > last
                expected = [f"{n}.{i}" for n in range(chunks) for i in range(n % 4)]
                assert [s.detection.customer for s in state.detections()] == expected
                assert [s.seq for s in state.detections()] == list(range(1, len(expected) + 1))
                full = range(1, len(expected) - 1, 3)
                assert [(p.first, p.last) for p in state.files_planned()] == [(n, n + 2) for n in full]
                assert state.totals() == Totals(chunks, 10 * chunks, chunks, 10 * chunks, 0, 0)

    # seq and files

    def test_full_files_are_planned_by_the_commit(self, place: Any) -> None:
        """Each of exactly so many detections, in order, without a gap or an overlap; the rest waits."""
        with self.started(place) as state:
            assert state.commit(commit(0, [2]), 3) == 3
            assert (state.files_planned(), state.unplanned()) == ([], 2)
            assert state.commit(commit(1, [0, 5]), 3) == 8
            assert [(p.first, p.last) for p in state.files_planned()] == [(1, 3), (4, 6)]
            assert state.unplanned() == 1
            assert state.commit(commit(3, [2]), 3) == 10
            plans = state.files_planned()
            assert [(p.first, p.last) for p in plans] == [(1, 3), (4, 6), (7, 9)]
            assert [s.file for s in state.detections()] == [p.name for p in plans for _ in range(3)]
            assert [s.seq for s in state.detections()] == list(range(1, 10))

    def test_files_of_fifty(self, place: Any) -> None:
        """Of 49, 1 and 101 detections come three files of 50 and one that waits, with names that sort."""
        with self.started(place) as state:
            for first, found in enumerate((49, 1, 101)):
                state.commit(commit(first, [found]), 50)
            plans = state.files_planned()
            assert [(p.first, p.last) for p in plans] == [(1, 50), (51, 100), (101, 150)]
            assert state.unplanned() == 1
            names = [p.name for p in plans]
            assert names == sorted(set(names))

    def test_the_rest_is_planned_when_asked(self, place: Any) -> None:
        """Into a file with fewer rows; what comes later begins a new file. Without a rest nothing is planned."""
        with self.started(place) as state:
            state.plan_rest(3)
            assert state.files_planned() == []
            state.commit(commit(0, [4]), 3)
            state.plan_rest(3)
            state.plan_rest(3)
            assert [(p.first, p.last) for p in state.files_planned()] == [(1, 3), (4, 4)]
            state.commit(commit(1, [3]), 3)
            assert [(p.first, p.last) for p in state.files_planned()] == [(1, 3), (4, 4), (5, 7)]
            assert state.unplanned() == 0

    def test_another_number_of_rows_per_file_goes_on_from_there(self, place: Any) -> None:
        """Files planned stay as they are; waiting ones go into files of the new size."""
        with self.started(place) as state:
            state.commit(commit(0, [9]), 5)
            state.commit(commit(1, [1]), 2)
            state.plan_rest(2)
            assert [(p.first, p.last) for p in state.files_planned()] == [(1, 5), (6, 7), (8, 9), (10, 10)]

    def test_published_files_are_noted_one_by_one(self, place: Any) -> None:
        """Those not noted stay to be published, in order, also after a restart."""
        with self.started(place) as state:
            state.commit(commit(0, [6]), 2)
            first, second, third = plans = state.unpublished()
            assert plans == state.files_planned()
            state.mark_published([second], "now")
            assert state.unpublished() == [first, third]
        with self.opened(place) as state:
            assert state.files_planned() == [first, replace(second, published_at="now"), third]
            assert [p.published_at for p in state.unpublished()] == [None, None]

    def test_detections_are_read_by_seq(self, place: Any) -> None:
        """Both ends included, to the last when no end is given."""
        with self.started(place) as state:
            state.commit(commit(0, [5]), 50)

            def seqs(*ends: int) -> list[int]:
                return [s.seq for s in state.detections(*ends)]

            assert [seqs(), seqs(4), seqs(2, 3), seqs(5, 99), seqs(6)] == [[1, 2, 3, 4, 5], [4, 5], [2, 3], [5], []]

    # turns

    def test_turns_are_kept_with_their_chunk(self, place: Any) -> None:
        """A detection says whether it holds now; turns before a chunk say what was then, in order."""
        a, b = detection(0, "A"), detection(1, "B")
        with self.started(place) as state:
            turned = [Turn(1, "P", a.key, False), Turn(2, "P", a.key, True), Turn(2, "P", b.key, False)]
            state.commit(commit(0, [[a], [b], 0], turned), 50)
            state.commit(commit(3, [0], [Turn(3, "P", a.key, False)]), 50)
            assert [(s.detection.customer, s.holds) for s in state.detections()] == [("A", False), ("B", False)]
        with self.opened(place) as state:
            assert state.turns(99) == [(1, 1, False), (1, 2, True), (2, 2, False), (1, 3, False)]
            assert (state.turns(2), state.turns(0)) == ([(1, 1, False)], [])

    def test_a_turn_is_that_of_its_pattern_and_key(self, place: Any) -> None:
        """The same key under another pattern, and another key, stay as they are."""
        found = [detection(0, "A"), detection(0, "A", "Q"), detection(0, "A ")]
        with self.started(place) as state:
            state.commit(commit(0, [found, 0], [Turn(1, "Q", found[1].key, False)]), 50)
            assert [s.holds for s in state.detections()] == [True, False, True]

    # tables

    def test_tables_come_back_as_saved(self, place: Any) -> None:
        """Texts, integers to 62 bits, floats and unknown ones, by id, and the chunk that they are the state before."""
        count = len(ODD_TEXTS)
        rows: dict[str, list[Any]] = {
            "id": list(range(count)),
            "customer": list(ODD_TEXTS),
            "merchant": list(reversed(ODD_TEXTS)),
            "transactions": [2**62, -(2**62), *range(count - 2)],
            "sum_amount": [2**63 - 1, -(2**63), *range(count - 2)],
            "importance": [None, 0.1, 7 / 3, -0.0, *([None] * (count - 4))],
        }
        with self.started(place) as state:
            assert _columns(state) == {c: [] for c in SHAPE.columns}
            state.commit(commit(0, [0, 0]), 50)
            state.save_tables([TableRows(SHAPE.name, rows)], 2)
        with self.opened(place) as state:
            assert _columns(state) == rows
            assert {type(v) for v in _columns(state)["importance"]} == {float, type(None)}
            assert state.cursor() == Cursor(2, 1, 2)

    def test_rows_are_replaced_by_id(self, place: Any) -> None:
        """Saving some rows again changes these, adds new ones and leaves the others."""

        def rows(*ids: int, transactions: int) -> TableRows:
            n = len(ids)
            texts: dict[str, list[Any]] = {"customer": [f"C{i}" for i in ids], "merchant": ["M"] * n}
            numbers: dict[str, list[Any]] = {
                "transactions": [transactions] * n,
                "sum_amount": [0] * n,
                "importance": [None] * n,
            }
            return TableRows(SHAPE.name, {"id": list(ids), **texts, **numbers})

        with self.started(place) as state:
            state.commit(commit(0, [0] * 3), 50)
            state.save_tables([rows(0, 1, 2, transactions=1)], 1)
            state.save_tables([rows(3, 1, transactions=2)], 3)
            found = _columns(state)
            assert (found["id"], found["transactions"]) == ([0, 1, 2, 3], [1, 2, 1, 2])
            state.save_tables([], 3)
            assert state.cursor() == Cursor(3, 1, 3)

    # the ledger

    def test_files_are_noted_and_noted_again(self, place: Any) -> None:
        """By number; a later note replaces the earlier one whole."""
        a = SourceFile(0, "in/a.csv", 5, 1_700_000_000_123_456_789)
        b = SourceFile(1, ODD_TEXTS[3], 2**40, -1)
        with self.opened(place) as state:
            state.record_file(FileRecord(b, "broken", 7, None, ODD_TEXTS[5]))
            state.record_file(FileRecord(a, "reading"))
            state.record_file(FileRecord(a, "done", 10, "ab" * 32))
        with self.opened(place) as state:
            assert state.files() == [
                FileRecord(a, "done", 10, "ab" * 32),
                FileRecord(b, "broken", 7, None, ODD_TEXTS[5]),
            ]

    def test_landed_chunks_are_noted_once(self, place: Any) -> None:
        """Noting one again, or after detect has processed it, changes nothing; what was counted stays."""
        with self.started(place) as state:
            state.record_landed([info(0), info(1)])
            assert state.landed() == 2
            assert state.totals() == Totals(2, 20, 0, 0, 0, 0)
            state.record_landed([info(0, rows=99), info(1), info(2)])
            state.commit(commit(0, [0] * 4, wrong=1), 50)
            assert state.landed() == 4
            before = everything(state)
            state.record_landed([info(3), info(0)])
            state.record_landed([])
            assert everything(state) == before
            assert state.totals() == Totals(4, 40, 4, 36, 4, 0)


def _columns(state: State) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in state.load_table(SHAPE).columns.items()}
