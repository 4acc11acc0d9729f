"""Who we are to Google: a service account's key file, workload identity, or what else Google's own tools find."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tillwatch.errors import SourceError, SourceUnavailable

if TYPE_CHECKING:
    import httpx

SCOPES = ("https://www.googleapis.com/auth/drive.readonly",)
_WORD = re.compile(r"[a-z_]+")
_WHAT_TO_DO = "set GOOGLE_APPLICATION_CREDENTIALS to the JSON key file of a service account, see docs/google-drive.md"


class Account:
    """Tokens, asked for when needed. Credentials that are refused are read again.

    `worked` is set once Google took one: from then on a refusal may be over soon, as when keys are changed.
    """

    def __init__(self, client: httpx.Client) -> None:
        self.worked = False
        self._client = client
        self._credentials: Any = None

    @property
    def email(self) -> str:
        """The address to share files with, as far as it is known."""
        return getattr(self._credentials, "service_account_email", None) or "the account of your Google credentials"

    def token(self) -> str:
        """A token that is valid now. Raises SourceError, or SourceUnavailable when that may change."""
        from google.auth.exceptions import RefreshError

        known = self._credentials
        self._credentials = known or self._found()
        if not self._credentials.valid:
            try:
                self._refresh()
            except RefreshError as error:
                self._again(error, known)
        token = self._credentials.token
        assert isinstance(token, str)  # valid credentials have one
        return token

    def another_token(self, refused: str) -> str:
        """A token after one was refused, of credentials that are read again."""
        if self._credentials is not None and self._credentials.token == refused:
            self._credentials = None
        return self.token()

    def refused(self, why: str) -> SourceError:
        """The error that says that Google refuses these credentials, `why` in its word; they are then forgotten."""
        text = f"Google refuses the credentials of {self.email} ({why}): {_WHAT_TO_DO}"
        self._credentials = None
        return SourceUnavailable(text) if self.worked else SourceError(text)

    def _again(self, error: Exception, known: object) -> None:
        """Once more with credentials that are read again, if these were read some time ago."""
        from google.auth.exceptions import RefreshError

        if known is None:
            raise self.refused(_word(error)) from None
        self._credentials = self._found()
        try:
            self._refresh()
        except RefreshError as second:
            raise self.refused(_word(second)) from None

    def _refresh(self) -> None:
        from google.auth.exceptions import TransportError

        try:
            self._credentials.refresh(self._transport)
        except TransportError as error:
            raise SourceUnavailable(f"Google's token server cannot be reached ({type(error).__name__})") from None

    def _found(self) -> Any:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError

        try:
            credentials, _ = google.auth.default(scopes=SCOPES, request=cast(Any, self._transport))
        except (DefaultCredentialsError, OSError, ValueError, TypeError, AttributeError):  # the last for `[]`
            # Its text is not repeated: it may hold parts of the key file.
            text = f"no usable Google credentials were found{_where()}: {_WHAT_TO_DO}"
            raise (SourceUnavailable(text) if self.worked else SourceError(text)) from None
        return credentials

    def _transport(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> _Answer:
        """What google-auth makes its requests with."""
        import httpx
        from google.auth.exceptions import TransportError

        try:
            found = self._client.request(method, url, content=body, headers=dict(headers or {}))
        except httpx.HTTPError as error:
            raise TransportError(type(error).__name__) from None  # type: ignore[no-untyped-call]
        return _Answer(found)


class _Answer:
    """An answer in google-auth's words."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.headers = answer.headers
        self.data = answer.content


def _where() -> str:
    """Which file was looked into, or is not there, when the environment names one."""
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if not named:
        return ""
    return f" in the file {named}" if Path(named).is_file() else f", there is no file {named}"


def _word(error: Exception) -> str:
    """Google's word for what is wrong, such as `invalid_grant`: no more, for the rest may repeat what was sent."""
    match = _WORD.match(str(error.args[0])) if error.args else None
    return match[0] if match else type(error).__name__
