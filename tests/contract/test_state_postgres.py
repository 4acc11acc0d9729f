"""PostgreSQL as it is in life: connections lost, servers stopped, killed, read-only, slow, used by others too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tillwatch.errors import LeaseHeld, StateError
from tillwatch.state import open_state
from tillwatch.state.postgres_errors import explained
from tillwatch.testing.commits import commit, everything, info
from tillwatch.testing.servers.postgres import PASSWORD, PostgresServer, postgres_server
from tillwatch.testing.servers.postgres_relay import Relay, relay
from tillwatch.testing.state_postgres import begin, opened, through, told, undisturbed


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of these tests alone, which they stop and kill."""
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


# Connections and servers that end


def test_a_commit_whose_answer_was_lost_is_done_once(server: PostgresServer, place: str, between: Relay) -> None:
    """The server commits, the connection ends before the answer: asked again, the same commit is only answered."""
    with opened(through(between, place, server)) as (state,):
        begin(state).commit(commit(0, [2, 1]), 2)
        between.lose(b"COMMIT\0")
        asked = commit(2, [3])
        assert "connection was lost: it is made anew" in told(StateError, lambda: state.commit(asked, 2))
        with opened(place) as (other,):
            assert other.cursor().chunk == 3
        assert state.commit(asked, 2) == 7
        assert everything(state) == undisturbed(server)


def test_a_commit_that_the_server_did_not_live_to_see_is_done_once(
    server: PostgresServer, place: str, between: Relay
) -> None:
    """The server is killed in the middle of a transaction: nothing of it is there, and the same commit goes through."""
    with opened(through(between, place, server)) as (state,):
        begin(state).commit(commit(0, [2, 1]), 2)
        between.before(b"COMMIT", server.kill)
        asked = commit(2, [3])
        try:
            told(StateError, lambda: state.commit(asked, 2))
            told(StateError, lambda: state.commit(asked, 2))
        finally:
            server.start()
        assert state.cursor().chunk == 2
        assert state.commit(asked, 2) == 7
        assert everything(state) == undisturbed(server)


@pytest.mark.parametrize("write", ["record_landed", "plan_rest", "mark_published", "save_tables", "start"])
def test_other_writes_whose_answer_was_lost_can_be_done_again(
    write: str, server: PostgresServer, place: str, between: Relay
) -> None:
    """Whatever writes went through, and is done again as it was, to the same end."""
    with opened(through(between, place, server)) as (state,):
        begin(state).commit(commit(0, [3]), 2)
        writes: dict[str, Callable[[], object]] = {
            "record_landed": lambda: state.record_landed([info(0), info(1)], "now"),
            "plan_rest": lambda: state.plan_rest(2),
            "mark_published": lambda: state.mark_published(state.files_planned()[:1], "now"),
            "save_tables": lambda: state.save_tables([], 1),
            "start": lambda: begin(state),
        }
        between.lose(b"COMMIT\0")
        told(StateError, writes[write])
        with opened(place) as (other,):
            before = everything(other)
        writes[write]()
        assert everything(state) == before


def test_a_restart_of_the_server_is_hardly_noticed(server: PostgresServer, place: str) -> None:
    """The same object reads and commits again, and has its lease again before anything else."""
    with opened(place, place) as (state, other):
        begin(state)
        with state.lease("detect"):
            server.restart()
            assert state.cursor().chunk == 0
            assert other.at_work("detect")
            server.restart()
            state.commit(commit(0, [2, 1]), 2)
            told(LeaseHeld, lambda: other.lease("detect").__enter__())
        assert not other.at_work("detect")
        state.commit(commit(2, [3]), 2)
        assert everything(state) == undisturbed(server)


def test_a_connection_that_the_server_still_takes_for_alive_gives_the_lease_back(
    server: PostgresServer, place: str, between: Relay
) -> None:
    """The network lost the connection and the server has not heard of it: its holder gets its own lease again."""
    with opened(through(between, place, server), place) as (state, other):
        begin(state)
        with state.lease("detect"):
            between.cut()
            assert other.at_work("detect")
            assert state.commit(commit(0, [2, 1]), 2) == 4
            assert other.at_work("detect")
            assert server.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(1,)]
        assert not other.at_work("detect")


def test_who_has_lost_the_lease_to_another_writes_nothing(server: PostgresServer, place: str) -> None:
    """When another took over meanwhile, whatever would write says who is at work."""
    with opened(place, place) as (state, other):
        begin(state)
        with state.lease("detect"):
            end_holders(server)
            with other.lease("detect"):
                begin(other).commit(commit(0, [2, 1]), 2)
                before = everything(other)
                for write in (lambda: state.commit(commit(2, [3]), 2), lambda: state.save_tables([], 9)):
                    assert "detect is at work on this pipeline already: tillwatch on" in told(LeaseHeld, write)
                assert everything(other) == before


def end_holders(server: PostgresServer) -> None:
    """The server ends every session that holds a lease, and returns when they are gone."""
    server.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")


def test_a_session_ended_by_the_server_in_a_transaction_leaves_nothing(
    server: PostgresServer, place: str, between: Relay
) -> None:
    """pg_terminate_backend in the middle: the commit is told and absent, and goes through when it is asked again."""
    with opened(through(between, place, server)) as (state,):
        begin(state)
        with state.lease("detect"):
            between.before(b"COMMIT", lambda: end_holders(server))
            asked = commit(0, [2, 1])
            assert "the connection is made anew" in told(StateError, lambda: state.commit(asked, 2))
            assert state.commit(asked, 2) == 4
            state.commit(commit(2, [3]), 2)
            assert everything(state) == undisturbed(server)


# Servers that refuse


def test_a_server_that_may_not_be_written_to_is_told(server: PostgresServer, place: str) -> None:
    """A writer is told to look for the primary, at once and while it works; a reader reads; later all goes on."""
    with opened(place) as (state,):
        begin(state).commit(commit(0, [2, 1]), 2)
        read_only(server, "on")
        try:
            assert "name the primary" in told(StateError, lambda: state.commit(commit(2, [3]), 2))
            assert "name the primary" in told(StateError, lambda: state.commit(commit(2, [3]), 2))
            assert "name the primary" in told(StateError, lambda: open_state(place))
            with opened(place, readonly=True) as (reader,):
                assert reader.cursor().chunk == 2
        finally:
            read_only(server, "off")
        assert state.commit(commit(2, [3]), 2) == 7


def test_a_write_to_a_session_that_is_read_only_is_told(server: PostgresServer, place: str) -> None:
    """Also when the connection was made to any server, and it only shows with the first write."""
    with opened(place):
        pass
    any_server = f"{place}&target_session_attrs=any&options=-c%20default_transaction_read_only%3Don"
    with opened(any_server) as (state,):
        assert "name the primary" in told(StateError, lambda: begin(state))


def read_only(server: PostgresServer, value: str) -> None:
    """What fail-over to a replica is like: from now on the server takes no writes."""
    server.restart(default_transaction_read_only=value)


def test_locks_and_slow_statements_are_told(server: PostgresServer, place: str) -> None:
    """What waits too long fails whole, says which limit it was, and goes through when nobody is in the way."""
    limits = {"lock_timeout": "for longer than lock_timeout", "statement_timeout": "longer than statement_timeout"}
    for limit, advice in limits.items():
        limited = f"{place}&options=-c%20{limit}%3D50"
        with opened(limited) as (state,), psycopg.connect(server.uri(), password=PASSWORD) as tool:
            first = begin(state).cursor().chunk
            schema = place.rpartition("=")[2]
            tool.execute(f"LOCK TABLE {schema}.chunks")
            assert advice in told(StateError, lambda first=first: state.commit(commit(first, [1]), 2))
            tool.rollback()
            assert state.cursor().chunk == first
            state.commit(commit(first, [1]), 2)


@pytest.mark.parametrize("schema", ["", "9", "a-b", "Bank", "pg_bank", "a;b", "x" * 64, "a&schema=b", 'a"', "größe"])
def test_a_schema_is_a_plain_name(schema: str) -> None:
    """What would have to be quoted, or is the server's own, is refused before anything is done."""
    assert "expected one schema=NAME" in told(StateError, lambda: open_state(f"postgresql://h/x?schema={schema}"))


def test_a_schema_of_another_program_is_left_alone(server: PostgresServer, place: str) -> None:
    """Tables that are not ours: it is refused, and nothing is made in it."""
    schema = place.rpartition("=")[2]
    server.run(f"CREATE SCHEMA {schema}")
    server.run(f"CREATE TABLE {schema}.meta (id int)")
    for readonly in (False, True):
        words = told(StateError, lambda readonly=readonly: open_state(place, readonly=readonly))
        assert "tables of another program" in words
    assert server.run("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]) == [("meta",)]


def test_a_newer_schema_is_left_alone(server: PostgresServer, place: str) -> None:
    """A state of a later version of tillwatch is told with both versions."""
    with opened(place):
        pass
    schema = place.rpartition("=")[2]
    server.run(f"UPDATE {schema}.meta SET value = '99' WHERE key = 'schema'")  # noqa: S608 - a name of our own
    for readonly in (False, True):
        told_so = told(StateError, lambda readonly=readonly: open_state(place, readonly=readonly))
        assert "has schema 99, this version of tillwatch reads" in told_so


def test_a_database_that_cannot_hold_every_text_is_refused(server: PostgresServer) -> None:
    """Texts are of any script: the database's encoding must be UTF8."""
    server.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    assert "ENCODING 'UTF8'" in told(StateError, lambda: open_state(server.uri("latin")))


def test_a_full_disk_is_told() -> None:
    """What the server says when it cannot write comes with what to do."""
    error = explained("postgresql://h/x", psycopg.errors.DiskFull("could not extend file: No space left on device"))
    assert str(error).endswith("No space left on device; free some space; the work goes on from the last commit")


# Several pipelines, several processes


def test_pipelines_in_two_schemas_do_not_meet(server: PostgresServer) -> None:
    """Each has its own tables, cursor and leases."""
    with opened(server.new_place(), server.new_place()) as (one, two):
        begin(one), begin(two)
        with one.lease("detect"), two.lease("detect"):
            one.commit(commit(0, [2, 1]), 2)
            two.commit(commit(0, [1]), 2)
        assert (one.cursor().chunk, two.cursor().chunk) == (2, 1)
        assert not one.at_work("detect")
