"""For tests: places where alerts arrive, a mail server and a webhook, which fail or hang when told to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

WAIT_SECONDS = 20.0


@dataclass(slots=True)
class Inbox:
    """What arrived, in order: title and text. While `status` is not 200 a message is refused; `gate` holds it up."""

    address: str = ""
    messages: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    tries: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def titles(self) -> list[str]:
        """The titles, without the name of the program."""
        return [title.removeprefix("tillwatch: ") for title, _ in self.messages]

    def take(self, title: str, text: str) -> int:
        """A message comes. Returns the status that it is answered with."""
        with self._changed:
            self.tries += 1
            self._changed.notify_all()
        self.gate.wait(WAIT_SECONDS)
        with self._changed:
            if self.status == 200:
                self.messages.append((title, text))
            self._changed.notify_all()
            return self.status

    def wait_for(self, enough: Callable[[Inbox], bool]) -> None:
        """Waits until there is enough. Raises AssertionError when it does not come."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self), WAIT_SECONDS), self.titles


@contextmanager
def webhook() -> Iterator[Inbox]:
    """A receiver of `json://` on this machine; its address holds a secret."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(inbox.take(body["title"], body["message"]))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    inbox.address = f"json://till:planted-hunter2@127.0.0.1:{server.server_port}/planted-path"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="inbox")
    thread.start()
    try:
        yield inbox
    finally:
        inbox.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def mail_server(password: str = "planted-hunter2") -> Iterator[Inbox]:
    """A mail server on this machine, which takes mail of who knows the password."""
    inbox = Inbox()

    class Handler:
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            if not session.authenticated:
                return "530 who are you?"
            raw = envelope.original_content or b""
            mail = message_from_bytes(raw, _class=EmailMessage, policy=policy.default)
            body = mail.get_body(("plain", "html"))
            text = str(body.get_content()) if body else ""
            return "250 OK" if inbox.take(str(mail["subject"]), text) == 200 else "451 later"

    def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        right = isinstance(data, LoginPassword) and data.password.decode() == password
        return AuthResult(success=right, handled=False)

    controller = Controller(
        Handler(),
        hostname="127.0.0.1",
        port=_free_port(),
        authenticator=login,
        auth_require_tls=False,
    )
    inbox.address = f"mailto://till:{password}@127.0.0.1:{controller.port}/?from=till@bank.example&to=ops@bank.example&mode=insecure"
    controller.start()
    try:
        yield inbox
    finally:
        inbox.gate.set()
        controller.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
