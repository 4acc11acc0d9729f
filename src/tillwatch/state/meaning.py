"""The meaning of a pipeline: all that detections depend on beside the rows and the contents of lookups, a line each."""

from __future__ import annotations

import re

_CONTENT = re.compile(r"^(lookup (\w+): .*), content ([0-9a-f]{64})$", re.MULTILINE)


def base_of(meaning: str) -> list[str]:
    """The lines of a meaning that are not of patterns.

    >>> base_of("amounts: 4 fraction digits\\npattern P: transactions > 1")
    ['amounts: 4 fraction digits']
    """
    return [line for line in without_contents(meaning).splitlines() if not line.startswith("pattern ")]


def without_contents(meaning: str) -> str:
    """A meaning without the contents of lookups, which it had before their versions were recorded apart."""
    return _CONTENT.sub(r"\1", meaning)


def contents_of(meaning: str) -> dict[str, str]:
    """The digests of lookups, by name, that such an earlier meaning had.

    >>> contents_of("lookup vip: count(*) on customer=id, content " + "0" * 64) == {"vip": "0" * 64}
    True
    """
    return {name: digest for _, name, digest in _CONTENT.findall(meaning)}


def is_same(known: str, meaning: str) -> bool:
    """Whether a meaning that is known from before their versions were recorded says the same."""
    return bool(contents_of(known)) and without_contents(known) == meaning
