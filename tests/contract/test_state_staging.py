"""Tables saved by several processes in PostgreSQL: what was staged and merged is there whole, anything else is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest

from tillwatch.errors import LeaseHeld, StateConflict, StateError
from tillwatch.state import stage_rows
from tillwatch.state.base import Cursor, TableRows
from tillwatch.state.sql_state import SqlState
from tillwatch.state.staging import Merge, Staged, Staging
from tillwatch.testing.commits import MEANING, ODD_TEXTS, SHAPE, STARTED, commit
from tillwatch.testing.servers.postgres import PASSWORD, PostgresServer, postgres_server
from tillwatch.testing.servers.postgres_relay import Relay, relay
from tillwatch.testing.state_again import MERCHANTS, WITH_NUL
from tillwatch.testing.state_postgres import opened, through, told

Row = tuple[int, str, str, int, int, float | None]

ONE: list[Row] = [(0, "C0", "M", 1, 10, None), (1, "C1", "M", 1, 20, 0.5)]
TWO: list[Row] = [(2, "C2", "M", 7, 30, 0.1)]
LATER: list[Row] = [(1, "C1", "M", 9, 99, 0.5)]
MERGE = Merge(2, 2, 0, {"spark": "manifest"})


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of these tests alone, which they kill."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def place(server: PostgresServer) -> str:
    """An empty place."""
    return server.new_place()


@pytest.fixture
def between(server: PostgresServer) -> Iterator[Relay]:
    """A relay before the server."""
    with relay(server.port) as running:
        yield running


def at_two(state: SqlState) -> SqlState:
    """The state, after two chunks, whose tables are empty."""
    state.start("fingerprint", MEANING, STARTED, [SHAPE, MERCHANTS])
    state.commit(commit(0, [2, 1]), 2)
    return state


def staging(state: SqlState) -> Staging:
    """How it is staged there."""
    found = state.staging()
    assert found is not None
    return found


def pairs(rows: Sequence[Row]) -> TableRows:
    """Rows of the table of pairs."""
    return TableRows(SHAPE.name, dict(zip(SHAPE.columns, zip(*rows, strict=True), strict=True)))


def merchant(count: int) -> TableRows:
    """The one row of the table of merchants."""
    return TableRows(MERCHANTS.name, dict(zip(MERCHANTS.columns, ([v] for v in (0, "M", count, 0, 0, 1)), strict=True)))


def rows(state: SqlState) -> list[tuple[Any, ...]]:
    """What is in the table of pairs."""
    return list(zip(*state.load_table(SHAPE).columns.values(), strict=True))


def left(server: PostgresServer, place: str) -> list[str]:
    """The staging tables of a place."""
    query = (
        "SELECT relname::text FROM pg_class WHERE relnamespace = %s::text::regnamespace AND relname LIKE 'staging%%'"
    )
    return [name for (name,) in server.run(query, [place.rpartition("=")[2]])]


def begun(state: SqlState, place: str) -> tuple[Mapping[str, str], list[Staged]]:
    """A staging with the rows of two processes."""
    into = staging(state).make_staging([SHAPE.name, MERCHANTS.name])
    return into, [stage_rows(place, into, [pairs(ONE), merchant(3)]), stage_rows(place, into, [pairs(TWO)])]


def test_what_several_have_staged_is_there_whole(server: PostgresServer, place: str) -> None:
    """Before the merge nobody sees anything of it; afterwards rows, chunk and notes are there, and nothing is left."""
    with opened(place) as (state,), opened(place, readonly=True) as (reader,):
        into, staged = begun(at_two(state), place)
        assert [s.rows for s in staged] == [{SHAPE.name: 2, MERCHANTS.name: 1}, {SHAPE.name: 1}]
        assert (rows(reader), reader.cursor(), reader.get_meta("spark")) == ([], Cursor(2, 4, 0), None)
        staging(state).merge_staged(MERGE, into, staged)
        assert (rows(reader), reader.cursor(), reader.get_meta("spark")) == (ONE + TWO, Cursor(2, 4, 2), "manifest")
        assert reader.load_table(MERCHANTS).columns["transactions"] == (3,)
        assert left(server, place) == []


def test_later_rows_replace_those_with_their_id(place: str) -> None:
    """The others stay; a saving without any rows moves the chunk alone."""
    with opened(place) as (state,):
        into, staged = begun(at_two(state), place)
        staging(state).merge_staged(MERGE, into, staged)
        state.commit(commit(2, [1]), 2)
        into = staging(state).make_staging([SHAPE.name])
        staging(state).merge_staged(Merge(3, 3, 2, {}), into, [stage_rows(place, into, [pairs(LATER)])])
        assert (rows(state), state.cursor().tables) == ([ONE[0], *LATER, *TWO], 3)
        state.commit(commit(3, [0]), 2)
        into = staging(state).make_staging([SHAPE.name])
        staging(state).merge_staged(Merge(4, 4, 3, {}), into, [stage_rows(place, into, [])])
        assert (rows(state), state.cursor().tables) == ([ONE[0], *LATER, *TWO], 4)


def test_readers_see_all_or_nothing(server: PostgresServer, place: str, between: Relay) -> None:
    """Just before the merge is committed every table is as it was."""
    seen: list[object] = []
    with opened(through(between, place, server)) as (state,), opened(place, readonly=True) as (reader,):
        into, staged = begun(at_two(state), place)
        between.before(b"COMMIT", lambda: seen.append((rows(reader), reader.cursor(), reader.get_meta("spark"))))
        staging(state).merge_staged(MERGE, into, staged)
        assert seen == [([], Cursor(2, 4, 0), None)]


def test_odd_texts_come_back(place: str) -> None:
    """Whatever keys are made of, as when one process saves alone."""
    odd: list[Row] = [(n, text, text, 2**62, -1, -0.0) for n, text in enumerate((*ODD_TEXTS, *WITH_NUL))]
    with opened(place) as (state,):
        into = staging(at_two(state)).make_staging([SHAPE.name])
        staging(state).merge_staged(MERGE, into, [stage_rows(place, into, [pairs(odd[:3]), pairs(odd[3:])])])
        assert rows(state) == odd


# Work that is done twice or is lost


def test_work_that_was_done_twice_counts_once(server: PostgresServer, place: str) -> None:
    """Of two that staged the same, the one that is named counts, whichever it is; the other may still be at it."""
    with opened(place) as (state,), psycopg.connect(server.uri(), password=PASSWORD) as slow:
        into, (one, two) = begun(at_two(state), place)
        slow.execute(f"LOCK TABLE {place.rpartition('=')[2]}.{into[SHAPE.name]} IN ROW EXCLUSIVE MODE")
        again = stage_rows(place, into, [pairs([(0, "C0", "M", 1000, 0, None), *LATER]), merchant(3)])
        staging(state).merge_staged(MERGE, into, [again, two])
        assert rows(state) == [(0, "C0", "M", 1000, 0, None), *LATER, *TWO]
        assert one.transaction != again.transaction
        assert left(server, place) == [into[SHAPE.name]]
        slow.rollback()
        state.start("fingerprint", MEANING, STARTED, [SHAPE, MERCHANTS])
        assert left(server, place) == []


def test_a_process_that_fails_half_way_stages_nothing(server: PostgresServer, place: str) -> None:
    """What it had put before is rolled back; when it does it again, the rows are there once."""

    def broken() -> Iterator[TableRows]:
        yield pairs(ONE)
        yield TableRows(SHAPE.name, {"id": [1], "no such column": [1]})

    with opened(place) as (state,):
        into = staging(at_two(state)).make_staging([SHAPE.name])
        assert "no such column" in told(StateError, lambda: stage_rows(place, into, broken()))
        staging(state).merge_staged(MERGE, into, [stage_rows(place, into, [pairs(ONE)])])
        assert rows(state) == ONE


def test_rows_that_a_crash_of_the_server_took_are_missed(server: PostgresServer, place: str) -> None:
    """Staging tables are empty then: the merge says so and changes nothing, and done anew it is whole."""
    with opened(place) as (state,):
        into, staged = begun(at_two(state), place)
        server.kill()
        server.start()
        words = told(StateError, lambda: staging(state).merge_staged(MERGE, into, staged))
        assert "rows for the table customer_merchant are staged, expected 3" in words
        assert (rows(state), state.cursor().tables, state.get_meta("spark")) == ([], 0, None)
        into, staged = begun(state, place)
        staging(state).merge_staged(MERGE, into, staged)
        assert (rows(state), left(server, place)) == (ONE + TWO, [])


def test_a_merge_whose_answer_was_lost_is_done_once(server: PostgresServer, place: str, between: Relay) -> None:
    """It went through: asked again, also after staging anew, nothing is changed, and nothing is left."""
    with opened(through(between, place, server)) as (state,):
        into, staged = begun(at_two(state), place)
        between.lose(b"COMMIT\0")
        told(StateError, lambda: staging(state).merge_staged(MERGE, into, staged))
        staging(state).merge_staged(MERGE, into, staged)
        into = staging(state).make_staging([SHAPE.name])
        staging(state).merge_staged(MERGE, into, [stage_rows(place, into, [pairs(LATER)])])
        assert (rows(state), state.cursor(), left(server, place)) == (ONE + TWO, Cursor(2, 4, 2), [])


def test_what_a_killed_run_has_left_is_gone_at_the_next_start(server: PostgresServer, place: str) -> None:
    """Its staging tables, not those of another pipeline, nor tables that only look like it."""
    neighbour = server.new_place()
    schema = place.rpartition("=")[2]
    with opened(place, neighbour) as (state, other):
        begun(at_two(state), place)
        begun(at_two(other), neighbour)
        server.run(f"CREATE TABLE {schema}.staging_of_a_person (id int)")
        assert len(left(server, place)) == 3
    with opened(place) as (state,):
        assert state.start("fingerprint", MEANING, STARTED, [SHAPE, MERCHANTS]) == Cursor(2, 4, 0)
        assert left(server, place) == ["staging_of_a_person"]
        assert len(left(server, neighbour)) == 2
        begun(state, place)
        begun(state, place)
        assert len(left(server, place)) == 3


# Who may not merge


def test_who_has_lost_the_lease_merges_nothing(server: PostgresServer, place: str) -> None:
    """Another one holds it: LeaseHeld. It held it and worked: the merge is refused, for the tables are not those that
    it was made for. It held it and only began: the staging is gone."""
    with opened(place, place) as (state, other):
        at_two(state)
        with state.lease("detect"):
            into, staged = begun(state, place)

            def merge() -> None:
                staging(state).merge_staged(MERGE, into, staged)

            end_holders(server)
            with other.lease("detect"):
                told(LeaseHeld, merge)
                other.start("fingerprint", MEANING, STARTED, [SHAPE, MERCHANTS])
            assert "the staging tables of this saving are gone" in told(StateError, merge)
            into, staged = begun(state, place)
            end_holders(server)
            with other.lease("detect"):
                other.commit(commit(2, [0]), 2)
            assert "another process has worked on this pipeline" in told(StateConflict, merge)
            assert (rows(state), state.cursor()) == ([], Cursor(3, 4, 0))


def test_tables_that_another_has_saved_are_not_saved_over(place: str) -> None:
    """The rows there may have other ids by then."""
    with opened(place, place) as (state, other):
        into, staged = begun(at_two(state), place)
        other.save_tables([pairs(LATER)], 1)
        words = told(StateConflict, lambda: staging(state).merge_staged(MERGE, into, staged))
        assert "stands at chunk 2, its tables at 1" in words
        assert rows(state) == LATER


def end_holders(server: PostgresServer) -> None:
    """Ends the sessions that hold a lease."""
    server.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")


# Getting there


def test_a_process_that_cannot_stage_is_told_why(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No password, no server, no staging table: what is wrong, and what to do."""
    with opened(place) as (state,):
        into = staging(at_two(state)).make_staging([SHAPE.name])
    gone = {SHAPE.name: "staging_that_is_not_there"}
    assert "not migrated" in told(StateError, lambda: stage_rows(place, gone, [pairs(ONE)]))
    assert "check host and port" in told(StateError, lambda: stage_rows("postgresql://127.0.0.1:1/x", into, []))
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert "set PGUSER and PGPASSWORD" in told(StateError, lambda: stage_rows(place, into, [pairs(ONE)]))


def test_a_writer_stages_once_it_may_create_tables(server: PostgresServer) -> None:
    """With roles of their own, the privilege that the documentation names is what is needed, and all that is."""
    place, schema = server.uri(user="stager", schema="staged"), "staged"
    owner = server.uri(schema=schema)
    with opened(owner) as (state,):
        at_two(state)
        server.run(f"CREATE ROLE stager LOGIN PASSWORD '{PASSWORD}'")
        server.run(f"GRANT USAGE ON SCHEMA {schema} TO stager")
        server.run(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO stager")
    with opened(place) as (state,):
        words = told(StateError, lambda: staging(state).make_staging([SHAPE.name]))
        assert "lacks a privilege" in words
        server.run(f"GRANT CREATE ON SCHEMA {schema} TO stager")
        into, staged = begun(state, place)
        staging(state).merge_staged(MERGE, into, staged)
        assert rows(state) == ONE + TWO
