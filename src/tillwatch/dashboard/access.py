"""Who may look: the Host, the token or the reverse proxy's header; and the headers that every answer has."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tillwatch.config.dashboard import Dashboard
from tillwatch.errors import ConfigError

COOKIE = "tillwatch"
SESSION = "/session"
"""Where a page that has the token from a person exchanges it for the cookie."""

OPEN = ("/assets/", SESSION)
"""Paths that everybody may have: they say nothing of the pipeline."""

SHORTEST_TOKEN = 16

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

Refused = Callable[[Scope], Response]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may look. `token` is empty where none is asked for."""

    host: str
    hosts: frozenset[str]
    header: str | None = None
    token: str = field(default="", repr=False)

    @property
    def session(self) -> str:
        """What the cookie of one who knows the token holds: nothing that gives the token away."""
        return hmac.new(self.token.encode(), b"tillwatch dashboard", hashlib.sha256).hexdigest()

    def host_allowed(self, host: str) -> bool:
        """Whether a Host header names this server. An address cannot be made to point elsewhere, a name can."""
        name = host.rpartition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
        return _is_address(name) or name.lower().rstrip(".") in self.hosts

    def token_is_right(self, headers: Headers) -> bool:
        """Whether a request brings the token itself."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and _same(given.strip(), self.token)

    def may_look(self, headers: Headers) -> bool:
        """Whether a request shows that its sender may look."""
        if self.header is not None and not headers.get(self.header, "").strip():
            return False
        return not self.token or _same(_cookie(headers), self.session) or self.token_is_right(headers)


def access_of(settings: Dashboard, host: str, token: str) -> Access:
    """Who may look at what is served on `host`. Raises ConfigError when that would be everybody."""
    if token and len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"the dashboard's token has {len(token)} characters; it needs at least {SHORTEST_TOKEN}")
    here = _is_loopback(host)
    if not here and not token and settings.header is None:
        raise ConfigError(
            f"the dashboard on {host} would be open to everybody who reaches this machine: give a token by "
            "--token-file or TILLWATCH_DASHBOARD_TOKEN, or name the header of a reverse proxy in dashboard.header"
        )
    names = {"localhost", *(name.lower().rstrip(".") for name in (host, *settings.hosts))}
    return Access(host, frozenset(names if here else names | {socket.gethostname().lower()}), settings.header, token)


def _is_loopback(host: str) -> bool:
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


class Guard:
    """Lets requests through that read, name this server, and come from one who may look.

    `refused` makes the page that asks for the token.
    """

    def __init__(self, app: ASGIApp, access: Access, refused: Refused) -> None:
        self.app, self.access, self.refused = app, access, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = self._refusal(scope) or self.app
        await answer(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("only GET and HEAD\n", 405, {"allow": "GET, HEAD"})
        if not self.access.host_allowed(headers.get("host", "")):
            return PlainTextResponse("this server has another name; see dashboard.hosts\n", 421)
        if scope["path"] == SESSION and self.access.token:
            return self._session(headers, secure=scope["scheme"] == "https")
        if scope["path"].startswith(OPEN) or self.access.may_look(headers):
            return None
        return self.refused(scope)

    def _session(self, headers: Headers, *, secure: bool) -> Response:
        if not self.access.token_is_right(headers):
            return PlainTextResponse("this is not the token\n", 401)
        answer = Response(status_code=204)
        answer.set_cookie(COOKIE, self.access.session, httponly=True, samesite="lax", secure=secure, path="/")
        return answer


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sent
