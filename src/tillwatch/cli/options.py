"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from tillwatch.pipeline import Pipeline

F = TypeVar("F", bound=Callable[..., Any])

_config = click.option(
    "-c",
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    default="tillwatch.yaml",
    show_default=True,
    help="The configuration.",
)
_overrides = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set one dotted key over the file's, such as source.rows=500. May be repeated.",
)
once = click.option("--once", is_flag=True, help="Work off what is there at full speed, then end.")


def configured(command: F) -> F:
    """Gives a command `config` and `overrides`."""
    return _config(_overrides(command))


_log_format = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="The format of the log; without a file, the log goes to stderr instead of the progress. Sets logs.format.",
)
_log_level = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Leave out of the log what is less than that. Sets logs.level.",
)
_log_file = click.option(
    "--log-file", metavar="PATH", type=click.Path(dir_okay=False), help="Write a log to this file. Sets logs.file."
)
_metrics = click.option(
    "--metrics",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    help="Serve metrics to Prometheus at this port of 127.0.0.1; 0 is any that is free. Sets metrics.listen.",
)


def watched(command: F) -> F:
    """Gives a command options for its log and metrics, which come to it as `overrides`."""

    @wraps(command)
    def called(
        *,
        overrides: tuple[str, ...],
        log_format: str | None,
        log_level: str | None,
        log_file: str | None,
        metrics: int | None,
        **others: Any,
    ) -> Any:
        listen = None if metrics is None else f"127.0.0.1:{metrics}"
        said = {"logs.format": log_format, "logs.level": log_level, "logs.file": log_file, "metrics.listen": listen}
        more = (f"{key}={_quoted(value)}" for key, value in said.items() if value is not None)
        return command(overrides=(*overrides, *more), **others)

    return cast(F, _log_format(_log_level(_log_file(_metrics(called)))))


def _quoted(text: str) -> str:
    """A text as YAML, with nothing in it that is replaced from the environment."""
    return json.dumps(text.replace("${", "$${"))


def opened(config: Path, overrides: tuple[str, ...]) -> Pipeline:
    """The pipeline that these options name. Raises ConfigError."""
    from tillwatch.pipeline import Pipeline

    return Pipeline.open(config, overrides)


def looked_at(config: Path, overrides: tuple[str, ...]) -> Pipeline:
    """The same for a command that only looks: broken patterns do not keep it from that. Raises ConfigError."""
    from tillwatch.pipeline import Pipeline

    return Pipeline.look(config, overrides)
