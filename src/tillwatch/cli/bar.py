"""A bar on stderr for work whose end is known: how far, how fast, how long still; elsewhere plain lines."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from tillwatch.cli.outcome import tell
from tillwatch.cli.signals import sigterm_unwinds
from tillwatch.cli.words import Ahead

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

LINE_SECONDS = 5.0
"""Between two plain lines, and before the first: short work says nothing."""


class Bar:
    """Is called with how much is done and how much there is in all; as a context it leaves the terminal clean.

    `doing` says what goes on, `noun` what is counted.
    """

    def __init__(self, doing: str, noun: str) -> None:
        self._doing, self._noun = doing, noun
        self._console = _terminal()
        self._live: Progress | None = None
        self._ahead = Ahead()
        self._next = time.monotonic() + LINE_SECONDS
        self._open = ExitStack()

    def __enter__(self) -> Bar:
        if self._console is not None:
            self._open.enter_context(sigterm_unwinds())
        self._open.callback(self.clear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._ahead.note(now, done)
        if self._console is not None:
            self._draw(done, total)
        elif now >= self._next:
            self._next = now + LINE_SECONDS
            tell(f"{self._doing}: {done:,} of {total:,} {self._noun}s, {self._ahead.text(total, self._noun)}")

    def tell(self, text: str) -> None:
        """Says something above the bar."""
        self.clear()
        tell(text)

    def clear(self) -> None:
        """Takes the bar away until there is something new."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, done: int, total: int) -> None:
        ahead = self._ahead.text(total, self._noun)
        live = self._live  # another thread may take it away, with a notice
        if live is None:
            self._live = live = self._new()
            live.add_task(self._doing, completed=done, total=total, ahead=ahead)
            live.start()  # an interrupt from here on finds it
        else:
            live.update(live.task_ids[0], completed=done, total=total, ahead=ahead)

    def _new(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[ahead]}", style="dim"),
        )
        return Progress(*columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False)


def _terminal() -> Console | None:
    """The terminal that stderr is, when it can show a bar."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return None if console.is_dumb_terminal else console
