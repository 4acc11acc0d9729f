"""The program `tillwatch-job`: ingest or detect as a task of a Databricks job.

The parameters of a job are texts, so what is a flag elsewhere has a value here; and a task that calls `sys.exit`, even
with 0, is a failed one there, so this returns when it is done and raises when it is not.
"""

from __future__ import annotations

import os
import shlex
import sys

import click

from tillwatch.cli.app import app
from tillwatch.errors import RunError

VOLUME, STATE = "TILLWATCH_VOLUME", "TILLWATCH_STATE"
"""What the configuration finds of the job's parameters in the environment: `/Volumes/CATALOG/SCHEMA/VOLUME`, and the
URI of the state."""


@click.command()
@click.argument("mechanism", type=click.Choice(["ingest", "detect"]))
@click.option("--config", required=True, metavar="FILE", help="The configuration.")
@click.option("--catalog", required=True, help="Catalog of the volume.")
@click.option("--schema", required=True, help="Schema of the volume.")
@click.option("--volume", required=True, help="The volume in which everything is kept but the state.")
@click.option(
    "--state", required=True, metavar="URI", help="The state, such as postgresql://HOST/DATABASE?schema=NAME."
)
@click.option("--once", type=click.BOOL, default=False, metavar="true|false", help="Work off what is there, then end.")
@click.option("--overrides", default="", metavar="TEXT", help="KEY=VALUE, as for --set; several as in a shell.")
def job(
    mechanism: str, config: str, catalog: str, schema: str, volume: str, state: str, once: bool, overrides: str
) -> None:
    """Runs ingest (Mechanism X) or detect (Mechanism Y) by the parameters of a job."""
    os.environ[VOLUME] = f"/Volumes/{catalog}/{schema}/{volume}"
    os.environ[STATE] = state
    settings = [word for override in shlex.split(overrides) for word in ("--set", override)]
    try:
        app.main([mechanism, "-c", config, *(["--once"] if once else []), *settings])
    except SystemExit as ended:
        if ended.code:
            raise RunError(
                f"tillwatch {mechanism} ended with exit code {ended.code}; what was wrong is said above"
            ) from None


def main() -> None:
    """The entry point of the wheel task, with its parameters in `sys.argv`. Raises RunError, or UsageError."""
    job.main(sys.argv[1:], "tillwatch-job", standalone_mode=False)
