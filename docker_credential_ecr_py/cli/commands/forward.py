"""ecr-py forward: lets other machines pull with the login of this one. See docs/remote.md."""

import os
import sys
import time
from typing import Any

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.completions import REGISTRIES
from docker_credential_ecr_py.cli.humanize import lasting
from docker_credential_ecr_py.cli.output import (
    Group,
    json_option,
    show_change,
    show_json,
    show_table,
)
from docker_credential_ecr_py.cli.ssh_tunnel import remote_socket
from docker_credential_ecr_py.cli.targets import TargetOptions, resolve_target
from docker_credential_ecr_py.config import file_edits, paths, settings_edit
from docker_credential_ecr_py.config.settings import EVERY_REGISTRY, may_be_used, parse_settings
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.daemon.discovery import NOT_RUNNING, RESTART, START, forwarding_status
from docker_credential_ecr_py.errors import BadInput, EcrPyError, SettingsError
from docker_credential_ecr_py.registry import host_of
from docker_credential_ecr_py.store import daemon_client, record

_REGISTRIES, _UIDS = ("forward", "registries"), ("forward", "uids")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")


@click.group(cls=Group)
def forward() -> None:
    """Let remote machines and dev containers pull with the login of this machine.

    \b
    ecr-py forward on --all         answer for every registry
    ecr-py ssh HOST                 an SSH session whose pulls use this login
    ecr-py forward status           show who asked for what
    ecr-py forward off              end it everywhere
    """


@forward.command()
@click.option(
    "--registry",
    "registries",
    multiple=True,
    metavar="NAME",
    shell_complete=REGISTRIES,
    help="Answer for this registry: a host, profile or account, or a glob of hosts. "
    "May be repeated.",
)
@click.option("--all", "every", is_flag=True, help="Answer for every registry.")
@click.option(
    "--uid",
    "uids",
    multiple=True,
    type=click.IntRange(0, 2**32 - 2),
    help="Also answer this user of a container, by number; may be repeated.",
)
@_DRY_RUN
def on(registries: tuple[str, ...], every: bool, uids: tuple[int, ...], dry_run: bool) -> None:
    """Answer other machines for these registries, and for no others.

    \b
    ecr-py forward on --registry dev     the registry of profile dev
    ecr-py forward on --registry 642976147714
                                         every registry of an account
    ecr-py forward on --all --uid 0      also root in a container
    """
    if every == bool(registries):
        raise click.UsageError("name the registries by --registry, or use --all")
    if sys.platform == "win32":
        raise EcrPyError(NOT_RUNNING)
    app = App(may_log_in=False)
    globs = [EVERY_REGISTRY] if every else [_glob(app, name) for name in registries]

    def edit(text: str) -> str:
        text = settings_edit.with_value(text, _REGISTRIES, globs)
        if uids:
            return settings_edit.with_value(text, _UIDS, list(uids))
        return settings_edit.without_value(text, _UIDS)

    _edit_settings(edit, dry_run=dry_run)
    if dry_run:
        return
    found = _reloaded()
    if found is None:
        hint = "run `ecr-py daemon install`, or `ecr-py daemon start`"
        raise EcrPyError("forwarding is on, but the daemon is not running", hint=hint)
    if not found["open"]:
        raise EcrPyError(found["problem"] or "the daemon does not answer other machines")
    click.echo(f"Answers other machines for {_shown(globs)}: run `ecr-py ssh HOST`")


@forward.command()
@_DRY_RUN
def off(dry_run: bool) -> None:
    """Answer no other machine any more."""

    def edit(text: str) -> str:
        return settings_edit.without_value(settings_edit.without_value(text, _UIDS), _REGISTRIES)

    _edit_settings(edit, dry_run=dry_run)
    if dry_run:
        return
    found = _reloaded()
    if found and found["open"]:
        raise EcrPyError("the daemon still answers other machines", hint=RESTART)
    click.echo("No other machine is answered")


@forward.command()
@json_option
def status(as_json: bool) -> None:
    """Show which registries are forwarded, and who asked. Exit 1 if forwarding is off."""
    found = forwarding_status(os.environ)
    if as_json:
        show_json(found)
    if found is None:
        raise EcrPyError(NOT_RUNNING, hint=START)
    if not found["registries"]:
        raise EcrPyError("forwarding is off", hint="run `ecr-py forward on --all`")
    if not found["open"]:
        raise EcrPyError(found["problem"], hint="run `ecr-py daemon logs`")
    if as_json:
        return
    click.echo(f"Answers for {_shown(found['registries'])} at {found['socket']}")
    if found["uids"]:
        click.echo(f"Also answers users {', '.join(map(str, found['uids']))} of containers")
    waiting = f", {found['waiting']} waiting" if found["waiting"] else ""
    click.echo(f"{found['answered']} answered, {found['refused']} refused{waiting}")
    if found["last"]:
        click.echo()
        rows = [
            (
                f"{lasting(max(0, time.time() - one['at']))} ago",
                *(one["machine"], one["registry"], one["outcome"]),
            )
            for one in reversed(found["last"])
        ]
        show_table(("WHEN", "MACHINE", "REGISTRY", "ANSWER"), rows)


@forward.command()
@click.argument("host")
def config(host: str) -> None:
    """Print the lines for ~/.ssh/config by which plain `ssh HOST` forwards the login.

    HOST is asked, by ssh, for its runtime folder.

    \b
    ecr-py forward config build.example.com >> ~/.ssh/config
    """
    local = paths.forward_socket(os.environ)
    if local is None:
        raise EcrPyError("no folder for the socket: set XDG_RUNTIME_DIR")
    remote = remote_socket(host)
    click.echo(f"Host {host}\n    RemoteForward {_quoted(remote)} {_quoted(str(local))}")


def _glob(app: App, name: str) -> str:
    """Return the host or the glob of hosts for what a user names: also a profile or an account.

    Raises BadInput.
    """
    if name.isdigit() and len(name) == 12:
        return f"{name}.*"
    if name.isdigit() or name in app.aws_config.profiles:
        return resolve_target(app, TargetOptions(name)).host
    try:
        glob = host_of(name) if "*" not in name else name.lower()
        parse_settings(settings_edit.with_value("", _REGISTRIES, [glob]), "")
    except EcrPyError:
        raise BadInput(f"{name!r} is neither the host of a registry nor a glob of hosts") from None
    if not may_be_used(glob, app.settings):
        near = app.aws_config.nearest(name)
        raise BadInput(
            f"{name} is not a profile, and matches no registry{near}",
            hint="" if near else "run `ecr-py status`, which shows yours",
        )
    return glob


def _shown(globs: list[str]) -> str:
    return "every registry" if EVERY_REGISTRY in globs else ", ".join(globs)


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _edit_settings(edit: Any, *, dry_run: bool) -> None:
    """Change the settings file by `edit`, a function of its text. Raises SettingsError."""
    file = paths.settings_file(os.environ)
    before = read_text(file, SettingsError)
    parse_settings(before or "", str(file))
    after = edit(before or "")
    parse_settings(after, str(file))
    if dry_run:
        show_change(str(file), before or "", after)
    elif after != (before or ""):
        file_edits.write(file, before, after)


def _reloaded() -> dict[str, Any] | None:
    """Have the daemon read the settings; return as forwarding_status."""
    path = record.socket_path(paths.as_bytes(os.environ))
    if path and forwarding_status(os.environ) is not None:
        daemon_client.ask(path, b"reload", limit=5)
    return forwarding_status(os.environ)
