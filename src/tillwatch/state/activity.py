"""What the state keeps of who works on it: a row for each mechanism, of its last run. Nothing is decided by it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from tillwatch.state.base import Mechanism

How = Literal["ended", "stopped", "failed"]
"""How a run came to its end: all is done; it was asked to stop; an error ended it."""


@dataclass(frozen=True, slots=True)
class Activity:
    """A mechanism's last run. Times are ISO 8601 with offset.

    `began_at` is when it took its lease, `beat_at` when it last said that it is alive, some seconds ago at most while
    it works; `ended_at` and `how` are None until it has ended, and stay so when it was killed. `retries` counts by
    place what was tried again, `errors` all that went wrong; `last_trouble` is the last of it, without secrets.
    """

    mechanism: Mechanism
    run: str
    host: str
    pid: int
    began_at: str
    beat_at: str
    ended_at: str | None = None
    how: How | None = None
    retries: Mapping[str, int] = field(default_factory=dict)
    errors: int = 0
    last_trouble: str | None = None
    last_trouble_at: str | None = None


class SqlActivity(ABC):
    """The part of a state store over SQL that keeps it, and says how large the state is and who waits in it."""

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]: ...

    @abstractmethod
    def _run(self, statement: str, values: Sequence[Any] = ()) -> None: ...

    @abstractmethod
    def _briefly(self) -> AbstractContextManager[None]:
        """A transaction that waits for nobody for long, and not for the disk. Raises StateError."""

    @abstractmethod
    def size(self) -> int: ...

    def waiting_since(self) -> str | None:
        rows = list(self._rows("waiting_since"))
        return rows[0][0] if rows else None

    def activities(self) -> list[Activity]:
        return [_activity(*row) for row in self._rows("activities")]

    def record_activity(self, activity: Activity, *, begins: bool = False) -> None:
        a = activity
        said = (a.beat_at, a.ended_at, a.how, json.dumps(dict(a.retries)), a.errors, a.last_trouble, a.last_trouble_at)
        with self._briefly():
            if begins:
                self._run("put_activity", (a.mechanism, a.run, a.host, a.pid, a.began_at, *said))
            else:
                self._run("set_activity", (*said, a.mechanism, a.run))


def _activity(*row: Any) -> Activity:
    *who, retries, errors, trouble, trouble_at = row
    known = dict(zip(("mechanism", "run", "host", "pid", "began_at", "beat_at", "ended_at", "how"), who, strict=True))
    return Activity(
        **known, retries=json.loads(retries), errors=errors, last_trouble=trouble, last_trouble_at=trouble_at
    )
