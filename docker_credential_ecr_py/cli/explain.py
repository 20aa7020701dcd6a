"""ecr-py explain: the walk of the selection. Asks nobody."""

import click

from docker_credential_ecr_py.broker import Broker
from docker_credential_ecr_py.cli.registries import meant
from docker_credential_ecr_py.cli.shown import failing_in_one_line, show_folded
from docker_credential_ecr_py.errors import BadServerURL, NotEcr
from docker_credential_ecr_py.registry import Registry


@click.command()
@click.argument("registry", metavar="REGISTRY")
@click.option("--profile", default="", metavar="NAME", help="As if a command named this profile.")
@failing_in_one_line
def explain(registry: str, profile: str) -> None:
    """Whose credentials open REGISTRY, and why. Asks nobody.

    \b
    ecr-py explain 642976147714.dkr.ecr.eu-west-1.amazonaws.com
    ecr-py explain 642976147714      the same, by its account
    """
    try:
        Registry.parse(registry)
    except (NotEcr, BadServerURL):
        registry = meant(Broker(), registry, profile=profile).host
    selection = Broker(profile=profile).select(registry)
    for step in selection.steps:
        show_folded(f"{'->' if step.won else '  '} {step.rule:13}{step.saw}", indent=16)
    identity = selection.identity
    click.echo(f"\nprofile   {selection.profile or '(none)'}")
    click.echo(f"identity  {identity.kind} {identity.name}".rstrip())
