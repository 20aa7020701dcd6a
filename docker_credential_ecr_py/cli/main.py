"""The command `ecr-py` itself: the group that all commands belong to."""

import os
from importlib import import_module
from typing import Any

import click

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.cli.completions import VARIABLE, start_completing
from docker_credential_ecr_py.cli.output import Group, report_errors
from docker_credential_ecr_py.cli.streams import printable_output
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.environment import prepared_for_libraries
from docker_credential_ecr_py.log import start_log

# Where each command is: a module here, and its name there. Nothing is imported before it is run.
# In the order in which users need them.
_COMMANDS = {
    "login": "login:login",
    "logout": "login:logout",
    "configure": "configure:configure",
    "status": "status:status",
    "doctor": "doctor:doctor",
    "explain": "explain:explain",
    "token": "token:token",
    "repo": "repo:repo",
    "image": "image:image",
    "policy": "policy:policy",
    "kubelet": "kubelet:kubelet",
    "daemon": "daemon:daemon",
    "forward": "forward:forward",
    "ssh": "ssh:ssh",
    "controller": "controller:controller",
    "cache": "cache:cache",
    "key": "key:key",
    "config": "config:config",
    "completion": "completion:completion",
    "version": "version:show_version",
    "uninstall": "uninstall:uninstall",
}


class _Commands(Group):
    @prepared_for_libraries()
    def main(self, *args: Any, **kwargs: Any) -> Any:
        if VARIABLE in os.environ:
            start_completing()
            self.get_command(click.Context(self), "completion")  # click learns PowerShell's there
        with printable_output():
            return super().main(*args, **kwargs)

    # Errors are reported before a command runs, too: while it is imported, or help is shown.

    @report_errors
    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        return super().make_context(info_name, args, parent, **extra)

    @report_errors
    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(
            import_module(f"docker_credential_ecr_py.cli.commands.{module}"), name
        )
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ecr-py")
def main() -> None:
    """Amazon ECR for docker, podman and skopeo, with nothing to type first.

    \b
    ecr-py login --start-url https://example.awsapps.com/start --sso-region eu-west-1
                        add your accounts to ~/.aws/config (once)
    ecr-py configure    set up docker to use ecr-py (once)
    ecr-py status       show tokens and sessions, and how long they last
    ecr-py doctor       diagnose problems and suggest fixes
    ecr-py repo ls dev  list the repositories of profile dev's registry
    """
    start_log(paths.log_file(), os.environ)
