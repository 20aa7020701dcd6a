"""ecr-py explain: shows how the identity for a registry is selected. Works offline."""

from contextlib import suppress
from typing import Any

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.completions import PROFILES, REGIONS, REGISTRIES
from docker_credential_ecr_py.cli.output import (
    FAILED,
    command,
    json_option,
    show_folded,
    show_json,
)
from docker_credential_ecr_py.cli.registry_state import all_registries, choices, read_files
from docker_credential_ecr_py.cli.targets import TargetOptions, no_registry, resolve_target
from docker_credential_ecr_py.errors import EcrPyError, assign_command
from docker_credential_ecr_py.registry import Registry, host_of, is_registry
from docker_credential_ecr_py.selection import Identity, Selection


@command()
@click.argument("registry", default="", metavar="[REGISTRY]", shell_complete=REGISTRIES)
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
    """Show whose credentials are used for REGISTRY, and why; by default, for each registry.

    Works offline: reads local files only.

    \b
    ecr-py explain                   every registry of the AWS config, the settings and docker's
    ecr-py explain 642976147714.dkr.ecr.eu-west-1.amazonaws.com
    ecr-py explain 642976147714      the same, by its account
    """
    app = App(profile=profile)
    if registry:
        app, host = _resolved(app, registry, profile, region)
        selection = app.select(host)
        if as_json:
            show_json(_as_json(app, host, selection))
        else:
            _show(app, host, selection)
    elif region:
        raise click.UsageError("--region needs REGISTRY")
    else:
        _explain_all(app, as_json=as_json)


def _resolved(app: App, name: str, profile: str, region: str) -> tuple[App, str]:
    """Return the registry that a name stands for, with an App for the profile that it names."""
    if not region and is_registry(name):
        return app, name
    target = resolve_target(app, TargetOptions(name, profile, region))
    if target.profile != _profile_by_rules(app, target.host):
        app = app.with_profile(target.profile or profile)
    return app, target.host


def _explain_all(app: App, *, as_json: bool) -> None:
    """Explain each registry; exit with 1 if no identity is found for one of them."""
    files = read_files(app)
    if error := files.failures.get("aws"):
        raise error
    hosts = list(all_registries(app, files))
    if not hosts:
        raise no_registry(app.aws_config)
    documents: list[dict[str, Any]] = []
    failed = False
    for host in hosts:
        try:
            selection = app.select(host)
        except EcrPyError as error:
            failed = True
            documents.append({"registry": host, "error": str(error)})
            if not as_json:
                show_folded(f"{host}\n   {error}\n", indent=3)
            continue
        documents.append(_as_json(app, host, selection))
        if not as_json:
            click.echo(host)
            _show(app, host, selection)
            click.echo()
    if as_json:
        show_json(documents)
    if failed:
        raise SystemExit(FAILED)


def _as_json(app: App, host: str, selection: Selection) -> dict[str, Any]:
    return {
        "registry": host_of(host),
        "steps": [vars(step) for step in selection.steps],
        "profile": selection.profile or None,
        "identity": {"kind": selection.identity.kind, "name": selection.identity.name},
        "calls": calls(selection.identity, app.settings.registry_for(host_of(host))),
    }


def _show(app: App, host: str, selection: Selection) -> None:
    for step in selection.steps:
        show_folded(f"{'->' if step.won else '  '} {step.rule:13}{step.saw}", indent=16)
    identity, place = selection.identity, app.settings.registry_for(host_of(host))
    click.echo(f"\nprofile   {selection.profile or '(none)'}")
    show_folded(f"identity  {identity.kind} {identity.name}".rstrip(), indent=10)
    show_folded(f"calls     {', then '.join(calls(identity, place))}", indent=10)
    for line in choices([(place, selection)]):
        show_folded(f"choice    {line}", indent=10)
    by_rules = _profile_by_rules(app, host)
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
