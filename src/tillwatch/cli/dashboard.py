"""tillwatch dashboard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, looked_at
from tillwatch.cli.outcome import tell
from tillwatch.cli.signals import stop_on_signal

if TYPE_CHECKING:
    from tillwatch.pipeline import Pipeline

F = TypeVar("F", bound=Callable[..., Any])

TOKEN = "TILLWATCH_DASHBOARD_TOKEN"

_options = (
    click.option("--host", metavar="ADDRESS", help="Listen on this address instead of dashboard.host."),
    click.option(
        "--port", metavar="N", type=click.IntRange(0, 65_535), help="Listen on this port instead of dashboard.port."
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"Who looks must know the token in this file; or that in {TOKEN}.",
    ),
)


def address(command: F) -> F:
    """Gives a command `host`, `port` and `token_file`."""
    for option in reversed(_options):
        command = option(command)
    return command


@click.command(
    cls=Command,
    examples=[
        ("tillwatch dashboard", "look at http://127.0.0.1:8780/"),
        ("tillwatch dashboard -c bank.yaml --port 9000", "of another pipeline"),
        ("tillwatch dashboard --host 0.0.0.0 --token-file token", "for others, who know the token"),
    ],
)
@configured
@address
def dashboard(
    config: Path, overrides: tuple[str, ...], host: str | None, port: int | None, token_file: Path | None
) -> None:
    """Serve web pages that show the pipeline, live.

    Reads the state alone and writes nothing, so it also shows a pipeline that another process or machine runs. Goes on
    until Ctrl-C or SIGTERM. Needs the extra 'dashboard'.
    """
    notices = deque[str]()
    with stop_on_signal(notices.append) as stop, serving(looked_at(config, overrides), host, port, token_file):
        stop.wait()


@contextmanager
def serving(pipeline: Pipeline, host: str | None, port: int | None, token_file: Path | None) -> Iterator[None]:
    """Serves the dashboard while it is open, and says where."""
    from tillwatch.dashboard.server import Served, served

    opened: AbstractContextManager[Served] = served(pipeline, host, port, token_of(token_file))
    with opened as at:
        tell(f"dashboard at {at.url}")
        yield


def token_of(file: Path | None) -> str:
    """The token that who looks must know, empty for none. Raises ConfigError when the file has none."""
    import os

    from tillwatch.config.mounted import secret_of
    from tillwatch.errors import ConfigError, PublishError

    if file is None and not os.environ.get(TOKEN):
        return ""
    try:
        return secret_of(None, str(file))() if file else secret_of(TOKEN, None)().strip()
    except PublishError as error:
        raise ConfigError(f"--token-file: {error}") from None
