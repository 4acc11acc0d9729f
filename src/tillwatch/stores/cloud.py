"""From a URI of a cloud to a client for its bucket, with what that cloud's own tools find in the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from tillwatch.errors import ConfigError
from tillwatch.stores.aws import connect_s3
from tillwatch.stores.azure import connect_azure
from tillwatch.stores.google import connect_google

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Bucket: TypeAlias = S3Store | AzureStore | GCSStore

SCHEMES = ("s3", "az", "abfss", "gs")
TIMEOUT = 30.0

_URI = re.compile(r"([a-z0-9]+)://([^/]*)/?(.*)", re.DOTALL | re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")
_ACCOUNT = re.compile(r"([A-Za-z0-9$][A-Za-z0-9-]*)@([a-z0-9]+(?:\.[a-z0-9-]+)+)")
_FORMS = {
    "s3": "s3://BUCKET/PREFIX",
    "az": "az://CONTAINER/PREFIX",
    "abfss": "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX",
    "gs": "gs://BUCKET/PREFIX",
}
_CREDENTIALS = "credentials come from the environment, see docs/places.md"


@dataclass(frozen=True, slots=True)
class CloudPlace:
    """A URI of a cloud, taken apart. `bucket` is `container@account…` for abfss; `prefix` has no slash at its ends."""

    scheme: str
    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        """The place, fit to be shown: such a URI holds no credentials.

        >>> cloud_place("S3://bucket//a/b/").uri
        's3://bucket/a/b'
        """
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class Connected:
    """A client for a bucket, not yet used. Names of objects are `prefix`, a slash (if there is a prefix), name.

    `store` takes whole names, from the root of the bucket. `uri` is fit to be shown.
    """

    store: Bucket = field(repr=False)
    prefix: str
    uri: str


def cloud_place(uri: str) -> CloudPlace:
    """A URI of a cloud, taken apart; names are taken as they stand, without escapes.

    Raises ConfigError, which repeats nothing of the URI but its scheme, when it is not of the form of its
    scheme; so for one with a password, a query or a signature.

    >>> cloud_place("abfss://container@account.dfs.core.windows.net/a/b")
    CloudPlace(scheme='abfss', bucket='container@account.dfs.core.windows.net', prefix='a/b')
    >>> cloud_place("s3://key:secret@bucket/a")
    Traceback (most recent call last):
    tillwatch.errors.ConfigError: expected s3://BUCKET/PREFIX; credentials come from the environment, see docs/places.md
    """
    match = _URI.fullmatch(uri)
    if match is None or match[1].lower() not in SCHEMES:
        raise ConfigError(f"expected one of {', '.join(_FORMS.values())}")
    scheme, bucket, prefix = match[1].lower(), match[2], match[3].strip("/")
    whole = (_ACCOUNT if scheme == "abfss" else _BUCKET).fullmatch(bucket)
    if whole is None or "?" in prefix or "#" in prefix:
        raise ConfigError(f"expected {_FORMS[scheme]}; {_CREDENTIALS}")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise ConfigError(f"expected {_FORMS[scheme]}, with no part of the prefix empty, '.' or '..'")
    return CloudPlace(scheme, bucket, prefix)


def connect(uri: str, timeout: float = TIMEOUT) -> Connected:
    """A client for the bucket of `uri`, with credentials as they are now; nothing is asked of the cloud yet.

    `timeout` is that of one request, in seconds. What a request may raise is translated by `trouble.explained`.
    Raises ConfigError when the URI is wrong or `tillwatch[cloud]` is not installed, StoreError when what the
    environment says of the cloud (profiles, key files, endpoints) cannot be used.
    """
    place = cloud_place(uri)
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise ConfigError(f"{place.scheme}:// needs another package: pip install 'tillwatch[cloud]'") from None
    opened = _OPEN[place.scheme](place.bucket, _client(timeout), _retries(timeout))
    return Connected(opened, place.prefix, place.uri)


def _client(timeout: float) -> ClientConfig:
    seconds = timedelta(seconds=timeout)
    return {"timeout": seconds, "connect_timeout": min(seconds, timedelta(seconds=5)), "user_agent": "tillwatch"}


def _retries(timeout: float) -> RetryConfig:
    # Two quick tries more, for a hiccup; whoever called has the patience for the rest, and says so to people.
    return {
        "max_retries": 2,
        "retry_timeout": timedelta(seconds=timeout),
        "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=1), "base": 2},
    }


_Open: TypeAlias = "Callable[[str, ClientConfig, RetryConfig], Bucket]"
_OPEN: Mapping[str, _Open] = {
    "s3": connect_s3,
    "az": connect_azure,
    "abfss": connect_azure,
    "gs": connect_google,
}
