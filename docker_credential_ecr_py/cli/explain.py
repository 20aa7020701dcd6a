"""ecr-py explain: the walk of the selection. Asks nobody."""

import click

from docker_credential_ecr_py.broker import Broker
from docker_credential_ecr_py.cli.shown import failing_in_one_line


@click.command()
@click.argument("registry")
@click.option("--profile", default="", metavar="NAME", help="As if a command named this profile.")
@failing_in_one_line
def explain(registry: str, profile: str) -> None:
    """Whose credentials open REGISTRY, and why. Asks nobody."""
    selection = Broker(profile=profile).select(registry)
    for step in selection.steps:
        click.echo(f"{'->' if step.won else '  '} {step.rule:13}{step.saw}")
    identity = selection.identity
    click.echo(f"\nprofile   {selection.profile or '(none)'}")
    click.echo(f"identity  {identity.kind} {identity.name}".rstrip())
