"""For tests: what state stores promise of the life of detections; part of the suite."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from tillwatch.errors import StateError
from tillwatch.model import Turn
from tillwatch.state.base import StoredCleared
from tillwatch.testing.commits import commit, detection, everything, time
from tillwatch.testing.sharing import SharingSuite, expect


class LifeSuite(SharingSuite):
    """What every state store promises. A subclass says how one is opened; `place` is as in SharingSuite."""

    def test_a_key_is_detected_again_on_another_occasion(self, place: Any) -> None:
        """The same occasion twice fails the commit; a turn is that of the last detection before it."""
        found = [replace(detection(n, "A"), occasion=str(n)) for n in range(4)]
        turns = [Turn(1, "P", found[0].key, False), Turn(3, "P", found[0].key, False)]
        with self.started(place) as state:
            state.commit(commit(0, [found[:1], [], found[2:3], []], turns), 50)
            assert [s.detection for s in state.detections()] == [found[0], found[2]]
            assert [s.holds for s in state.detections()] == [False, False]
            assert state.turns(99) == [(1, 1, False), (2, 3, False)]
            before = everything(state)
            expect(StateError, partial(state.commit, commit(4, [[replace(detection(4, "A"), occasion="2")]]), 50))
            assert everything(state) == before
            state.commit(commit(4, [[replace(detection(4, "A"), occasion="4")]]), 50)
            assert [s.holds for s in state.detections()] == [False, False, True]

    def test_what_is_in_the_shadow_is_kept_apart(self, place: Any) -> None:
        """With a seq of its own, in no file, and with turns of its own, also for a key that is detected for all."""
        shown, hidden = detection(0, "A"), replace(detection(0, "A", value=1), shadow=True)
        with self.started(place) as state:
            turned = [Turn(1, "P", hidden.key, False, shadow=True)]
            assert state.commit(commit(0, [[hidden, shown], 0], turned), 1) == 2
            assert [(s.seq, s.detection, s.holds) for s in state.detections()] == [(1, shown, True)]
            (stored,) = state.detections(shadow=True)
            assert (stored.seq, stored.detection, stored.at, stored.holds) == (1, hidden, time(0), False)
            assert stored.file is None and state.unplanned() == 0
            assert (state.turns(9), state.turns(9, shadow=True)) == ([], [(1, 1, False)])
            assert (state.by_pattern(), state.by_pattern(shadow=True)) == ({"P": 1}, {"P": 1})
            twice = [replace(detection(2, "B"), shadow=True), replace(detection(2, "A"), shadow=True)]
            expect(StateError, partial(state.commit, commit(2, [twice]), 50))
            assert len(list(state.detections(2, shadow=True))) == 0

    def test_what_is_cleared_has_numbers_and_files_of_its_own(self, place: Any) -> None:
        """Each with the last detection of its key; full files are planned by the commit, the rest when asked."""
        found = [detection(0, name) for name in "ABC"]
        turns = [Turn(1 + n, "P", d.key, False, cleared=True) for n, d in enumerate(found)]
        with self.started(place) as state:
            state.commit(commit(0, [found, 0, 0, 0], turns), 2)
            assert [(c.number, c.seq, c.chunk, c.at) for c in state.cleared()] == [
                (n, n, n, time(n)) for n in (1, 2, 3)
            ]
            (plan,) = state.files_planned("cleared")
            assert (plan.first, plan.last, state.unplanned("cleared")) == (1, 2, 1)
            state.plan_rest(2, "cleared")
            state.mark_published(plan, "now", "cleared")
            (rest,) = state.unpublished("cleared")
            assert (rest.first, rest.last, state.unplanned("cleared")) == (3, 3, 0)
            assert list(state.cleared(3, 3)) == [
                StoredCleared(3, 3, 3, "P", "ACTION", found[2].key, time(3), rest.name)
            ]
            assert [p.published_at for p in state.files_planned()] == [None]
            again = [Turn(4, "P", found[0].key, True), Turn(5, "P", found[0].key, False, cleared=True)]
            state.commit(commit(4, [0, 0], again), 2)
            assert [(c.number, c.seq, c.chunk) for c in state.cleared(4)] == [(4, 1, 5)]
