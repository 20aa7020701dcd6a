"""ecr-py: says which version this is, and whose credentials open a registry."""

from importlib.metadata import version

import click

from docker_credential_ecr_py.broker import Broker
from docker_credential_ecr_py.errors import EcrPyError

_NAME = "docker-credential-ecr-py"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(_NAME), prog_name="ecr-py")
def main() -> None:
    """Amazon ECR for docker, podman and skopeo, with nothing to type first."""


@main.command()
@click.argument("registry")
def explain(registry: str) -> None:
    """Whose credentials open REGISTRY, and why. Asks nobody."""
    try:
        selection = Broker().select(registry)
    except EcrPyError as error:
        raise click.ClickException(str(error).removeprefix("ecr-py: ")) from None
    for step in selection.steps:
        click.echo(f"{'->' if step.won else '  '} {step.rule:12}{step.saw}")
    identity = selection.identity
    click.echo(f"\nprofile   {selection.profile or '(none)'}")
    click.echo(f"identity  {identity.kind} {identity.name}".rstrip())
