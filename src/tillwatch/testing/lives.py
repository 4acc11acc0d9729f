"""For tests: what is to be detected, and what turns, given what holds after each chunk: said once more, over sets."""

from __future__ import annotations

from collections.abc import Sequence

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


class RowLife:
    """The detections of a pattern that is judged on every transaction, and their turns, row by row."""

    def __init__(self, pattern: Drawn) -> None:
        self._emit, self._shadow = pattern_life(pattern)
        self._cleared = tells_cleared(pattern)
        self._true: dict[Key, bool] = {}
        self._said: dict[Key, bool] = {}

    def after(self, judged: Sequence[tuple[Key, bool, int]]) -> tuple[list[int], list[tuple[Key, bool, bool, bool]]]:
        """The rows detected, and (key, holds, cleared, shadow) of the turns, sorted.

        Rows of a chunk in their order are given by key, whether the condition is true, and number. What the last
        detection of a key says of it is put right at the end of the chunk.
        """
        detected = []
        for key, true, number in judged:
            silent = {"once": key in self._said, "on_enter": self._true.get(key, False), "every_transaction": False}
            if true and not silent[self._emit]:
                detected.append(number)
                self._said[key] = True
            self._true[key] = true
        turned = sorted({key for key, *_ in judged if self._said.get(key, self._true[key]) != self._true[key]})
        self._said.update({key: self._true[key] for key in turned})
        turns = [(k, self._true[k], self._cleared and not self._true[k], self._shadow) for k in turned]
        return detected, turns

    @property
    def held(self) -> set[Key]:
        """The keys for whose last row the condition was true."""
        return {key for key, true in self._true.items() if true}
