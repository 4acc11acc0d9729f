"""The dashboard served: by a thread of its own, until it is closed."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tillwatch.errors import ConfigError, RunError
from tillwatch.pipeline import Pipeline

WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Served:
    """Where it is served. `url` is for a browser."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address of its first page."""
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


@contextmanager
def served(
    pipeline: Pipeline, host: str | None = None, port: int | None = None, token: str = "", every: float = 1.0
) -> Iterator[Served]:
    """Serves the dashboard of a pipeline while it is open; host and port are those of the configuration if not given.

    Raises ConfigError when everybody could look, when the address is taken, or when a package is missing.
    """
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ConfigError(f"the dashboard needs {error.name}: pip install 'tillwatch[dashboard]'") from None
    from tillwatch.dashboard.access import access_of
    from tillwatch.dashboard.app import create_app
    from tillwatch.dashboard.live import Streams
    from tillwatch.dashboard.site import Site
    from tillwatch.dashboard.watch import Watch

    settings = pipeline.settings.dashboard
    host = settings.host if host is None else host
    access = access_of(settings, host, token)
    listening = _listen(host, settings.port if port is None else port)
    watch = Watch(pipeline, every)
    site = Site(pipeline, watch)
    streams = Streams(site)
    config = uvicorn.Config(
        create_app(site, access, streams),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_serve, args=(server, listening), name="tillwatch-pages", daemon=True)
    watch.start()
    thread.start()
    try:
        yield Served(host, listening.getsockname()[1])
    finally:
        streams.close()
        server.should_exit = True
        thread.join(WAIT_SECONDS)
        watch.stop()
        site.nearness.stop()
        listening.close()


def _serve(server: object, listening: socket.socket) -> None:
    import uvicorn

    assert isinstance(server, uvicorn.Server)
    asyncio.run(server.serve([listening]))


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a wrong address is told before anything else."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with ExitStack() as undo:
            listening = undo.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
            undo.pop_all()
            return listening
    except OSError as error:
        raise RunError(
            f"the dashboard cannot listen on {host}, port {port}: {error.strerror}; choose another by --host and --port"
        ) from None
