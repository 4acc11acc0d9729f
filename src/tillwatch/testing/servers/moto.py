"""moto's S3 behind a WSGI wrapper, listening on this machine: the base of the servers of S3 and of GCS.

moto checks no credentials and lets two conditional writes race each other: the wrapper checks and lines up.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any, TypeAlias
from uuid import uuid4

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import S3Backend, s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

WSGI: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]

_REFUSED = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>not let in: {found}</Message></Error>"


class Buckets:
    """Buckets of moto, which live in this process, seen directly."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def make(self) -> str:
        """A new empty bucket; returns its URI."""
        name = f"bucket{uuid4().hex}"  # GCS clients escape a hyphen, which moto takes literally
        _backend().create_bucket(name, "us-east-1")
        return f"{self._scheme}://{name}"

    def peek(self, uri: str) -> dict[str, bytes]:
        """All objects of a bucket."""
        return {name: key.value for name, key in _backend().buckets[_name(uri)].keys.items()}

    def plant(self, uri: str, name: str, data: bytes) -> None:
        """Makes an object, or replaces it."""
        _backend().put_object(_name(uri), name, data)


class Keeper:
    """Lets in whose `Authorization` holds one of the `accepted` texts; then one conditional write at a time."""

    def __init__(self, app: WSGI, *accepted: str) -> None:
        self.accepted = set(accepted)
        self.overwrites = False
        self._app = app
        self._writing = Lock()

    def __call__(self, env: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answers one request."""
        found = env.get("HTTP_AUTHORIZATION", "")
        if not any(text in found for text in self.accepted):
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [_REFUSED.format(code="InvalidAccessKeyId", found=found).encode()]
        if env["REQUEST_METHOD"] != "PUT":
            return self._app(env, start)
        if self.overwrites:
            for condition in ("HTTP_IF_NONE_MATCH", "HTTP_X_GOOG_IF_GENERATION_MATCH"):
                env.pop(condition, None)
        env["wsgi.input"] = io.BytesIO(env["wsgi.input"].read(int(env.get("CONTENT_LENGTH") or 0)))
        with self._writing:
            return [*self._app(env, start)]


def moto_app() -> WSGI:
    """The S3 of moto as an application."""
    app: WSGI = create_backend_app("s3")
    return app


@contextmanager
def listening(app: WSGI) -> Iterator[str]:
    """The application answers at the URL that this yields."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as those of a service


def _backend() -> S3Backend:
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def _name(uri: str) -> str:
    return uri.partition("://")[2].partition("/")[0]
