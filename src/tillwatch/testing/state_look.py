"""For tests: what state stores promise to those who look; part of the suite."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

from tillwatch.errors import StateError
from tillwatch.model import Detection, Turn
from tillwatch.state.base import State, TableRows
from tillwatch.state.look import ChunkTimes, Flow, Span, Wanted
from tillwatch.state.tables import TableShape
from tillwatch.testing.commits import MEANING, ODD_TEXTS, STARTED, commit, detection, info, time
from tillwatch.testing.sharing import SharingSuite, expect


class LookSuite(SharingSuite):
    """What every state store promises. A subclass says how one is opened; `place` is as in SharingSuite."""

    def test_a_pulse_is_another_one_after_every_change(self, place: Any) -> None:
        """A chunk landed, a commit without a detection, tables saved, a file published; the same without a change."""
        with self.started(place) as state:
            pulses = [state.pulse()]
            for change in (
                partial(state.record_landed, [info(0), info(1)]),
                partial(state.commit, commit(0, [0]), 1),
                partial(state.commit, commit(1, [1]), 1),
                partial(state.save_tables, [], 2),
                lambda: state.mark_published(state.files_planned()[:1], time(2)),
            ):
                change()
                assert state.pulse() == state.pulse() != pulses[-1]
                pulses.append(state.pulse())
            last = state.pulse()
            assert (last.landed, last.cursor, last.tables, last.seq, last.published) == (2, 2, 2, 1, 1)

    def test_the_flow_is_by_ten_seconds(self, place: Any) -> None:
        """Of chunks landed and of chunks processed, from a time and a number on; unknown times are in none."""
        with self.started(place) as state:
            state.record_landed([info(n) for n in range(5)], time(5))
            state.record_landed([info(n) for n in range(5, 30)])
            state.commit(commit(0, [0] * 30, wrong=2), 50)
            assert state.flow("landed", 0, "") == [Flow(time(5), 5, 50, 0, 0)]
            assert state.flow("processed", 0, "") == [Flow(time(n), 10, 100, 20, n) for n in (0, 10, 20)]
            assert state.flow("processed", 15, time(18)) == [
                Flow(time(18), 2, 20, 4, 18),
                Flow(time(20), 10, 100, 20, 20),
            ]

    def test_a_chunk_has_its_times(self, place: Any) -> None:
        """When it landed and when it was processed, with the name of its file; what is not known is None."""
        with self.started(place) as state:
            state.record_landed([info(0, size=7), info(1)], time(3))
            state.commit(commit(0, [0], wrong=1), 50)
            assert state.chunk_times(0, 9) == [
                ChunkTimes(0, "", 1, 10, 7, time(3), 9, 1, 0, time(0)),
                ChunkTimes(1, "", 11, 10, None, time(3), None, None, None, None),
            ]

    def test_detections_are_found_by_what_they_are_about(self, place: Any) -> None:
        """Newest first, page by page, by pattern, action, customer, merchant and time; counted by the same."""
        with self.started(place) as state:
            found = [detection(n, f"C{n}", pattern="PQ"[n % 2]) for n in range(6)]
            found[5] = replace(found[5], action="OTHER")
            state.commit(commit(0, [[d] for d in found], [Turn(5, "P", found[2].key, False)]), 50)
            stored = [replace(s, file=None) for s in state.detections()]
            assert [s.seq for s in state.newest(Wanted())] == [6, 5, 4, 3, 2, 1]
            assert state.newest(Wanted(pattern="P"), limit=2) == [stored[4], stored[2]]
            assert state.newest(Wanted(pattern="P"), before=3) == [stored[0]]
            for wanted, numbers in (
                (Wanted(action="OTHER"), [5]),
                (Wanted(customer="C3", merchant="M"), [3]),
                (Wanted(customer="C3", merchant="N"), []),
                (Wanted(since=time(4)), [5, 4]),
                (Wanted(since=time(1)[:18], until=time(3)), [2, 1, 0]),
                (Wanted(text="c4"), [4]),
                (Wanted(text="customer"), []),
            ):
                assert [s.detection.chunk for s in state.newest(wanted)] == numbers
                times = sorted(time(n) for n in numbers)
                assert state.span(wanted) == Span(len(numbers), *([times[0], times[-1]] if times else [None, None]))
            assert state.counts(Wanted(), 17) == [("P", time(0)[:17], 3), ("Q", time(0)[:17], 3)]
            assert state.counts(Wanted(pattern="Q"), 19) == [("Q", time(n)[:19], 1) for n in (1, 3, 5)]
            assert state.actions() == [("P", "ACTION", 3), ("Q", "ACTION", 2), ("Q", "OTHER", 1)]

    def test_odd_texts_are_searched_for_as_they_are(self, place: Any) -> None:
        """Signs that mean something in SQL, LIKE or JSON mean nothing: each text finds itself alone."""
        texts = [text for text in (*ODD_TEXTS, "100%", "1000", "a_b", "axb", "!", "?") if text]
        with self.started(place) as state:
            state.commit(commit(0, [[detection(0, text) for text in texts]]), 50)
            for text in texts:
                alone = Wanted(customer=text)
                assert [s.detection.customer for s in state.newest(alone)] == [text]
                same = [t for t in texts if json.dumps(text)[1:-1].lower() in json.dumps(t).lower()]
                assert {s.detection.customer for s in state.newest(Wanted(text=text))} == set(same)

    def test_features_of_a_group_are_read_by_key(self, place: Any) -> None:
        """From the tables as they were saved; a table or column that is not there is an error."""
        view = {"transactions": '"n"', "w": '"w"'}
        shape = TableShape("customer_merchant", ("customer", "merchant"), ("n",), ("w",), view)
        keys = {"customer": ["A", "B", "A"], "merchant": ["M", "M", "N'"]}
        rows: dict[str, list[Any]] = {"id": [0, 1, 2], **keys, "n": [3, 4, 5], "w": [0.5, None, 1.0]}
        with self.opened(place) as state:
            state.start("f", MEANING, STARTED, [shape])
            state.save_tables([TableRows("customer_merchant", rows)], 1)
            asked = partial(state.feature_rows, "customer_merchant")
            assert sorted(asked(("customer", "transactions", "w"), {"merchant": "M"}, 9)) == [
                ("A", 3, 0.5),
                ("B", 4, None),
            ]
            assert asked(("w",), {"merchant": "N'", "customer": "A"}, 9) == [(1.0,)]
            assert len(asked(("w",), {}, 2)) == 2
            expect(StateError, partial(asked, ("spent",), {}, 1))
            expect(StateError, partial(state.feature_rows, "meta", ("value",), {}, 1))

    def test_looking_changes_nothing(self, place: Any) -> None:
        """All of it is asked of a state that is opened for reading, while another one writes."""
        with self.started(place) as writer:
            writer.commit(commit(0, [1]), 50)
            with self.opened(place, readonly=True) as state:
                seen = _all_of(state)
                writer.commit(commit(1, [1]), 50)
                assert _all_of(state) != seen


def _all_of(state: State) -> list[object]:
    newest: list[Detection] = [s.detection for s in state.newest(Wanted())]
    flows = [state.flow("landed", 0, ""), state.flow("processed", 0, "")]
    return [state.pulse(), *flows, state.chunk_times(0, 9), newest, state.span(Wanted()), state.actions()]
