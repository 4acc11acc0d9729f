"""Endpoints said in the environment: which of them may be spoken to without TLS."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tillwatch.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig


def first_of(*names: str) -> tuple[str, str]:
    """Name and value of the first of these environment variables that is set and not empty, or two empty texts."""
    return next(((name, value) for name in names if (value := os.environ.get(name, ""))), ("", ""))


def speaking_to(endpoint: str, where: str, permission: str, client: ClientConfig) -> ClientConfig:
    """The client's options for an endpoint, which was said at `where`; "" for the cloud's own.

    Plain HTTP is for this machine, or where the environment variable `permission` is true. Raises StoreError
    for other plain HTTP, and for what is no URL.
    """
    if not endpoint:
        return client
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise StoreError(f"{where} is no endpoint; expected a URL such as https://storage.example.com:9000.")
    if parts.scheme == "https":
        return client
    if not (is_this_machine(parts.hostname or "") or os.environ.get(permission, "").lower() in ("true", "1")):
        raise StoreError(
            f"{where} is an endpoint without TLS, which would send data and signatures in the clear. "
            f"Use https, or set {permission}=true if the network is yours alone."
        )
    return {**client, "allow_http": True}


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
