"""Detections by POST to a web address, signed; one request for each detection, in order.

The signature is that of the Standard Webhooks specification, for which there are libraries in most languages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tillwatch.clock import Clock
from tillwatch.config import masked
from tillwatch.errors import ConfigError, OutputUnavailable, PublishError
from tillwatch.publish.output import Batch, Record

if TYPE_CHECKING:
    import httpx

TIMEOUT = 10.0
"""Seconds in which a receiver must answer."""

LATER = frozenset({408, 425, 429})
"""Refusals that are for now; so is every 5xx."""

_PREFIX = "whsec_"


class Webhook:
    """POSTs each detection as JSON, with the headers of a signed webhook and an Idempotency-Key.

    `secret` gives the secret's text; it is asked anew for every request, so that a new one needs no restart.
    """

    def __init__(self, url: str, secret: Callable[[], str], clock: Clock) -> None:
        if find_spec("httpx") is None:
            raise ConfigError("a webhook needs: pip install 'tillwatch[webhook]'")
        self._url, self._secret, self._clock = url, secret, clock
        self._reached = 0

    @property
    def place(self) -> str:
        """The host only: the rest of an address may be what lets people in."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def deliver(self, batch: Batch) -> None:
        import httpx

        waiting = [record for record in batch.records if record["seq"] > self._reached]
        with httpx.Client(timeout=TIMEOUT) as client:
            for record in waiting:
                self._post(client, record)
                self._reached = record["seq"]

    def _post(self, client: httpx.Client, record: Record) -> None:
        import httpx

        body = json.dumps(record, ensure_ascii=False).encode()
        now = int(datetime.fromisoformat(self._clock.now()).timestamp())
        signed = headers(record["id"], now, body, self._secret())
        try:
            answer = client.post(self._url, content=body, headers=signed)
        except httpx.RequestError as error:
            what = masked(str(error)) or type(error).__name__
            raise OutputUnavailable(f"{self._about(record)} could not be delivered: {what}") from None
        if not answer.is_success:
            raise self._refused(record, answer.status_code, answer.headers, now)

    def _refused(self, record: Record, status: int, answer: Mapping[str, str], now: int) -> PublishError:
        text = f"{self._about(record)} was refused with status {status}"
        if status in LATER or status >= 500:
            return OutputUnavailable(text, retry_after(answer.get("retry-after", ""), now))
        advice = {
            401: "check that both sides have the same secret",
            403: "check that both sides have the same secret",
            404: "check the address",
            413: "the receiver must take bodies of this size",
        }
        moved = "the receiver has moved; set the new address" if 300 <= status < 400 else "ask the receiver why"
        return PublishError(f"{text}: {advice.get(status, moved)}.")

    def _about(self, record: Record) -> str:
        return f"{self.place}: detection {record['seq']} ({record['id']})"


def headers(identity: str, timestamp: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a request; `timestamp` is in seconds since 1970.

    >>> headers("d1", 1700000000, b"{}", "whsec_c2VjcmV0")["webhook-signature"]
    'v1,G77iR07mhxRhj4uXzCbRdU/9tFV0ULbzSFKOaC7ieFc='
    """
    return {
        "content-type": "application/json",
        "idempotency-key": identity,
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature(identity, timestamp, body, secret)}",
    }


def signature(identity: str, timestamp: int, body: bytes, secret: str) -> str:
    """HMAC-SHA256 over `id.timestamp.body` in base64. A secret that begins with `whsec_` is base64 after that."""
    signed = f"{identity}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise PublishError("the secret of a webhook begins with whsec_, but what follows is not base64") from None


def retry_after(text: str, now: int) -> float:
    """Seconds to wait, from a Retry-After header: seconds or a date; 0 when it says nothing that is understood.

    >>> retry_after("120", 0), retry_after("Thu, 01 Jan 1970 00:00:30 GMT", 10), retry_after("soon", 0)
    (120.0, 20.0, 0.0)
    """
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now)
