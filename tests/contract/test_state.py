"""Every state store keeps the promises of the port."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tillwatch.state import State, open_state
from tillwatch.testing.state import StateSuite


class TestSqliteState(StateSuite):
    """The state in a SQLite file keeps the promises of the port, in a folder that is not there at first."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "not there" / "odd #?%20 name.db")

    def opener(self, place: str, *, readonly: bool = False) -> Callable[[], State]:
        return partial(open_state, place, readonly=readonly)
