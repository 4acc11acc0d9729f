"""From what a call came to, to the text on stderr and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper

import click

from tillwatch.errors import TillwatchError

FAILED = 1
WRONG_CALL = 2
INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141
"""What a shell says of a program that wrote to a pipe nobody reads any more."""


class NobodyReads(Exception):
    """The pipe that output goes to is closed, as by `| head`: a reason to end, no failure."""


def tell(text: str) -> None:
    """Says something to the person, on stderr."""
    click.echo(f"tillwatch: {text}", err=True)


def exit_code(program: Callable[[], int | None]) -> int:
    """Runs the program; says what went wrong, if anything, and returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    try:
        code = program() or 0
        sys.stdout.flush()
    except (NobodyReads, BrokenPipeError):
        _let_go_of_output()
        return PIPE_CLOSED
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return _usage(error)
    except TillwatchError as error:
        tell(str(error))
        return error.exit_code
    except OSError as error:
        tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return FAILED
    except Exception:  # noqa: BLE001 - the last place where it can be told
        return _defect()
    return code


def _usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return WRONG_CALL
    tell(error.format_message())
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"See '{context.command_path} --help'.", err=True)
    return WRONG_CALL


def _defect() -> int:
    import traceback

    from tillwatch.config import masked

    tell("this is a defect in tillwatch, not in what you did. Please report it with all of this:")
    click.echo(masked(traceback.format_exc()), err=True, nl=False)
    return FAILED


def _let_go_of_output() -> None:
    """Nobody reads: what is still buffered must not fail again when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
