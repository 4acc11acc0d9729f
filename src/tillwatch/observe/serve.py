"""Metrics of a run at work, served over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tillwatch.config.log_kinds import address
from tillwatch.errors import ConfigError
from tillwatch.events import Observer
from tillwatch.state.base import State

MISSING = "metrics need a package that is not installed: pip install 'tillwatch[metrics]'"


@contextmanager
def metrics_at(
    listen: str, opened: Callable[[], AbstractContextManager[State]], patterns: Iterable[str] = ()
) -> Iterator[tuple[Observer, str]]:
    """An observer whose numbers are served over HTTP while it is open, and the URL where they are.

    `opened` gives the state, to be read. Raises ConfigError when nothing can be served there.
    """
    try:
        from prometheus_client import start_http_server

        from tillwatch.observe.metrics import Metrics
    except ImportError:
        raise ConfigError(MISSING) from None
    metrics = Metrics(opened, patterns)
    host, port = address(listen)
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise ConfigError(f"metrics.listen: cannot listen at {listen}: {error.strerror or error}") from None
    try:
        shown = f"[{host}]" if ":" in host else host
        yield metrics, f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
