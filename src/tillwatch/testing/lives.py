"""For tests: what is to be detected, and what turns, given what holds after each chunk: said once more, over sets."""

from __future__ import annotations

from tillwatch.testing.folding import Key
from tillwatch.testing.terms import Drawn


def pattern_life(pattern: Drawn) -> tuple[str, bool]:
    """When its keys are detected, and whether it is in the shadow."""
    return str(pattern.life.get("emit", "once")), pattern.life.get("mode") == "shadow"


def tells_cleared(pattern: Drawn) -> bool:
    """Whether it is published when a detection ceases to hold."""
    return bool(pattern.life.get("cleared")) and not pattern_life(pattern)[1]


class Life:
    """The detections of a pattern that is judged after every chunk, and their turns."""

    def __init__(self, pattern: Drawn) -> None:
        self._emit, self._shadow = pattern_life(pattern)
        self._cleared = tells_cleared(pattern)
        self._held: set[Key] = set()
        self._seen: set[Key] = set()

    def after(self, held: set[Key]) -> tuple[set[Key], list[tuple[Key, bool, bool, bool]]]:
        """The keys detected, and (key, holds, cleared, shadow) of the turns."""
        silent = {"once": self._seen, "on_enter": self._held, "every_chunk": set[Key]()}[self._emit]
        again = (held - self._held) & silent
        turns = [(key, False, self._cleared, self._shadow) for key in self._held - held]
        turns += [(key, True, False, self._shadow) for key in again]
        detected = held - silent
        self._held, self._seen = held, self._seen | held
        return detected, turns
