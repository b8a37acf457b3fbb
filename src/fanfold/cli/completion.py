"""`fanfold completion`: what a shell reads to complete the verbs."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_FANFOLD_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Write what SHELL reads to complete the verbs of fanfold.

    For bash: fanfold completion bash >> ~/.bashrc
    """
    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None, "the choice names shells that click knows"
    click.echo(kind(root.command, {}, "fanfold", _VARIABLE).source())
