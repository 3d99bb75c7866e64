"""completion: what a shell must know to complete commands, options and runs."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from orchestrator.errors import Invalid

_VARIABLE = "_HOMERUN_COMPLETE"
_USE = {
    "bash": 'eval "$(homerun completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(homerun completion zsh)"   in ~/.zshrc, after compinit',
    "fish": "homerun completion fish > ~/.config/fish/completions/homerun.fish",
}


@click.command()
@click.argument("shell", required=False, type=click.Choice(list(_USE)))
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print the completion script of SHELL, or of the shell that you use.

    \b
    bash  eval "$(homerun completion bash)"   in ~/.bashrc
    zsh   eval "$(homerun completion zsh)"    in ~/.zshrc, after compinit
    fish  homerun completion fish > ~/.config/fish/completions/homerun.fish
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119 - a plain text
    kind = get_completion_class(name) if name in _USE else None
    if kind is None:
        known = ", ".join(_USE)
        raise Invalid(f"no completion for {name or 'an unknown shell'}", f"name one: {known}")
    root = ctx.find_root().command
    # source_template, not source(): the latter starts bash to ask for its version
    words = kind(root, {}, "homerun", _VARIABLE)
    click.echo(words.source_template % words.source_vars())
