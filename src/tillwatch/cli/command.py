"""A command with examples, and the program: commands in sections, errors as text and exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from tillwatch.cli.outcome import NobodyReads, exit_code

Example = tuple[str, str]
"""A command line and what it does."""


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                formatter.write_dl(self.examples, col_max=60)


class Program(click.Group):
    """The commands under their headings, in the order given."""

    def __init__(self, name: str, sections: Mapping[str, Sequence[click.Command]], **kwargs: Any) -> None:
        super().__init__(name, commands=[c for commands in sections.values() for c in commands], **kwargs)
        self.sections = {title: tuple(str(c.name) for c in commands) for title, commands in sections.items()}

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Runs the program and exits, whatever `standalone_mode`; its name is the same however it was called."""
        parse_and_run = super().main
        raise SystemExit(
            exit_code(lambda: parse_and_run(args, self.name, complete_var, standalone_mode=False, **extra))
        )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise NobodyReads from None  # click would make it exit code 1, which says that the run failed

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        for title, names in self.sections.items():
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(100)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)
