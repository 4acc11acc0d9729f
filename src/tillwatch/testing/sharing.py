"""For tests: what state stores promise to several connections and processes; part of the suite in `state`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from tillwatch.errors import LeaseHeld, StateError
from tillwatch.state.base import Cursor, FilePlan, FileRecord, Mechanism, State, Totals
from tillwatch.state.tables import TableShape
from tillwatch.testing.commits import (
    MEANING,
    SHAPE,
    STARTED,
    commit,
    everything,
    hold_lease,
    info,
    process,
)


class SharingSuite:
    """What every state store promises. A subclass says how one is opened.

    It defines a pytest fixture `place`: an empty place of its own for each test, a path or a database.
    """

    def opener(self, place: Any, *, readonly: bool = False) -> Callable[[], State]:
        """What opens a connection to the place, here or in another process: it can be pickled."""
        raise NotImplementedError

    @contextmanager
    def opened(self, place: Any, *, readonly: bool = False) -> Iterator[State]:
        """A connection, closed at the end."""
        state = self.opener(place, readonly=readonly)()
        try:
            yield state
        finally:
            state.close()

    @contextmanager
    def started(self, place: Any) -> Iterator[State]:
        """A connection to a state that a program has claimed."""
        with self.opened(place) as state:
            state.start("fingerprint", MEANING, STARTED, [SHAPE])
            yield state

    # side by side

    def test_a_snapshot_does_not_move(self, place: Any) -> None:
        """While it is open reads see the state of the first one, whatever is committed; afterwards that of now."""
        with self.started(place) as state, self.opened(place, readonly=True) as reader:
            state.commit(commit(0, [3]), 2)
            with reader.snapshot():
                before = everything(reader)
                state.commit(commit(1, [5]), 2)
                state.plan_rest(2)
                state.record_file(FileRecord(info(0).file, "done"))
                assert everything(reader) == before
            assert everything(reader) == everything(state) != before

    def test_an_error_in_a_snapshot_is_told_as_it_is(self, place: Any) -> None:
        """A read that fails in a snapshot is a StateError, and the connection can be used afterwards."""
        missing = TableShape("no_such_table", (), ("transactions",), (), {})
        with self.started(place), self.opened(place, readonly=True) as reader:
            error = raised(lambda: _in_snapshot(reader, lambda: reader.load_table(missing)))
            assert isinstance(error, StateError) and "no_such_table" in str(error)
            with reader.snapshot():
                assert reader.cursor() == Cursor(0, 1, 0)

    def test_ingest_and_detect_write_side_by_side(self, place: Any) -> None:
        """Two connections write at the same time, each waiting for the other, and nothing is lost."""
        with self.started(place):
            pass

        def land() -> None:
            with self.opened(place) as state:
                for number in range(30):
                    state.record_landed([info(number)])
                    state.record_file(FileRecord(info(number).file, "reading", number))

        def detect() -> None:
            with self.opened(place) as state:
                for number in range(30):
                    state.commit(commit(number, [1]), 3)

        with ThreadPoolExecutor(2) as pool:
            for running in (pool.submit(land), pool.submit(detect)):
                running.result()
        with self.opened(place) as state:
            assert state.cursor() == Cursor(30, 31, 0)
            assert state.totals() == Totals(30, 300, 30, 300, 0, 0)
            assert [f.rows for f in state.files()] == [29]

    def test_many_make_a_new_state_at_once(self, place: Any) -> None:
        """Connections that open a place before there is a state in it all get the one state."""

        def open_one(number: int) -> None:
            with self.opened(place) as state:
                state.record_landed([info(number)])

        with ThreadPoolExecutor(8) as pool:
            for running in [pool.submit(open_one, number) for number in range(8)]:
                running.result()
        with self.opened(place) as state:
            assert [c.number for c in state.chunks()] == list(range(8))

    # readonly

    def test_a_place_without_a_state_is_not_read(self, place: Any) -> None:
        """Opened to be read, a state that is not there is told, and not made."""
        for _ in range(2):
            expect(StateError, self.opener(place, readonly=True))

    def test_a_reader_writes_nothing(self, place: Any) -> None:
        """Whatever would write is refused."""
        plan = FilePlan("x", 1, 1)
        with self.started(place) as state, self.opened(place, readonly=True) as reader:
            state.commit(commit(0, [1]), 50)
            before = everything(state)
            for write in (
                lambda: reader.commit(commit(1, [1]), 50),
                lambda: reader.plan_rest(50),
                lambda: reader.mark_published([plan], "now"),
                lambda: reader.save_tables([], 1),
                lambda: reader.record_landed([info(5)]),
                lambda: reader.record_file(FileRecord(info(0).file, "done")),
            ):
                expect(StateError, write)
            assert everything(reader) == everything(state) == before

    # the lease

    def test_a_lease_is_held_once(self, place: Any) -> None:
        """Another connection is told that the mechanism is at work; the other mechanism is free."""
        with self.opened(place) as state, self.opened(place) as other:
            with state.lease("detect"):
                assert "detect is at work" in str(expect(LeaseHeld, lambda: _take(other, "detect")))
                expect(LeaseHeld, lambda: _take(state, "detect"))
                assert other.at_work("detect") and not other.at_work("ingest")
                with other.lease("ingest"):
                    assert state.at_work("ingest")
            assert not other.at_work("detect") and not other.at_work("ingest")
            _take(other, "detect")

    def test_a_lease_is_let_go_by_an_error(self, place: Any) -> None:
        """Whatever is raised while it is held, it is free afterwards."""
        with self.opened(place) as state:
            assert isinstance(raised(lambda: _take(state, "detect", _fail)), ZeroDivisionError)
            _take(state, "detect")

    def test_the_death_of_the_holder_frees_its_lease(self, place: Any) -> None:
        """A process that holds it is seen; when it is killed by SIGKILL the lease is free at once."""
        with self.opened(place) as state, process(hold_lease, self.opener(place)) as (told, kill):
            assert told.recv() == "held"
            assert state.at_work("detect")
            expect(LeaseHeld, lambda: _take(state, "detect"))
            kill()
            assert not state.at_work("detect")
            _take(state, "detect")

    def test_to_look_at_a_lease_is_not_to_take_it(self, place: Any) -> None:
        """While others ask all the time whether a mechanism is at work, it can be started and they see it."""
        over = Event()

        def look() -> None:
            with self.opened(place) as state:
                while not over.is_set():
                    state.at_work("detect")

        with self.opened(place) as state, ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                for _ in range(500):
                    _take(state, "detect", lambda: _assert(state.at_work("detect")))
            finally:
                over.set()
            looking.result()


def _assert(fact: bool) -> None:
    assert fact


def _take(state: State, mechanism: Mechanism, meanwhile: Callable[[], object] = lambda: None) -> None:
    with state.lease(mechanism):
        meanwhile()


def _in_snapshot(state: State, read: Callable[[], object]) -> None:
    with state.snapshot():
        read()


def _fail() -> None:
    raise ZeroDivisionError


def raised(call: Callable[[], object]) -> Exception:
    """What the call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - it is returned to be looked at
        return error
    raise AssertionError("nothing was raised")


def expect(kind: type[Exception], call: Callable[[], object]) -> Exception:
    """What the call raises, which is of this kind."""
    error = raised(call)
    if not isinstance(error, kind):
        raise AssertionError(f"{kind.__name__} was not raised but {error!r}") from error
    return error
