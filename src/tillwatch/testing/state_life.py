"""For tests: what state stores promise of the life of detections; part of the suite."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from tillwatch.errors import StateConflict, StateError
from tillwatch.model import Turn
from tillwatch.state.base import Cursor, LookupVersion, RuleChange, RuleSet, StoredCleared, TableRows
from tillwatch.state.sql_state import SqlState
from tillwatch.state.tables import TableShape
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit, detection, everything, time
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
            state.mark_published([plan], "now", "cleared")
            (rest,) = state.unpublished("cleared")
            assert (rest.first, rest.last, state.unplanned("cleared")) == (3, 3, 0)
            assert list(state.cleared(3, 3)) == [
                StoredCleared(3, 3, 3, "P", "ACTION", found[2].key, time(3), rest.name)
            ]
            assert [p.published_at for p in state.files_planned()] == [None]
            again = [Turn(4, "P", found[0].key, True), Turn(5, "P", found[0].key, False, cleared=True)]
            state.commit(commit(4, [0, 0], again), 2)
            assert [(c.number, c.seq, c.chunk) for c in state.cleared(4)] == [(4, 1, 5)]

    def test_patterns_that_change_are_kept_with_their_first_chunk(self, place: Any) -> None:
        """In the transaction of the commit, also when it is asked for again; the state is then theirs."""
        edited = RuleSet(1, "edited", f"{MEANING}0", '{"a": "ü"}', time(1))
        with self.started(place) as state:
            (first,) = state.rule_sets()
            assert (first.first, first.hash, first.meaning, first.at) == (0, "fingerprint", MEANING, STARTED)
            state.commit(commit(0, [1]), 50)
            asked = replace(commit(1, [2]), change=RuleChange(edited))
            for _ in range(2):
                assert state.commit(asked, 50) == 4
                assert state.rule_sets() == [first, edited]
            state.claim_allowed("edited", edited.meaning)
            expect(StateConflict, lambda: state.claim_allowed("fingerprint", MEANING))
            state.base_allowed(MEANING)
            expect(StateConflict, lambda: state.base_allowed(MEANING.replace("4 fraction", "3 fraction")))
        with self.opened(place) as state:
            assert state.start("edited", edited.meaning, STARTED, [SHAPE]) == Cursor(2, 4, 0)
            assert state.rule_sets() == [first, edited]

    def test_patterns_that_nothing_was_judged_by_are_replaced(self, place: Any) -> None:
        """Before the first commit there is one set of patterns, whichever is the last."""
        edited = RuleSet(0, "edited", MEANING, "{}", time(1))
        with self.started(place) as state:
            state.commit(replace(commit(0, [1]), change=RuleChange(edited)), 50)
            assert state.rule_sets() == [edited]

    def test_versions_of_lookups_are_kept_with_their_first_chunk(self, place: Any) -> None:
        """In the transaction of the commit, also when it is asked for again; one that is refused records nothing."""
        first = [LookupVersion(name, 1, 0, "a" * 64, 7, f"_lookups/{name}/ü", STARTED) for name in ("B", "C")]
        second = LookupVersion("B", 2, 1, "b" * 64, 0, "_lookups/B/x", time(1))
        with self.started(place) as state:
            state.commit(replace(commit(0, [1]), lookups=(first[1], first[0])), 50)
            expect(StateConflict, partial(state.commit, replace(commit(3, [1]), lookups=(second,)), 50))
            assert state.lookup_versions() == first
            asked = replace(commit(1, [2]), lookups=(second,))
            for _ in range(2):
                state.commit(asked, 50)
                assert state.lookup_versions() == [*first, second]
            before = everything(state)
            expect(StateError, partial(state.commit, replace(commit(2, [1]), lookups=(second,)), 50))
            assert everything(state) == before

    def test_a_meaning_with_contents_of_lookups_is_the_same_without(self, place: Any) -> None:
        """As states of an earlier version have it; what else is other is refused as always."""
        before = f"{MEANING}\nlookup vip: count(*) on customer=id, content {'0' * 64}"
        now = before.partition(", content")[0]
        with self.opened(place) as state:
            state.start("earlier", before, STARTED, [SHAPE])
            state.claim_allowed("now", now)
            state.base_allowed(now)
            expect(StateConflict, lambda: state.claim_allowed("other", now.replace("> 1", "> 2")))
            expect(StateConflict, lambda: state.base_allowed(now.replace("count(*)", "max(x)")))

    def test_tables_are_made_anew_when_patterns_need_others(self, place: Any) -> None:
        """The old ones go with their views; the new ones hold the state after the commit, or all stays as it was."""
        rows: dict[str, list[Any]] = {"id": [0, 1], "customer": ["A", "B"], "merchant": ["M", "M"]}
        old = {**rows, "transactions": [1, 1], "sum_amount": [5, 5], "importance": [None, 0.5]}
        wider = replace(SHAPE, counters=("transactions", "max_amount"), lookups=(), view={"largest": '"max_amount"'})
        other = TableShape("merchant", ("merchant",), ("transactions",), (), {"transactions": '"transactions"'})
        new = [
            TableRows(wider.name, {**rows, "transactions": [2, 3], "max_amount": [7, 8]}),
            TableRows("merchant", {"id": [0], "merchant": ["M"], "transactions": [5]}),
        ]
        edited = RuleSet(1, "edited", MEANING, "{}", time(1))

        def change(found: list[TableRows]) -> RuleChange:
            return RuleChange(edited, (wider, other), lambda: iter(found))

        with self.started(place) as state:
            state.commit(commit(0, [1]), 50)
            state.save_tables([TableRows(SHAPE.name, old)], 1)
            before = everything(state)
            wrong = [TableRows("merchant", {"id": [0], "merchant": [None], "transactions": [1]})]
            expect(StateError, partial(state.commit, replace(commit(1, [1]), change=change(wrong)), 50))
            assert everything(state) == before
            assert list(state.load_table(SHAPE).columns["sum_amount"]) == [5, 5]
            state.commit(replace(commit(1, [1, 1]), change=change(new)), 50)
            assert state.cursor() == Cursor(3, 4, 3)
        with self.opened(place) as state:
            assert [list(state.load_table(wider).columns[c]) for c in ("customer", "max_amount")] == [
                ["A", "B"],
                [7, 8],
            ]
            assert list(state.load_table(other).columns["transactions"]) == [5]
            assert isinstance(state, SqlState)
            assert [s.name for s in state.shapes()] == ["customer_merchant", "merchant"]
            assert list(state.contents("customer_merchant_stats", ("customer", "largest"), ("customer",))) == [
                ("A", 7),
                ("B", 8),
            ]
