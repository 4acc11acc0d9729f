"""Requests to a Databricks workspace: where it is, who we are there, and what its refusals mean.

Answers and texts of the service are not repeated in errors, save the code of an error.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tillwatch.errors import ConfigError, StoreError
from tillwatch.stores.endpoints import is_this_machine

if TYPE_CHECKING:
    import httpx

TIMEOUT = 30.0

_TRIES = 3
_PAUSE = 0.05
_EARLY = 60.0
"""A token is no longer used so many seconds before it ends."""
_BUSY = frozenset({408, 429})
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_WHO = "set DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, see docs/databricks.md"
_RIGHTS = "give the identity USE CATALOG, USE SCHEMA, READ VOLUME and WRITE VOLUME there"


class Refused(StoreError):
    """The service did not do what was asked: `status` is 0 without an answer, `after` in seconds."""

    def __init__(self, text: str, status: int = 0, code: str = "", after: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.code, self.after = status, code, after


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `doing` begins the error when it is refused, such as "cannot read dbfs:/Volumes/…"."""

    method: str
    path: str
    doing: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


class Workspace:
    """The workspace that the environment names. Nothing is sent before the first request.

    A request that meets a hiccup is made twice more in quick succession; one whose token is refused once more, with
    credentials read anew. Safe with many threads. Raises ConfigError when `tillwatch[databricks]` is not installed,
    StoreError when DATABRICKS_HOST cannot be used.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._host = _host()
        self._timeout = timeout
        self._client = _client(timeout)
        self._tokens = _tokens(self._host, timeout)

    def send(self, request: Request) -> httpx.Response:
        """The answer to a request, when it is a good one. Raises Refused."""
        token = self._tokens.token()
        answer = self._patiently(request, token)
        if answer.status_code == 401:
            answer = self._patiently(request, self._tokens.another(token))
        if not answer.is_success:
            raise _refused(request.doing, answer)
        return answer

    def _patiently(self, request: Request, token: str) -> httpx.Response:
        import httpx

        url, headers = self._host + request.path, {**request.headers, "Authorization": f"Bearer {token}"}
        query = request.query or None
        for left in range(_TRIES - 1, -1, -1):
            try:
                answer = self._client.request(request.method, url, content=request.body, headers=headers, params=query)
            except httpx.HTTPError as error:
                if not left:
                    raise _unanswered(request.doing, error, self._timeout) from None
            else:
                hiccup = answer.status_code in _BUSY or answer.status_code >= 500
                if not hiccup or not left or _after(answer) > 1:
                    return answer
            time.sleep(_PAUSE * (_TRIES - left))
        raise AssertionError("the last try returns or raises")


class _Tokens:
    """Tokens of one workspace, asked for when needed and kept until shortly before they end."""

    def __init__(self, host: str, timeout: float) -> None:
        self._host, self._timeout = host, timeout
        self._lock = Lock()
        self._kept = ("", "", 0.0)  # for which client, the token, until when

    def token(self) -> str:
        """A token by the environment as it is now. Raises StoreError when it says none."""
        if given := os.environ.get("DATABRICKS_TOKEN", ""):
            return given
        client, secret = (os.environ.get(f"DATABRICKS_CLIENT_{word}", "") for word in ("ID", "SECRET"))
        if not (client and secret):
            raise StoreError(f"no credentials for {self._host} were found in the environment: {_WHO}.")
        with self._lock:
            kept, token, end = self._kept
            if kept != client or time.monotonic() > end:
                token, seconds = self._exchanged(client, secret)
                self._kept = (client, token, time.monotonic() + seconds - _EARLY)
            return token

    def another(self, refused: str) -> str:
        """A token after one was refused."""
        with self._lock:
            if self._kept[1] == refused:
                self._kept = ("", "", 0.0)
        return self.token()

    def _exchanged(self, client: str, secret: str) -> tuple[str, float]:
        """A token for client credentials, and the seconds that it is good for."""
        import httpx

        doing = f"cannot get a token from {self._host}/oidc/v1/token"
        try:
            answer = _client(self._timeout).post(
                f"{self._host}/oidc/v1/token",
                data={"grant_type": "client_credentials", "scope": "all-apis"},
                auth=(client, secret),
            )
        except httpx.HTTPError as error:
            raise _unanswered(doing, error, self._timeout) from None
        if not answer.is_success:
            raise _refused(doing, answer)
        told = parsed(answer, doing)
        token, seconds = told.get("access_token"), told.get("expires_in", 0)
        if not isinstance(token, str) or not isinstance(seconds, int | float):
            raise Refused(f"{doing}: the answer is not understood; check DATABRICKS_HOST.")
        return token, float(seconds)


@cache
def _tokens(host: str, timeout: float) -> _Tokens:
    """One for a process, as the tasks of Spark open their stores again and again."""
    return _Tokens(host, timeout)


@cache
def _client(timeout: float) -> httpx.Client:
    """The connections of this process."""
    try:
        import httpx
    except ImportError:
        raise ConfigError("dbfs:/Volumes needs another package: pip install 'tillwatch[databricks]'") from None
    client = httpx.Client(
        timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
        headers={"User-Agent": "tillwatch", "Accept-Encoding": "identity"},
    )
    atexit.register(client.close)
    return client


def parsed(answer: httpx.Response, doing: str) -> dict[str, object]:
    """The JSON object of an answer. Raises Refused when it is none."""
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(f"{doing}: the answer is not understood; check DATABRICKS_HOST.", answer.status_code)
    return found


def _host() -> str:
    given = os.environ.get("DATABRICKS_HOST", "").strip().rstrip("/")
    if not given:
        raise StoreError(
            "DATABRICKS_HOST is not set; expected the address of the workspace, such as "
            "https://dbc-a1b2c3d4-e5f6.cloud.databricks.com."
        )
    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and not (parts.path or parts.query or parts.fragment or parts.username)
    except ValueError:
        good = False
    if not good:
        raise StoreError("DATABRICKS_HOST is no address of a workspace; expected https://HOST and nothing behind it.")
    if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        raise StoreError(
            "DATABRICKS_HOST is an address without TLS, which would send data and the token in the clear: use https. "
            "http is for a server on this machine only."
        )
    return f"{parts.scheme}://{parts.netloc}"


def _refused(doing: str, answer: httpx.Response) -> Refused:
    status, code = answer.status_code, _code(answer)
    told = f"(HTTP {status}{' ' + code if code else ''})"
    return Refused(f"{doing}: {_reason(status).format(told=told)}.", status, code, _after(answer))


def _reason(status: int) -> str:
    if status == 401:
        return f"the credentials were not accepted {{told}}; {_WHO}"
    if status == 403:
        return f"the identity is not allowed to {{told}}; {_RIGHTS}"
    if status == 404:
        return "there is no such volume {told}; create it, or correct the URI"
    if status == 409:
        return "something else is there, or another request was changing it {told}; try again"
    if status in _BUSY or status >= 500:
        return "the service is busy or out of order {told}; try again later"
    return "the service did not take the request {told}; check DATABRICKS_HOST and the URI"


def _unanswered(doing: str, error: httpx.HTTPError, timeout: float) -> Refused:
    import httpx

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Refused(f"{doing}: the workspace cannot be reached; check the network and DATABRICKS_HOST.")
    if isinstance(error, httpx.TimeoutException):
        return Refused(f"{doing}: no answer within {timeout:g} s; check the network and the service.")
    return Refused(f"{doing}: the answer broke off ({type(error).__name__}); check the network.")


def _code(answer: httpx.Response) -> str:
    """The code of an error; nothing else of the answer is fit to be shown."""
    try:
        found = json.loads(answer.content)
        code = found.get("error_code") or found.get("error") or ""
    except (ValueError, AttributeError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _after(answer: httpx.Response) -> float:
    text: str = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else 0.0
