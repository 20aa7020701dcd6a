"""ecr-py: the command a person types."""

import os
from importlib.metadata import version

import click

from docker_credential_ecr_py import paths
from docker_credential_ecr_py.broker import Broker
from docker_credential_ecr_py.cli.login import login, logout
from docker_credential_ecr_py.cli.shown import failing_in_one_line
from docker_credential_ecr_py.log import start_log

_NAME = "docker-credential-ecr-py"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(_NAME), prog_name="ecr-py")
def main() -> None:
    """Amazon ECR for docker, podman and skopeo, with nothing to type first."""
    start_log(paths.log_file(), os.environ)


@main.command()
@click.argument("registry")
@failing_in_one_line
def explain(registry: str) -> None:
    """Whose credentials open REGISTRY, and why. Asks nobody."""
    selection = Broker().select(registry)
    for step in selection.steps:
        click.echo(f"{'->' if step.won else '  '} {step.rule:12}{step.saw}")
    identity = selection.identity
    click.echo(f"\nprofile   {selection.profile or '(none)'}")
    click.echo(f"identity  {identity.kind} {identity.name}".rstrip())


main.add_command(login)
main.add_command(logout)
