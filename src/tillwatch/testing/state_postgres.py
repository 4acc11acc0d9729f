"""For tests of the PostgreSQL state: connections to it, what is told, and what a state without trouble comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

from tillwatch.errors import TillwatchError
from tillwatch.state import open_state
from tillwatch.state.sql_state import SqlState
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit, everything
from tillwatch.testing.servers.postgres import PASSWORD, PostgresServer
from tillwatch.testing.servers.postgres_relay import Relay


def through(running: Relay, place: str, server: PostgresServer) -> str:
    """The same place, by way of the relay."""
    return place.replace(f":{server.port}/", f":{running.port}/")


@contextmanager
def opened(*places: str, readonly: bool = False) -> Iterator[list[SqlState]]:
    """Connections, closed at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(open_state(place, readonly=readonly))) for place in places]


def begin(state: SqlState) -> SqlState:
    """The state, claimed for a program."""
    state.start("fingerprint", MEANING, STARTED, [SHAPE])
    return state


def told(kind: type[TillwatchError], call: Callable[[], object]) -> str:
    """What the call raises: of this kind, and the password is neither in it nor in what is behind it."""
    try:
        call()
    except kind as found:
        error: BaseException | None = found
        while error is not None:
            if PASSWORD in f"{error} {error!r} {error.__dict__}":
                raise AssertionError(f"the password is in a {type(error).__name__}") from None
            error = error.__cause__ or error.__context__
        return str(found)
    raise AssertionError(f"no {kind.__name__} was raised")


def undisturbed(server: PostgresServer) -> list[object]:
    """What the commits of chunks 0 and 1, then 2, come to where nothing happens."""
    with opened(server.new_place()) as (state,):
        begin(state).commit(commit(0, [2, 1]), 2)
        state.commit(commit(2, [3]), 2)
        return everything(state)
