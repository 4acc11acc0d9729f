"""Who watches a run as its configuration says: its log and its metrics, as one observer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tillwatch.config import Settings
from tillwatch.events import Observer, Serving
from tillwatch.observe.logs import logging_to
from tillwatch.observe.redact import redactor_for
from tillwatch.observe.serve import metrics_at
from tillwatch.observe.together import Together
from tillwatch.state.base import State


@contextmanager
def watching(
    settings: Settings,
    observer: Observer,
    readable: Callable[[], AbstractContextManager[State]],
    patterns: Iterable[str],
) -> Iterator[Observer]:
    """The observer together with what is configured. `readable` gives the state, to be read, `patterns` are the ids
    of those that publish.

    Raises ConfigError when a log cannot be written, or metrics cannot be served.
    """
    observers, notices = [observer], []
    with ExitStack() as stack:
        if settings.metrics.listen is not None:
            metrics, url = stack.enter_context(metrics_at(settings.metrics.listen, readable, patterns))
            observers.append(metrics)
            notices.append(Serving(f"metrics at {url}", url))
        if settings.logs.file is not None or settings.logs.on_stderr:
            zone = settings.detections.timezone
            observers.append(stack.enter_context(logging_to(settings.logs, redactor_for(settings), zone)))
        together = Together(*observers)
        for notice in notices:
            together(notice)
        yield together
