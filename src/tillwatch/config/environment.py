"""`${NAME}` in values, replaced from the environment; and secrets that stand in the file itself, refused."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping

from tillwatch.config.secrets import all_from_environment, holds_secret, is_secret_key, is_secret_setting
from tillwatch.config.yaml import ListNode, MapNode, Node, Place, Problem, ScalarNode, shown_text

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")


def command_name(environ: Mapping[str, str] = os.environ) -> str:
    """The words by which a person calls the program; `TILLWATCH_COMMAND` where they are not `tillwatch`."""
    return environ.get("TILLWATCH_COMMAND", "tillwatch")


def hidden(named: Collection[str] = (), environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The values of environment variables that are secrets by their name, or are among `named`.

    >>> sorted(hidden(["HOOK"], {"PGPASSWORD": "hunter2", "HOOK": "s3cret", "PWD": "/home/till", "X_TOKEN": "1"}))
    ['1', 'hunter2', 's3cret']
    """
    found = (value for name, value in environ.items() if name in named or (is_secret_key(name) and not _is_path(name)))
    return frozenset(found)


def _is_path(name: str) -> bool:
    """Whether a variable whose name sounds like a secret holds the path of a folder or a file."""
    return name in ("PWD", "OLDPWD") or name.endswith("_CREDENTIALS")


class Replaced(str):
    """A text with something from the environment in it; where a number is wanted, it is read as one."""

    __slots__ = ()


def is_replaced(raw: str) -> bool:
    """Whether a text as written takes something from the environment."""
    return any(match[1] for match in _REFERENCE.finditer(raw))


def expanded(node: Node, environ: Mapping[str, str], problems: list[Problem]) -> Node:
    """The tree with every `${NAME}` in a text replaced, and `$${` by `${`. `raw` stays as written.

    The value of a variable is in no error.
    """
    if isinstance(node, MapNode):
        items = {key: expanded(item, environ, problems) for key, item in node.items.items()}
        return MapNode(node.place, items, node.keys)
    if isinstance(node, ListNode):
        return ListNode(node.place, tuple(expanded(item, environ, problems) for item in node.items))
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        return node
    text = expanded_text(node.value, node.place, environ, problems)
    return ScalarNode(node.place, Replaced(text) if is_replaced(node.raw) else text, node.raw)


def expanded_text(text: str, place: Place, environ: Mapping[str, str], problems: list[Problem]) -> str:
    """One text with every `${NAME}` replaced; what cannot be is left as it is and added to `problems`."""

    def value_of(match: re.Match[str]) -> str:
        name: str | None = match[1]
        if name is None:
            if match[0] == "${":
                problems.append(Problem(place, "found '${' without a name and '}'; write $${ for a literal ${"))
            return "${"
        value = environ.get(name)
        if value is None:
            problems.append(Problem(place, f"the environment variable {name} is not set; found ${{{name}}}"))
        elif not value.isprintable():
            text = f"the environment variable {name} holds control characters, or bytes that are not UTF-8"
            problems.append(Problem(place, text))
        else:
            return value
        return match[0]

    return _REFERENCE.sub(value_of, text)


def secrets_in(node: Node, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """A problem for every value of the tree, and every key, that is a secret written out."""
    if isinstance(node, MapNode):
        for key, item in node.items.items():
            if holds_secret(key):
                yield _secret(node.keys[key], (*path, key))
            yield from secrets_in(item, (*path, key))
    elif isinstance(node, ListNode):
        for item in node.items:
            yield from secrets_in(item, path)
    elif isinstance(node, ScalarNode) and isinstance(node.value, str):
        named = bool(path) and (is_secret_setting if path[:2] == ("spark", "conf") else is_secret_key)(path[-1])
        if (named and not all_from_environment(node.raw)) or holds_secret(node.raw):
            yield _secret(node.place, path)


def _secret(place: Place, path: tuple[str, ...]) -> Problem:
    text = "a secret must not stand in the configuration; "
    # For the state a variable in the URI would not do: no password is taken from there at all.
    text += "remove it" if path == ("state",) else "write ${NAME} and set that variable"
    return Problem(place, f"{'.'.join(shown_text(step) for step in path)}: {text}")
