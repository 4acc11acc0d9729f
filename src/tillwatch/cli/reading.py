"""How far the log is read, on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import click

REDRAW_SECONDS = 0.1


class Reading:
    """A line on stderr that is redrawn; nothing where stderr is no terminal. As a context it takes the line away."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._next = 0.0

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._is_terminal and now >= self._next:
            self._next = now + REDRAW_SECONDS
            click.echo(f"\r     reading chunk {done:,} of {total:,} …", err=True, nl=False)

    def clear(self) -> None:
        """Takes the line away."""
        if self._is_terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
