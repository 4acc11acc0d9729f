"""Requests to the Google Drive API, and what its refusals mean."""

from __future__ import annotations

import datetime
import email.utils
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from tillwatch.errors import ConfigError, SourceError, SourceUnavailable
from tillwatch.sources.google_account import Account

ENDPOINT = "https://www.googleapis.com/drive/v3"
ENDPOINT_VARIABLE = "TILLWATCH_GDRIVE_ENDPOINT"
TIMEOUT = 30.0

_FOR_NOW = {
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "sharingRateLimitExceeded",
    "dailyLimitExceeded",
    "downloadQuotaExceeded",
    "quotaExceeded",
    "backendError",
    "internalError",
}
_NOT_ENABLED = {"accessNotConfigured", "SERVICE_DISABLED"}


class Refused(SourceError):
    """Drive does not give what was asked for, and asking again will not help; `reason` is its word for it."""

    def __init__(self, text: str, status: int, reason: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


class DriveApi:
    """One connection. Nothing is sent before the first call.

    Raises ConfigError when `tillwatch[gdrive]` is not installed. Calls raise SourceUnavailable when the same call
    may succeed later, Refused and other SourceErrors when not. `what` names in errors what was asked for.
    """

    def __init__(self) -> None:
        try:
            import google.auth  # noqa: F401
            import httpx
        except ImportError:
            raise ConfigError("gdrive:// needs other packages: pip install 'tillwatch[gdrive]'") from None
        self._url = _endpoint()
        self._client = httpx.Client(timeout=httpx.Timeout(TIMEOUT, connect=10.0), follow_redirects=True)
        self._account = Account(self._client)

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def answer(self, path: str, what: str, **parameters: str) -> dict[str, Any]:
        """The answer to a question."""
        body = self._get(path, what, parameters)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise SourceUnavailable(f"{what}: Google Drive's answer cannot be understood")
        return answer

    def content(self, path: str, what: str, start: int | None = None, length: int = 0, **parameters: str) -> bytes:
        """The content at `path`, whole, or at least one of `length` bytes from `start` on."""
        return self._get(path, what, parameters, start, length)

    def _get(
        self, path: str, what: str, parameters: Mapping[str, str], start: int | None = None, length: int = 0
    ) -> bytes:
        headers = (
            {} if start is None else {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        )
        token = self._account.token()
        status, answer, body = self._send(path, what, parameters, {**headers, **_bearer(token)}, length)
        if status == 401:
            token = self._account.another_token(token)
            status, answer, body = self._send(path, what, parameters, {**headers, **_bearer(token)}, length)
        if status == 401:
            raise self._account.refused("401")
        if status not in (200, 206):
            raise self._refused(what, status, answer, body)
        if start and status == 200:
            raise SourceError(f"{what}: Google Drive was asked for a part and answered with the whole")
        self._account.worked = True
        return body

    def _send(
        self, path: str, what: str, parameters: Mapping[str, str], headers: Mapping[str, str], length: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; of a range that broke off, what came of it."""
        import httpx

        body = bytearray()
        good = False
        try:
            url = f"{self._url}/{path}"
            with self._client.stream("GET", url, params=dict(parameters), headers=dict(headers)) as response:
                good = response.status_code in (200, 206) and length > 0
                for part in response.iter_bytes():
                    body += part
                    if good and len(body) > length:
                        break
        except httpx.HTTPError as error:
            if not (good and body):
                raise SourceUnavailable(f"{what}: Google Drive cannot be reached ({_kind(error)})") from None
        return response.status_code, response.headers, bytes(body[:length] if good else body)

    def _refused(self, what: str, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        reason = _reason(body)
        told = f"{status} {reason}".rstrip()
        if status in (408, 429) or status >= 500 or (status == 403 and reason in _FOR_NOW):
            return SourceUnavailable(f"{what}: Google Drive is busy or out of quota ({told})", _after(headers))
        who = self._account.email
        if reason in _NOT_ENABLED:
            text = "the Google Drive API is not enabled in the project of these credentials: enable it there"
        elif status in (403, 404):
            text = f"is not there, or not shared with {who}: share it with {who} as a viewer"
        else:
            text = "Google Drive refuses the request"
        return Refused(f"{what} {text} ({told})", status, reason)


def _endpoint() -> str:
    url = os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{ENDPOINT_VARIABLE} must be an https:// address, or one on this machine")
    return url.rstrip("/")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def quoted(id: str) -> str:
    """An id as part of a path."""
    return quote(id, safe="")


def _kind(error: Exception) -> str:
    # Not its text: that may repeat what was sent.
    return type(error).__name__


def _reason(body: bytes) -> str:
    """Google's word for what is wrong, such as `userRateLimitExceeded`; empty when there is none."""
    try:
        error = json.loads(body)["error"]
        listed = [*error.get("errors", ()), *error.get("details", ())]
        reason = next((entry["reason"] for entry in listed if "reason" in entry), error.get("status", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return reason if isinstance(reason, str) and reason.replace("_", "").isalnum() else ""


def _after(headers: Mapping[str, str]) -> float:
    """Seconds to wait, as `Retry-After` has them: a number, or a date."""
    text = headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    if moment.tzinfo is None:
        return 0.0
    return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())
