"""ecr-py completion: prints the completion script for a shell."""

from collections.abc import Mapping

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from docker_credential_ecr_py.cli.completions import VARIABLE
from docker_credential_ecr_py.cli.output import command

_SHELLS: Mapping[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


@command(short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, profiles, registries and repositories.

    \b
    eval "$(ecr-py completion bash)"          in ~/.bashrc
    eval "$(ecr-py completion zsh)"           in ~/.zshrc, after compinit
    ecr-py completion fish > ~/.config/fish/completions/ecr-py.fish
    """
    made = _SHELLS[shell](context.find_root().command, {}, "ecr-py", VARIABLE)
    click.echo(made.source(), nl=False)
