"""The kinds of single values that logs and metrics have."""

from __future__ import annotations

import re

from tillwatch.config.kinds import Kind, one_of

LEVELS = ("debug", "info", "warning", "error")
SMALLEST, LARGEST = 10**4, 10**12
_SIZE = re.compile(r"([1-9][0-9]{0,8})(kB|MB|GB)")
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}
_LISTEN = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


def _format(value: object) -> str | None:
    return None if value is None else str(one_of("text", "json").read(value))


def _size(value: object) -> int:
    """Bytes from `10MB`, or a plain number of bytes."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        value = int(match[1]) * _UNITS[match[2]]
    if type(value) is not int or not SMALLEST <= value <= LARGEST:
        raise ValueError
    return value


def _listen(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not (match := _LISTEN.fullmatch(value)) or int(match[2]) > 65_535:
        raise ValueError
    return value


def address(listen: str) -> tuple[str, int]:
    """The host and the port of what `metrics.listen` says.

    >>> address("127.0.0.1:9464"), address("[::1]:0")
    (('127.0.0.1', 9464), ('::1', 0))
    """
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


FORMAT = Kind("one of text, json, or null for none", _format, schema={"enum": ["text", "json", None]})
SIZE = Kind(
    "a size from 10kB to 1000GB such as 10MB; a plain number is bytes",
    _size,
    schema={
        "anyOf": [
            {"type": "integer", "minimum": SMALLEST, "maximum": LARGEST},
            {"type": "string", "pattern": "^[1-9][0-9]{0,8}(kB|MB|GB)$"},
        ]
    },
)
LISTEN = Kind(
    "an address and a port such as 127.0.0.1:9464, or null for none; port 0 is any that is free",
    _listen,
    is_text=True,
    schema={"anyOf": [{"type": "string", "pattern": ":[0-9]{1,5}$"}, {"type": "null"}]},
)
