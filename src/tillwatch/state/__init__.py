"""What survives a crash: cursor, detections, outbox, ledger, and the tables of running values."""

from __future__ import annotations

from pathlib import Path

from tillwatch.state.base import State
from tillwatch.state.sqlite import SqliteState


def open_state(place: str, *, readonly: bool = False) -> State:
    """A connection to the state at a path. Raises StateError."""
    return SqliteState(Path(place), readonly=readonly)


__all__ = ["State", "open_state"]
