"""ecr-py completion: prints the completion script for a shell."""

import os
from collections.abc import Mapping

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from docker_credential_ecr_py.cli.completions import VARIABLE
from docker_credential_ecr_py.cli.output import command


@add_completion_class
class PowerShellComplete(ShellComplete):
    """Completion in PowerShell 5 and newer, on any system; click has none.

    The script passes on the words before the cursor, a line each, and the one that is typed.
    https://learn.microsoft.com/powershell/module/microsoft.powershell.core/register-argumentcompleter
    """

    name = "powershell"
    source_template = """\
Register-ArgumentCompleter -Native -CommandName '%(prog_name)s', '%(prog_name)s.exe' -ScriptBlock {
    param($typed, $command, $cursor)
    $before = $command.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursor }
    $env:%(complete_var)s = 'powershell_complete'
    $env:COMP_WORDS = $before -join "`n"
    $env:COMP_TYPED = $typed
    try {
        %(prog_name)s | ForEach-Object {
            $value, $help = $_ -split "`t", 2
            [System.Management.Automation.CompletionResult]::new(
                $value, $value, 'ParameterValue', $help
            )
        }
    } finally {
        $env:%(complete_var)s = $env:COMP_WORDS = $env:COMP_TYPED = $null
    }
}
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = os.environ.get("COMP_WORDS", "").split("\n")
        return words[1:], os.environ.get("COMP_TYPED", "")

    def format_completion(self, item: CompletionItem) -> str:
        # A suggestion needs a help text there, or it is an error.
        return f"{item.value}\t{item.help or item.value}"


_SHELLS: Mapping[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
    "powershell": PowerShellComplete,
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
    ecr-py completion powershell | Out-String | Invoke-Expression    in $PROFILE
    """
    made = _SHELLS[shell](context.find_root().command, {}, "ecr-py", VARIABLE)
    click.echo(made.source(), nl=False)
