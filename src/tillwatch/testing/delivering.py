"""For tests: a process that delivers to an output and is killed at a point of its work."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from tillwatch.clock import SystemClock
from tillwatch.config import Output as OutputSettings
from tillwatch.publish.deliver import Delivery
from tillwatch.publish.output import Output
from tillwatch.publish.outputs import open_output
from tillwatch.retry import Retry
from tillwatch.state import open_state
from tillwatch.stores import open_store
from tillwatch.stores.base import Store
from tillwatch.testing.crash import Marked, Points, finish, forked


def deliver(folder: Path, settings: OutputSettings, kill_at: str | None = None, record: Path | None = None) -> int:
    """Delivers what `folder/state.db` has planned, in a process of its own; its exit code, -9 when it was killed.

    Points are those of `tillwatch.testing.crash`: `state.…`, `store.…` and `output.deliver.…`. `record` is a file
    that all points are written to.
    """
    return finish(forked(_deliver, folder, settings, kill_at, record))


def _deliver(folder: Path, settings: OutputSettings, kill_at: str | None, record: Path | None) -> None:
    points, clock = Points(folder, kill_at, record), SystemClock()
    points.watch()

    def store(uri: str) -> Store:
        return cast(Store, Marked(open_store(uri), "store", points))

    def opened() -> closing[Any]:
        return closing(Marked(open_state(str(folder / "state.db")), "state", points))

    output = cast(Output, Marked(open_output(settings, store, clock), "output", points))
    with Delivery({"out": output}, opened, Retry(clock, threading.Event(), print, 5.0), once=True):
        pass
