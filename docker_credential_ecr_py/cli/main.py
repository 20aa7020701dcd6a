"""ecr-py: the command a person types."""

import os
from importlib import import_module
from importlib.metadata import version

import click

from docker_credential_ecr_py import paths
from docker_credential_ecr_py.log import start_log

_NAME = "docker-credential-ecr-py"
# Where each command is: a module here, and its name there. Nothing is imported before it is run.
_COMMANDS = {
    "cache": "cache:cache",
    "config": "config:config",
    "configure": "configure:configure",
    "explain": "explain:explain",
    "login": "login:login",
    "logout": "login:logout",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(
            import_module(f"docker_credential_ecr_py.cli.{module}"), name
        )
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(_NAME), prog_name="ecr-py")
def main() -> None:
    """Amazon ECR for docker, podman and skopeo, with nothing to type first."""
    start_log(paths.log_file(), os.environ)
