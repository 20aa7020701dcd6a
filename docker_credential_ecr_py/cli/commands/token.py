"""ecr-py token: prints the credential for a registry in the format of another program."""

import sys
import time
from dataclasses import replace

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli import token_formats
from docker_credential_ecr_py.cli.completions import PROFILES, REGIONS, REGISTRIES
from docker_credential_ecr_py.cli.output import command, is_terminal
from docker_credential_ecr_py.cli.targets import TargetOptions, resolve_target
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import CredentialsNotFound, EcrPyError
from docker_credential_ecr_py.registry import Registry

_FORMATS = (*token_formats.SIMPLE, "kubernetes-secret", "env")


@command()
@click.argument("registry", required=False, shell_complete=REGISTRIES)
@click.option(
    "--format",
    "wanted",
    type=click.Choice(_FORMATS),
    metavar="FORMAT",
    help=f"The output format: {', '.join(_FORMATS)}. The default is the password alone.",
)
@click.option(
    "--for",
    "tool",
    type=click.Choice(token_formats.TOOLS),
    help="With env: the program that reads it.",
)
@click.option("--export", is_flag=True, help="With env: quoted, for bash, zsh or fish to evaluate.")
@click.option("--name", metavar="NAME", help="With kubernetes-secret: its name.")
@click.option("--namespace", metavar="NAME", help="With kubernetes-secret: its namespace.")
@click.option(
    "--profile",
    metavar="NAME",
    shell_complete=PROFILES,
    help="The profile to use, instead of the selected one.",
)
@click.option(
    "--region",
    metavar="REGION",
    shell_complete=REGIONS,
    help="The region, instead of the profile's.",
)
def token(
    registry: str | None,
    wanted: str | None,
    tool: str | None,
    export: bool,
    name: str | None,
    namespace: str | None,
    profile: str | None,
    region: str | None,
) -> None:
    """Print the credential for a registry, for other programs than docker.

    \b
    ecr-py token dev              the password, as `aws ecr get-login-password`
    ecr-py token dev --format header | curl -H @- https://HOST/v2/NAME/tags/list
    ecr-py token dev --format kubernetes-secret | kubectl apply -f -
    eval "$(ecr-py token dev --for apptainer --export)"
                                  bash and zsh; in fish: ... | source

    REGISTRY is a host, an alias, a profile or an account; the default is the only one.
    The credential comes from the cache or from AWS, with a login if needed.
    """
    form = wanted or ("env" if tool else "password")
    if (form == "env") != (tool is not None):
        raise click.UsageError(
            f"--format env and --for {'|'.join(token_formats.TOOLS)} go together"
        )
    if export and form != "env":
        raise click.UsageError("--export needs --format env")
    if (name or namespace) and form != "kubernetes-secret":
        raise click.UsageError("--name and --namespace need --format kubernetes-secret")
    token_formats.check_kubernetes_names(name or "", namespace or "")
    app = App()
    found = resolve_target(app, TargetOptions(registry or "", profile or "", region or ""))
    app = app.with_profile(found.profile)
    asked = replace(found.registry, host=found.host)
    credential = _credential(app, asked)
    if form == "kubernetes-secret":
        shown = token_formats.kubernetes_secret(
            credential, asked, name=name or "", namespace=namespace or ""
        )
    elif tool is not None:
        by = app.select(asked.host).profile
        variables = token_formats.environment(credential, asked, tool=tool, profile=by)
        shown = token_formats.lines(variables, export=export)
    else:
        shown = token_formats.SIMPLE[form](credential, asked)
    if is_terminal(sys.stdout):
        until = time.strftime("%H:%M", time.localtime(credential.expires))
        click.echo(
            f"ecr-py: this is a secret: it gives access to the registry until {until}", err=True
        )
    click.echo(shown)


def _credential(app: App, asked: Registry) -> Credential:
    try:
        return app.broker.get(asked.host)
    except CredentialsNotFound as error:
        # docker needs its own fixed text; the user sees the reason.
        why = error.__cause__
        raise (why if isinstance(why, EcrPyError) else error) from None
