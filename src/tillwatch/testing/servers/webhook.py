"""For tests: a receiver of webhooks, which checks signatures, keeps what it got, and fails when told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, cast


@dataclass(frozen=True, slots=True)
class Trouble:
    """What becomes of one request: an answer with `status` and `headers`, or none.

    `lost`: it is taken in, and then the connection ends without an answer; `reset`: not even that.
    """

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["answer", "lost", "reset"] = "answer"


@dataclass(slots=True)
class Receiver:
    """What a receiver knows. `taken` has each body taken in, once for an Idempotency-Key; `requests` counts all.

    `troubles` are used up, one for each request that comes; `wrong` tells what was wrong with requests.
    """

    secret: str
    url: str = ""
    requests: int = 0
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: deque[Trouble] = field(default_factory=deque)
    wrong: list[str] = field(default_factory=list)

    def problem(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """What is wrong with a request, computed apart from the product."""
        sent = {name: headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
        signed = b".".join([sent["webhook-id"].encode(), sent["webhook-timestamp"].encode(), body])
        mac = hmac.new(self.secret.encode(), signed, hashlib.sha256).digest()
        if sent["webhook-signature"] != f"v1,{base64.b64encode(mac).decode()}":
            return "the signature is wrong"
        if headers.get("idempotency-key") != sent["webhook-id"] or not sent["webhook-id"]:
            return "the idempotency key is not the id"
        return None


@contextmanager
def receiver(secret: str) -> Iterator[Receiver]:
    """A receiver at work on this machine, ended with the block."""
    known = Receiver(secret)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(known))
    server.daemon_threads = True
    known.url = f"http://127.0.0.1:{server.server_port}/hooks/told-to-nobody"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="webhook-receiver")
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(known: Receiver) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                trouble = self._take(body)
            if trouble.kind == "answer":
                self.send_response(trouble.status)
                for name, value in {"content-length": "0", **trouble.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
            else:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        def _take(self, body: bytes) -> Trouble:
            known.requests += 1
            headers = cast(Mapping[str, str], self.headers)
            trouble = known.troubles.popleft() if known.troubles else Trouble(204)
            wrong = known.problem(headers, body)
            if wrong:
                known.wrong.append(wrong)
                return Trouble(401)
            if trouble.kind == "lost" or trouble.status < 300:
                known.taken.setdefault(headers["webhook-id"], json.loads(body))
            return trouble

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
