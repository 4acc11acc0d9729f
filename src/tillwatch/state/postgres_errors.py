"""What PostgreSQL says, in words that say what to do. Everything comes out as StateError, which is tried again."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from tillwatch.errors import StateError

_BY_CODE = {
    "25006": "this server is read-only, a replica perhaps: name the primary, or several hosts, in the URI",
    "42501": "the role lacks a privilege: see 'Roles' in docs/postgresql.md; the owner runs 'tillwatch state migrate'",
    "42P01": "this schema is of another program, or not migrated: choose another one, or run 'tillwatch state migrate'",
    "53100": "free some space; the work goes on from the last commit",
    "53300": "the server has no connection left: end others, or raise max_connections",
    "55P03": "another session holds a lock for longer than lock_timeout: end it",
    "57014": "a statement took longer than statement_timeout: raise it for this role",
}
_BY_CLASS = {
    "08": "the connection was lost: it is made anew",
    "53": "the server lacks a resource; the work goes on from the last commit",
    "57": "the server was stopped or is starting: the connection is made anew",
}
_BY_WORDS = {
    r"password|authentication|pg_hba|role .* does not exist": (
        "set PGUSER and PGPASSWORD, or a line in the password file (PGPASSFILE, passfile=, ~/.pgpass)"
    ),
    r"database .* does not exist": "create it, or name another one in the URI",
    r"read-only|standby": _BY_CODE["25006"],
    r"SSL|TLS|certificate": "check sslmode and sslrootcert in the URI, and the server's certificate",
    r"too many (clients|connections)|connection slots": _BY_CODE["53300"],
    r"of service|service file": "check PGSERVICE, service= and the service file (PGSERVICEFILE, ~/.pg_service.conf)",
    r"starting up|shutting down|recovery": _BY_CLASS["57"],
    r"refused|invalid port|on socket|timeout|timed out|resolve|translate|route|unreachable": (
        "check host and port, and that the server runs"
    ),
    r"closed|lost|terminat|reset": _BY_CLASS["08"],
}


def explained(uri: str, error: psycopg.Error) -> StateError:
    """The error in clear words."""
    text = " ".join((error.diag.message_primary or str(error)).split())
    return StateError(f"state {uri}: {text}; {advice(error.sqlstate or '', text)}")


def advice(code: str, text: str) -> str:
    """What to do about an error with this SQLSTATE, empty if there is none, and this text."""
    if advice := _BY_CODE.get(code) or _BY_CLASS.get(code[:2]):
        return advice
    return next((a for words, a in _BY_WORDS.items() if re.search(words, text)), "see the text of the error")


def leads_elsewhere(error: psycopg.Error) -> bool:
    """Whether another connection may fare better: this server has become one that cannot be written to."""
    return isinstance(error, errors.ReadOnlySqlTransaction | errors.CannotConnectNow)
