"""What looks like a secret, how it is refused in a file, and how it is kept out of what people see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

_SECRET_WORDS = (
    r"(?:password|passwd|passphrase|pwd|secret|credentials?|token"
    r"|(?:api|access|account|private|secret|shared|session)[_-]?key)"
)
_SECRET_KEY = re.compile(rf"{_SECRET_WORDS}$", re.IGNORECASE)
_IN_QUERY = re.compile(rf"((?:^|[?&;])\s*[\w-]*(?:{_SECRET_WORDS}|\bsig|signature)=)([^&;\s]+)", re.IGNORECASE)
_IN_USERINFO = re.compile(r"(://[^:@/\s]*:)(.+)@", re.DOTALL)
_USERINFO_FROM_ENVIRONMENT = re.compile(r"://[^:@/\s]*:(?:\$\{\w+\})+@")
_ENVIRONMENT = re.compile(r"(?<!\$)\$\{\w+\}")
# Keys and tokens that are known when seen: those of AWS and of Google.
_KNOWN_KEY = re.compile(r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[\w-]{35}|ya29\.[\w-]{8,}|GOOG1[A-Z0-9]{20,})")

_KEYS = r"(?:access|account|api|private|secret|shared|session)[._-]?key"
_SECRET_SETTING = re.compile(
    rf"(?:password|passwd|passphrase|pwd|secret|token|{_KEYS})$|\.(?:account\.key|client\.secret|sas)\.", re.IGNORECASE
)
HIDDEN_SETTINGS = rf"(?i)passw|passphrase|pwd|secret|credential|token|\.sas\.|{_KEYS}"
"""The Spark settings whose values are not shown, by what is in their names; as Python and Java read it."""


def is_secret_setting(name: str) -> bool:
    """Whether a Spark setting is a secret itself, by its name.

    >>> is_secret_setting("spark.hadoop.fs.azure.account.key.ours.dfs.core.windows.net")
    True
    >>> is_secret_setting("spark.hadoop.fs.s3a.aws.credentials.provider")
    False
    """
    return _SECRET_SETTING.search(name) is not None


def is_hidden_setting(name: str) -> bool:
    """Whether the value of a Spark setting is not shown: better one too many."""
    return re.search(HIDDEN_SETTINGS, name) is not None


def masked(text: str) -> str:
    """The text with passwords, keys and signatures in it replaced by ***.

    >>> masked("postgresql://till:hunter2@db/x?sslpassword=hunter3")
    'postgresql://till:***@db/x?sslpassword=***'
    """
    return _KNOWN_KEY.sub("***", _IN_QUERY.sub(r"\1***", _IN_USERINFO.sub(r"\1***@", text)))


def secrets_of(text: str) -> Iterator[str]:
    """What `masked` takes out of a URI, as it is written there and as it is meant.

    >>> sorted({*secrets_of("https://till:p%40ss@host/x?token=hunter3")})
    ['hunter3', 'p%40ss', 'p@ss']
    """
    for found in (*_IN_USERINFO.finditer(text), *_IN_QUERY.finditer(text)):
        yield found[2]
        yield unquote(found[2])


def is_secret_key(key: str) -> bool:
    """Whether a key's name says that its value is a secret, as `password` or `dbAccessKey` do."""
    return _SECRET_KEY.search(key) is not None


def may_hold_secret(text: str) -> bool:
    """Whether a text speaks of a secret at all: then it is not shown."""
    return re.search(_SECRET_WORDS, text, re.IGNORECASE) is not None


def holds_secret(text: str) -> bool:
    """Whether a text as written in a file has a password or key in it that is not taken from `${…}`.

    >>> holds_secret("postgresql://till:hunter2@db/x"), holds_secret("postgresql://till:${PASSWORD}@db/x")
    (True, False)
    """
    if _KNOWN_KEY.search(text):
        return True
    if _IN_USERINFO.search(text) and not _USERINFO_FROM_ENVIRONMENT.search(text):
        return True
    return any(_ENVIRONMENT.sub("", match[2]) for match in _IN_QUERY.finditer(text))


def all_from_environment(text: str) -> bool:
    """Whether a text as written is made of `${…}` only."""
    return not _ENVIRONMENT.sub("", text).strip()
