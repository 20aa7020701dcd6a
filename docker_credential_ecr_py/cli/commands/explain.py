"""ecr-py explain: shows how the identity for a registry is selected. Works offline."""

from contextlib import suppress

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.completions import PROFILES, REGIONS, REGISTRIES
from docker_credential_ecr_py.cli.output import (
    command,
    json_option,
    show_folded,
    show_json,
)
from docker_credential_ecr_py.cli.registry_state import choices
from docker_credential_ecr_py.cli.targets import TargetOptions, resolve_target
from docker_credential_ecr_py.errors import BadInput, EcrPyError, assign_command
from docker_credential_ecr_py.registry import Registry, host_of, is_registry
from docker_credential_ecr_py.selection import Identity


@command()
@click.argument("registry", metavar="REGISTRY", shell_complete=REGISTRIES)
@click.option(
    "--profile",
    default="",
    metavar="NAME",
    shell_complete=PROFILES,
    help="Explain it for a command with this profile.",
)
@click.option(
    "--region",
    default="",
    metavar="REGION",
    shell_complete=REGIONS,
    help="The region, if REGISTRY is an account or a profile.",
)
@json_option
def explain(registry: str, profile: str, region: str, as_json: bool) -> None:
    """Show whose credentials are used for REGISTRY, and why.

    Works offline: reads local files only.

    \b
    ecr-py explain 642976147714.dkr.ecr.eu-west-1.amazonaws.com
    ecr-py explain 642976147714      the same, by its account
    """
    if not registry:
        raise BadInput("the registry is empty: is a variable unset?")
    app = App(profile=profile)
    if region or not is_registry(registry):
        target = resolve_target(app, TargetOptions(registry, profile, region))
        registry = target.host
        if target.profile != _profile_by_rules(app, registry):
            app = app.with_profile(target.profile or profile)
    selection = app.select(registry)
    asked = calls(selection.identity, app.settings.registry_for(host_of(registry)))
    if as_json:
        show_json(
            {
                "registry": host_of(registry),
                "steps": [vars(step) for step in selection.steps],
                "profile": selection.profile or None,
                "identity": {"kind": selection.identity.kind, "name": selection.identity.name},
                "calls": asked,
            }
        )
        return
    for step in selection.steps:
        show_folded(f"{'->' if step.won else '  '} {step.rule:13}{step.saw}", indent=16)
    identity = selection.identity
    click.echo(f"\nprofile   {selection.profile or '(none)'}")
    click.echo(f"identity  {identity.kind} {identity.name}".rstrip())
    show_folded(f"calls     {', then '.join(asked)}", indent=10)
    place = app.settings.registry_for(host_of(registry))
    for line in choices([(place, selection)]):
        show_folded(f"choice    {line}", indent=10)
    by_rules = _profile_by_rules(app, registry)
    if selection.rule == "command line" and by_rules != selection.profile and not place.public:
        uses = f"profile {by_rules}" if by_rules else "no profile"
        command = assign_command(place.account, selection.profile)
        show_folded(f"docker    uses {uses}: `{command}` changes that", indent=10)


def _profile_by_rules(app: App, registry: str) -> str:
    """Return the profile that docker uses for a registry; "" if it uses none."""
    with suppress(EcrPyError):
        return app.with_profile("").select(registry).profile
    return ""


def calls(identity: Identity, registry: Registry) -> list[str]:
    """Return the calls that get a credential if none is cached, in their order."""
    service = "ECR Public" if registry.public else "ECR"
    before = {
        "role": "AssumeRole of STS",
        "web-identity": "AssumeRoleWithWebIdentity of STS",
        "process": "the profile's credential_process",
        "login": "the credentials of `aws login`",
        "container": "the container's credentials",
        "instance": "the metadata of this EC2 instance",
    }
    found = []
    if identity.sso is not None:
        found.append(f"GetRoleCredentials of the SSO portal in {identity.sso.region}")
    if identity.kind in before:
        found.append(before[identity.kind])
    return [*found, f"GetAuthorizationToken of {service} in {registry.region}"]
