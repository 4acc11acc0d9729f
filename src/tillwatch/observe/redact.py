"""Texts without secrets: what looks like one, and what the environment holds of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tillwatch.config import Settings, masked
from tillwatch.config.environment import hidden
from tillwatch.config.secrets import is_hidden_setting, secrets_of

SHORTEST = 6
"""Characters of a secret that is looked for; shorter ones are found everywhere, and protect nothing."""

Redact = Callable[[str], str]


def redactor(secrets: Iterable[str]) -> Redact:
    """What takes these secrets, and all that looks like one, out of a text.

    >>> redactor(["hunter2"])("login as till with hunter2 at https://till:pass@host")
    'login as till with *** at https://till:***@host'
    """
    known = sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def redact(text: str) -> str:
        return masked(pattern.sub("***", text) if pattern else text)

    return redact


def redactor_for(settings: Settings) -> Redact:
    """The same with the secrets that the configuration and the environment have for a pipeline."""
    named = {output.secret_env for output in settings.outputs.values() if output.secret_env}
    in_spark = (value for name, value in settings.spark.conf.items() if is_hidden_setting(name))
    return redactor([*hidden(named), *_written(settings.model_dump()), *in_spark])


def _written(value: object) -> Iterator[str]:
    """The secrets in all texts of a value."""
    if isinstance(value, str):
        yield from secrets_of(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _written(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _written(item)


def redacted(value: Any, redact: Redact) -> Any:
    """A value with all texts in it redacted, however deep; keys are names of ours and stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, redact) for item in value]
    return value
