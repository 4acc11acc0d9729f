"""A state's place in PostgreSQL: a libpq URI with the schema of the pipeline, `postgresql://host/db?schema=name`."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from tillwatch.errors import StateError

DEFAULT_SCHEMA = "tillwatch"
SCHEMES = ("postgresql://", "postgres://")

_SCHEMA = re.compile(r"(?<=[?&])schema=([^&]*)(&|$)")
_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_PASSWORD = re.compile(r"(://[^:@/?#]*):.*@", re.DOTALL)
_PASSWORDS = re.compile(r"((?:^|[?&])\w*password=)[^&]*", re.IGNORECASE)

_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Without these, a server that is gone without a word is waited for by the hour."""


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """`uri` is fit to be shown; `options` are libpq's, among them perhaps a password from the environment."""

    uri: str
    schema: str
    options: Mapping[str, str] = field(repr=False)

    def connection_options(self, *, readonly: bool) -> dict[str, str]:
        """What libpq is given. A writer looks for the server among several that can be written to."""
        name = f"tillwatch on {socket.gethostname()[:30]}, process {os.getpid()}"
        writer = {} if readonly else {"target_session_attrs": "read-write"}
        return {**_DEFAULTS, **writer, "fallback_application_name": name, **self.options, "client_encoding": "UTF8"}


def postgres_place(uri: str) -> PostgresPlace:
    """Understands a URI. Raises StateError, without showing a password.

    >>> place = postgres_place("postgresql://till@db.example/bank?schema=cards&sslmode=verify-full")
    >>> place.schema, place.options["dbname"], place.options["sslmode"]
    ('cards', 'bank', 'verify-full')
    >>> postgres_place("postgresql:///bank").schema
    'tillwatch'
    """
    shown = _PASSWORDS.sub(r"\1***", _PASSWORD.sub(r"\1:***@", uri))
    if re.search(r"[@/?#\s]", uri.partition("://")[2].rpartition("@")[0]):
        raise StateError(f"{shown}: before the host, write / ? # and @ as %2F %3F %23 and %40")
    schema = _schema(uri, shown)
    plain = _SCHEMA.sub("", uri).rstrip("?&")
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise StateError("PostgreSQL needs a package more: pip install 'tillwatch[postgres]'") from None
    try:
        options = {name: str(value) for name, value in conninfo_to_dict(plain).items()}
    except ProgrammingError:  # what libpq says may quote a password
        raise StateError(
            f"{shown}: expected postgresql://USER@HOST:PORT/DATABASE?schema=NAME, and options that libpq knows, "
            "such as sslmode=verify-full"
        ) from None
    return PostgresPlace(shown, schema, options)


def _schema(uri: str, shown: str) -> str:
    found = [unquote(match[1]) for match in _SCHEMA.finditer(uri)] or [DEFAULT_SCHEMA]
    if len(found) > 1 or not _NAME.fullmatch(found[0]):
        raise StateError(
            f"{shown}: expected one schema=NAME of at most 63 lower case letters, digits and _, "
            "not starting with a digit or pg_"
        )
    return found[0]
