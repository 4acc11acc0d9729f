"""Mistakes in texts of the language, and what may have been meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class ExpressionError(Exception):
    """The text is not an expression of the language. `start` is the offset in the text, if known.

    `others` are mistakes found with it.
    """

    def __init__(self, message: str, start: int | None = None, others: tuple[ExpressionError, ...] = ()) -> None:
        super().__init__(" ".join(message.splitlines()))  # what it quotes of the text may have line breaks
        self.start = start
        self.others = others


class UnknownThreshold(ExpressionError):
    """`:name` stands for nothing."""

    def __init__(self, name: str, thresholds: Iterable[str]) -> None:
        known = [f":{threshold}" for threshold in sorted(thresholds)]
        listed = ", ".join(known) or "none are declared"
        super().__init__(f"threshold ':{name}' is not declared under thresholds{meant(f':{name}', known)} ({listed})")
        self.name = name


def raise_all(problems: Sequence[ExpressionError]) -> None:
    """Raises the first of the problems, with the others, if there are any."""
    if problems:
        raise ExpressionError(str(problems[0]), problems[0].start, tuple(problems[1:]))


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? ` for the nearest known word, else nothing.

    >>> near("mercant", ["merchant", "customer"]), near("zone", ["merchant"])
    ("did you mean 'merchant'? ", '')
    """
    from difflib import get_close_matches  # only a mistake pays for this import

    lower = {k.lower(): k for k in known}
    close = get_close_matches(word.lower()[:100], lower, n=1)
    return f"did you mean '{lower[close[0]]}'? " if close else ""


def meant(word: str, known: Iterable[str]) -> str:
    """The same, to be put behind what is said."""
    hint = near(word, known)
    return f"; {hint.rstrip()}" if hint else ""
