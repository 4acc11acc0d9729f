"""What obstore raises, told in our words. Its own texts hold URLs, signatures and answers, so none is repeated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from tillwatch.errors import ObjectExists, ObjectMissing, StoreError

_STATUS = re.compile(r"status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_HELPER = re.compile(r"credential provider: StoreError: (.*)")
_KIND = re.compile(r"kind: (Connect|Timeout)\b")
_PAST_END = re.compile(r"status code: 416|Wanted range starting at [0-9]+, but object was only")
_METADATA = re.compile(r"169\.254\.|/latest/api/token|metadata\.google\.internal|/metadata/identity/")

# What AWS answers with status 400 for credentials that have run out or were changed.
_STALE = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "FilesystemNotFound")
_RIGHTS = "give the identity the rights to read, create, list and delete objects there"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is known of a failed request, without any of its text. `status` is 0 when there was no answer."""

    kind: str
    status: int
    code: str
    helper: str
    asked_machine: bool
    past_end: bool

    @property
    def is_refusal(self) -> bool:
        """Whether other credentials might be accepted."""
        return self.kind in ("PermissionDeniedError", "UnauthenticatedError") or (
            self.status in (401, 403) or self.code in _STALE
        )


def trouble(error: Exception) -> Trouble:
    """What an exception of obstore says."""
    text, _, details = str(error).partition("\n\nDebug source:")
    status, code, helper, kind = (pattern.search(text) for pattern in (_STATUS, _CODE, _HELPER, _KIND))
    kind = kind or _KIND.search(details)
    return Trouble(
        kind[1] if kind and status is None else type(error).__name__,
        int(status[1]) if status else 0,
        code[1] if code else "",
        helper[1] if helper else "",
        _METADATA.search(text) is not None,
        _PAST_END.search(text) is not None,
    )


def explained(error: Exception, verb: str, uri: str, name: str, timeout: float) -> StoreError:
    """The error to raise for an exception of obstore, met when about to `verb` the object `name` ("" for all)."""
    found = trouble(error)
    where = f"{uri}/{name}" if name else uri
    if verb == "create" and found.kind == "AlreadyExistsError" and found.code != "ConditionalRequestConflict":
        return ObjectExists(f"{where} exists already.")
    if found.kind == "FileNotFoundError" and found.code not in _NO_BUCKET and verb in ("read", "look for"):
        return ObjectMissing(f"{where} does not exist.")
    return StoreError(f"cannot {verb} {where}: {_reason(found, timeout)}")


def _reason(found: Trouble, timeout: float) -> str:
    answer = f" (HTTP {found.status}{' ' + found.code if found.code else ''})" if found.status else ""
    if found.helper:
        return found.helper
    if found.asked_machine:
        return (
            "no credentials were found in the environment, and this machine has no identity of the cloud either"
            f"{answer}; set them as the cloud's own tools need them, see docs/places.md."
        )
    if found.kind == "Connect":
        return "the endpoint cannot be reached; check the network, the endpoint and the region."
    if found.kind == "Timeout":
        return f"no answer within {timeout:g} s; check the network and the service."
    if found.code in _NO_BUCKET or found.status == HTTPStatus.NOT_FOUND:
        return f"there is no such bucket or container{answer}; create it, or correct the URI."
    if found.is_refusal:
        return f"the credentials were not accepted{answer}; check them, and {_RIGHTS}."
    if found.status in (301, 307, 308):
        return f"the bucket is in another region{answer}; set the region of the bucket, such as AWS_REGION."
    if found.status == HTTPStatus.CONFLICT or found.code == "ConditionalRequestConflict":
        return f"another request was changing the object at the same time{answer}; try again."
    if found.status == HTTPStatus.TOO_MANY_REQUESTS or found.status >= 500:
        return f"the service is busy or out of order{answer}; try again later."
    if found.status:
        return f"the service did not take the request{answer}; check that it speaks the protocol of this URI."
    return "the answer broke off or is not understood; check the network, and that the endpoint is right."
