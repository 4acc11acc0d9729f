"""Fields of a pattern's file, and its mistakes: all of them are told, in the order of the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from tillwatch.config.yaml import MapNode
from tillwatch.errors import PatternError

T = TypeVar("T", bound=str)


def choice_of(root: MapNode, key: str, known: Sequence[T]) -> T:
    """The value of a field that has few; the first one when it is not said. Raises PatternError."""
    node = root.items.get(key)
    found = known[0] if node is None else next((k for k in known if k == node.plain()), None)
    if found is None:
        assert node is not None
        raise PatternError(f"{node.place}: {key}: found {node.shown()}, expected one of {', '.join(map(str, known))}")
    return found


def flag(root: MapNode, key: str) -> bool:
    """A field that is true or false; false when it is not said. Raises PatternError."""
    node = root.items.get(key)
    value = False if node is None else node.plain()
    if not isinstance(value, bool):
        assert node is not None
        raise PatternError(f"{node.place}: {key}: found {node.shown()}, expected true or false")
    return value


class Told:
    """Mistakes of one file, kept so that the rest of it is looked at too: `with told:` keeps a PatternError."""

    def __init__(self, name: str) -> None:
        self._place = re.compile(re.escape(name) + r":([0-9]+)(?::([0-9]+))?")
        self._lines: list[str] = []

    def add(self, problem: str) -> None:
        """Keeps a mistake, or several, a line each."""
        self._lines += problem.splitlines()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        if isinstance(error, PatternError):
            self.add(str(error))
        return isinstance(error, PatternError)

    def raise_any(self) -> None:
        """Raises PatternError with all of them in the order of the file, if there are any."""
        if self._lines:
            raise PatternError("\n".join(sorted(dict.fromkeys(self._lines), key=self._order)))

    def _order(self, line: str) -> tuple[int, int]:
        place = self._place.match(line)
        return (int(place[1]), int(place[2] or 0)) if place else (0, 0)
