"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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


def opened(config: Path, overrides: tuple[str, ...]) -> Pipeline:
    """The pipeline that these options name. Raises ConfigError."""
    from tillwatch.pipeline import Pipeline

    return Pipeline.open(config, overrides)


def looked_at(config: Path, overrides: tuple[str, ...]) -> Pipeline:
    """The same for a command that only looks: broken patterns do not keep it from that. Raises ConfigError."""
    from tillwatch.pipeline import Pipeline

    return Pipeline.look(config, overrides)
