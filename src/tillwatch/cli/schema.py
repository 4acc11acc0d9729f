"""tillwatch schema."""

from __future__ import annotations

import json

import click

from tillwatch.cli.command import Command


@click.command(
    cls=Command,
    examples=[
        ("tillwatch schema > tillwatch.schema.json", "of tillwatch.yaml"),
        ("tillwatch schema pattern > pattern.schema.json", "of pattern files"),
    ],
)
@click.argument("kind", metavar="[config|pattern]", type=click.Choice(["config", "pattern"]), default="config")
def schema(kind: str) -> None:
    """Print the JSON Schema of the configuration, or of pattern files.

    Editors complete and check YAML by it: begin the file with the line
    `# yaml-language-server: $schema=./tillwatch.schema.json`.
    """
    from tillwatch.config.schema import config_schema
    from tillwatch.patterns.fields import pattern_schema

    click.echo(json.dumps(config_schema() if kind == "config" else pattern_schema(), indent=2))
