"""whimbrel completion"""

from __future__ import annotations

import click

from whimbrel.cli import output


@click.command("completion", short_help="Write the script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Write the script that completes whimbrel's commands and options in SHELL.

    \b
    Examples:
      whimbrel completion bash > ~/.local/share/bash-completion/completions/whimbrel
      whimbrel completion zsh > "${fpath[1]}/_whimbrel"
      whimbrel completion fish > ~/.config/fish/completions/whimbrel.fish
    """
    from click.shell_completion import get_completion_class

    from whimbrel.cli import group

    kind = get_completion_class(shell)
    assert kind is not None
    output.say(kind(group, {}, "whimbrel", "_WHIMBREL_COMPLETE").source())
