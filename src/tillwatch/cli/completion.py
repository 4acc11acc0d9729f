"""tillwatch completion."""

from __future__ import annotations

import click

from tillwatch.cli.command import Command

_WHERE = {
    "bash": 'Put this line into ~/.bashrc:  eval "$(tillwatch completion bash)"',
    "zsh": 'Put this line into ~/.zshrc, below compinit:  eval "$(tillwatch completion zsh)"',
    "fish": "Save this as ~/.config/fish/completions/tillwatch.fish",
}


@click.command(
    cls=Command,
    examples=[
        ('eval "$(tillwatch completion bash)"', "in this shell, now"),
        ("tillwatch completion fish > ~/.config/fish/completions/tillwatch.fish", "for good"),
    ],
)
@click.argument("shell", type=click.Choice(list(_WHERE)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Its last line says where to put it.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click knows the shells above
    program = context.find_root().command
    click.echo(kind(program, {}, "tillwatch", "_TILLWATCH_COMPLETE").source().strip())
    click.echo(f"\n# {_WHERE[shell]}")
