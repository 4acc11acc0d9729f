"""For tests: a relay before a PostgreSQL server that loses connections and answers when it is told to."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WANTS_TLS = bytes.fromhex("0000000804d2162f")


class Relay:
    """Passes bytes on, both ways. `port` is its own; with `tls` it speaks TLS to clients that ask for it."""

    def __init__(self, server_port: int, tls: ssl.SSLContext | None = None) -> None:
        self._server_port, self._tls = server_port, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self._servers: list[socket.socket] = []
        self._before: tuple[bytes, Callable[[], object]] | None = None
        self._lose: bytes | None = None
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def before(self, sent: bytes, action: Callable[[], object]) -> None:
        """When a client next sends these bytes, does something before they are passed on."""
        self._before = (sent, action)

    def lose(self, answer: bytes) -> None:
        """When the server next answers these bytes the client does not get them: its connection is lost."""
        self._lose = answer

    def cut(self) -> None:
        """Clients lose their connections, and the server does not hear of it."""
        clients, self._clients = self._clients, []
        for client in clients:
            _end(client)

    def close(self) -> None:
        """Ends everything."""
        _end(self._listener)
        for each in (*self._clients, *self._servers):
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), name="relay", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            begun = client.recv(8, socket.MSG_WAITALL)
            if begun == _WANTS_TLS:
                client.sendall(b"S" if self._tls else b"N")
                client, begun = self._tls.wrap_socket(client, server_side=True) if self._tls else client, b""
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._clients.append(client)
            self._servers.append(server)
            server.sendall(begun)
            with contextlib.suppress(OSError, ValueError):  # also of a socket that was closed meanwhile
                self._pass_on(client, server)
            if client in self._clients:  # not cut: one of the two has ended
                _end(client)
                _end(server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            held = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if held else select.select([client, server], [], [])[0]
            for each in ready:
                data = each.recv(65536)
                if not data or (each is server and self._is_lost(data)):
                    return
                if each is client:
                    self._act_before(data)
                (server if each is client else client).sendall(data)

    def _act_before(self, data: bytes) -> None:
        if self._before and self._before[0] in data:
            (_, action), self._before = self._before, None
            action()

    def _is_lost(self, data: bytes) -> bool:
        if self._lose is None or self._lose not in data:
            return False
        self._lose = None
        return True


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def relay(server_port: int, tls: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """A relay before the server at this port, ended at the end."""
    running = Relay(server_port, tls)
    try:
        yield running
    finally:
        running.close()
