"""Every state store keeps the promises of the port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tillwatch.state import State, open_state
from tillwatch.testing.commits import hold_lease, process
from tillwatch.testing.servers.postgres import PostgresServer, postgres_server
from tillwatch.testing.state import StateSuite


class TestSqliteState(StateSuite):
    """The state in a SQLite file keeps the promises of the port, in a folder that is not there at first."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "not there" / "odd #?%20 name.db")

    def opener(self, place: str, *, readonly: bool = False) -> Callable[[], State]:
        return partial(open_state, place, readonly=readonly)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as running:
        yield running


class TestPostgresState(StateSuite):
    """The state in a PostgreSQL schema keeps the promises of the port, in a schema that is not there at first."""

    @pytest.fixture
    def place(self, server: PostgresServer) -> str:
        return server.new_place()

    def test_the_death_of_the_holder_frees_its_lease(self, place: str) -> None:
        """A process that holds it is seen; it is free once the server has seen the process's connection end."""
        with self.opened(place) as state, process(hold_lease, self.opener(place)) as (told, kill):
            assert told.recv() == "held"
            assert state.at_work("detect")
            kill()
            with state.lease("detect"):  # which waits a moment for a holder that may have died just now
                assert state.at_work("detect")
            assert not state.at_work("detect")

    def opener(self, place: str, *, readonly: bool = False) -> Callable[[], State]:
        return partial(open_state, place, readonly=readonly)
