"""The command line reference, written from the commands."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click

from tillwatch.cli.app import app
from tillwatch.cli.command import Command

_INTRO = """\
# Command line

*This page is written from the code by `tillwatch.cli.reference`; edit there, not here.*

What was asked for goes to stdout: detections, and the answers of `check`, `status` and `audit`. Everything else,
progress, notices and errors, goes to stderr: a live display on a terminal, else a plain line every five seconds in
which something was done, and one at the end. Where the end of the work is known, as with `--once`, a bar shows how much
of it is done and how long the rest takes; it is gone when the work is.

| exit code | meaning |
|---|---|
| 0 | done, also when a signal asked to stop |
| 1 | the run failed, or `audit` found problems |
| 2 | the call or the configuration is wrong; nothing was run |
| 130 | ended at once by Ctrl-C, the second one for `run`, `ingest` and `detect` |
| 141 | nobody reads the output any more, as with `\\| head` |
| 143 | ended by SIGTERM |

`run`, `ingest` and `detect` stop cleanly on the first SIGINT (Ctrl-C) or SIGTERM: the chunk in hand is finished, its
detections are published. A SIGINT after that ends them at once; that is safe too, the next run goes on from the last
commit.
"""


def reference_markdown() -> str:
    """The whole reference page as Markdown, the same for the same commands."""
    return "\n".join([_INTRO, *_overview(), *_commands()]).rstrip("\n") + "\n"


def _overview() -> Iterator[str]:
    yield "| | command | what it does |\n|---|---|---|"
    for title, names in app.sections.items():
        for name in names:
            yield f"| {title} | [`{name}`](#tillwatch-{name}) | {app.commands[name].get_short_help_str(200)} |"
            title = ""
    yield ""


def _commands() -> Iterator[str]:
    root = click.Context(app, info_name="tillwatch")
    for name in app.list_commands(root):
        command = app.commands[name]
        assert isinstance(command, Command)  # all of them are
        yield from _page(command, click.Context(command, root, info_name=name))


def _page(command: Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n"
    yield f"{cleandoc(command.help or '')}\n"
    width = max(len(line) for line, _ in command.examples)
    yield "```sh"
    yield from (f"{line.ljust(width)}  # {what}" for line, what in command.examples)
    yield "```\n"
    yield f"`{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`\n"
    records = (option.get_help_record(context) for option in command.get_params(context))
    yield "| option | meaning |\n|---|---|"
    yield from (f"| `{_cell(name)}` | {_cell(text)} |" for name, text in filter(None, records) if text)
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
