"""What a command shows, shown again and again: in place on a terminal, else block after block, until a signal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import click

from tillwatch.cli.signals import stop_on_signal


def watch(look: Callable[[], Sequence[str]], every: float, *, in_place: bool) -> None:
    """Shows the lines that `look` gives, every so many seconds, until SIGINT or SIGTERM.

    What is not for `in_place`, lines for programs, is printed one after the other on a terminal too.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal(lambda text: None))
        if in_place:
            show = _in_place(stack) if sys.stdout.isatty() else _one_after_the_other("\n")
        else:
            show = _one_after_the_other("")
        while True:
            show(look())
            if stop.wait(every):
                return


def _one_after_the_other(between: str) -> Callable[[Sequence[str]], None]:
    shown = False

    def show(lines: Sequence[str]) -> None:
        nonlocal shown
        click.echo((between if shown else "") + "\n".join(lines))
        shown = True
        sys.stdout.flush()

    return show


def _in_place(stack: ExitStack) -> Callable[[Sequence[str]], None]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    if console.is_dumb_terminal:
        return _one_after_the_other("\n")
    live = stack.enter_context(Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False))

    def show(lines: Sequence[str]) -> None:
        live.update(Text("\n").join(map(Text.from_ansi, lines)), refresh=True)

    return show
