"""For tests: a proxy in front of any server, which does harm on purpose: one for HTTP, and one for all else on TCP.

Faults are scripted (the nth request that matches) or seeded (each request, or each piece of what passes, with a
probability). What passes through HTTP is forwarded as it came, with its Host, so that signatures stay right.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Literal
from urllib.parse import urlsplit

Harm = Literal["delay", "reset", "lost", "denied", "partial", "hang", "429", "500", "503"]

HARMS: Sequence[Harm] = ("delay", "reset", "lost", "denied", "partial", "429", "500", "503")
_RESET = struct.pack("ii", 1, 0)  # close at once, with RST


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the requests number `first` (from 1) to `first + times - 1` that match.

    `delay` comes late, `reset` breaks off before the server sees the request, `lost` after the server has
    answered, `partial` in the middle of its answer; `denied` answers 500 although the server has done it, `hang`
    never answers; a number is answered instead of asking the server.
    """

    harm: Harm
    method: str = "*"
    path: str = "*"
    first: int = 1
    times: int = 1


class Proxy:
    """A proxy at work. `requests` is what it was asked, as `METHOD path`, `harmed` how often it did harm."""

    def __init__(self, target: str, faults: Sequence[Fault], seed: int, rate: float) -> None:
        self.url = ""
        self.requests: list[str] = []
        self.harmed = 0
        self.released = Event()
        self.target = urlsplit(target).netloc
        self._faults = faults
        self._seen = [0] * len(faults)
        self._random = random.Random(seed)
        self._rate = rate
        self._lock = Lock()

    def harm_for(self, method: str, path: str) -> Harm | None:
        """What is to be done to the next request."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            harm = self._scripted(method, path)
            if harm is None and self._random.random() < self._rate:
                harm = self._random.choice(HARMS)
            self.harmed += harm is not None
            return harm

    def calm(self) -> None:
        """From now on it does only the harm that is scripted."""
        self._rate = 0.0

    def _scripted(self, method: str, path: str) -> Harm | None:
        found: Harm | None = None
        for index, fault in enumerate(self._faults):
            if fnmatchcase(method, fault.method) and fnmatchcase(path, fault.path):
                self._seen[index] += 1
                if fault.first <= self._seen[index] < fault.first + fault.times:
                    found = found or fault.harm
        return found


@contextmanager
def proxy(target: str, *faults: Fault, seed: int = 0, rate: float = 0.0) -> Iterator[Proxy]:
    """A proxy for the server at the URL `target`, which listens while the context lasts."""
    made = Proxy(target, faults, seed, rate)
    handler = type("Handler", (_Handler,), {"proxy": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.released.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        harm = self.proxy.harm_for(self.command, self.path)
        if harm == "hang":
            self.proxy.released.wait()
        if harm in ("reset", "hang"):
            self._break_off()
        elif harm in ("429", "500", "503"):
            self._answer(int(harm), [("Content-Length", "0")], b"")
        else:
            if harm == "delay":
                self.proxy.released.wait(0.05)
            self._pass_on(body, harm)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def _pass_on(self, body: bytes, harm: Harm | None) -> None:
        response, content = self._forward(body)
        if harm == "lost":
            self._break_off()
            return
        if harm == "denied":
            self._answer(500, [("Content-Length", "0")], b"")
            return
        left_out = ("transfer-encoding", "connection", "keep-alive", "content-length")
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in left_out]
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        headers += [("Content-Length", length)] if length is not None else []
        cut = len(content) // 2 if harm == "partial" else len(content)
        self._answer(response.status, headers, content[:cut])
        if harm == "partial":
            self._break_off()

    def _forward(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(self.proxy.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Sequence[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _break_off(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.connection.close()


TcpHarm = Literal["delay", "reset", "lost"]

TCP_HARMS: Sequence[TcpHarm] = ("delay", "reset", "lost")


class TcpProxy:
    """A proxy at work before a port of this machine. `port` is its own, `harmed` how often it did harm of a kind.

    `delay` lets a piece come late, `reset` breaks a connection off before what a client sent reaches the server,
    `lost` before what the server answered reaches the client.
    """

    def __init__(self, target: int, seed: int, rate: float) -> None:
        self.harmed: Counter[TcpHarm] = Counter()
        self._target, self._rate = target, rate
        self._random, self._lock = random.Random(seed), Lock()
        self._over = Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, name="tcp-proxy", daemon=True).start()

    def calm(self) -> None:
        """From now on it does no harm."""
        self._rate = 0.0

    def close(self) -> None:
        """Ends every connection, and listens no more."""
        self._over.set()
        for each in self._open:
            _broken_off(each)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # it is not running now
                    _broken_off(client)
                    continue
                self._open += [client, server]
                for pair, harms in (((client, server), ("delay", "reset")), ((server, client), ("delay", "lost"))):
                    Thread(target=self._pass_on, args=(*pair, harms), name="tcp-proxy", daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, harms: Sequence[TcpHarm]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                harm = self._drawn(harms)
                if harm == "delay":
                    self._over.wait(0.1)
                elif harm is not None:
                    break
                target.sendall(data)
        _broken_off(source)
        _broken_off(target)

    def _drawn(self, harms: Sequence[TcpHarm]) -> TcpHarm | None:
        with self._lock:
            if self._random.random() >= self._rate:
                return None
            harm = self._random.choice(harms)
            self.harmed[harm] += 1
            return harm


def _broken_off(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def tcp_proxy(target: int, *, seed: int = 0, rate: float = 0.0) -> Iterator[TcpProxy]:
    """A proxy for the server at the port `target` of this machine, which listens while the context lasts."""
    made = TcpProxy(target, seed, rate)
    try:
        yield made
    finally:
        made.close()
