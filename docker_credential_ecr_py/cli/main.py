"""ecr-py: the command a person types."""

import os
from importlib import import_module

import click

from docker_credential_ecr_py import __version__, paths
from docker_credential_ecr_py.log import start_log

# Where each command is: a module here, and its name there. Nothing is imported before it is run.
_COMMANDS = {
    "cache": "cache:cache",
    "completion": "completion:completion",
    "config": "config:config",
    "configure": "configure:configure",
    "daemon": "daemon:daemon",
    "doctor": "doctor:doctor",
    "explain": "explain:explain",
    "image": "image:image",
    "login": "login:login",
    "logout": "login:logout",
    "policy": "policy:policy",
    "repo": "repo:repo",
    "status": "status:status",
    "token": "token:token",
    "version": "version:show_version",
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
        if "_ECR_PY_COMPLETE" in os.environ:
            from docker_credential_ecr_py.cli.completion import teach

            teach(command, cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ecr-py")
def main() -> None:
    """Amazon ECR for docker, podman and skopeo, with nothing to type first."""
    start_log(paths.log_file(), os.environ)
