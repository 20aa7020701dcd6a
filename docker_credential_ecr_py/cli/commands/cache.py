"""ecr-py cache: lists and removes cached credentials. No secret is shown."""

import time
from datetime import UTC, datetime

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.completions import REGISTRIES
from docker_credential_ecr_py.cli.humanize import lasting
from docker_credential_ecr_py.cli.output import (
    Group,
    console,
    json_option,
    report,
    show_json,
    show_table,
)
from docker_credential_ecr_py.cli.suggestions import forget_repositories
from docker_credential_ecr_py.cli.targets import TargetOptions, resolve_target

_ALL_COLUMNS, _HOST_FITS = 100, 80
_DETAILS = ("account", "region", "profile", "rule")


@click.group(cls=Group)
def cache() -> None:
    """List and remove cached credentials.

    \b
    ecr-py cache ls            registries with a cached credential
    ecr-py cache rm dev        forget the credential for the registry of profile dev
    ecr-py cache rm --all      forget all
    """


@cache.command("ls")
@json_option
def list_cached(as_json: bool) -> None:
    """List the registries with a cached credential, and how long it lasts."""
    now = time.time()
    found = list(App().broker.stored_credentials())
    if as_json:
        show_json(
            [
                {
                    "registry": selection.host,
                    **selection.details,
                    "until": datetime.fromtimestamp(credential.expires, UTC).isoformat(),
                }
                for selection, credential in found
            ]
        )
        return
    if not found:
        click.echo("nothing is cached", err=True)
        return
    width = console().width
    # Most hosts contain account and region; on a narrow screen those are shown instead.
    columns = ["registry", *_DETAILS] if width >= _ALL_COLUMNS else ["registry", *_DETAILS[2:]]
    if width < _HOST_FITS:
        columns = list(_DETAILS[:3])
    rows = []
    for selection, credential in found:
        details = {"registry": selection.host, **selection.details}
        left = lasting(credential.expires - now)
        rows.append([*(details.get(name) or "-" for name in columns), left])
    show_table([*(name.upper() for name in columns), "LEFT"], rows)


@cache.command("rm")
@click.argument(
    "registries", nargs=-1, shell_complete=REGISTRIES, metavar="[REGISTRY | PROFILE]..."
)
@click.option("--all", "every", is_flag=True, help="Forget everything, for all environments.")
def remove(registries: tuple[str, ...], every: bool) -> None:
    """Forget the cached credential for a registry; the next pull asks AWS."""
    if every == bool(registries):
        raise click.UsageError("name registries, or --all")
    app = App()
    if every:
        hosts = app.store.forget_all()
        forget_repositories()
        click.echo(f"forgot {', '.join(sorted(hosts))}" if hosts else "nothing was cached")
        return
    targets = [resolve_target(app, TargetOptions(name)) for name in registries]
    for found in dict.fromkeys(targets):
        forgot = app.with_profile(found.profile).broker.forget(found.host)
        report(f"forgot {found.host}" if forgot else f"nothing was cached for {found.host}")
