"""What can be completed: profiles, registries, sessions and regions from files; repositories.

Names of repositories come from AWS too, if that needs no login, within seconds.
"""

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.atomic_file import make_private_folder, read_if_there, write_whole
from docker_credential_ecr_py.cli.targets import TargetOptions, named_registry
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import accounts_of
from docker_credential_ecr_py.config.settings import CHOICES, KEYRING, REGISTRY, defaults
from docker_credential_ecr_py.known_registries import known_registries

# Seconds: how long Tab may take, and how long names of repositories are kept.
_PATIENCE = 3
_GOOD_FOR = 600


def profiles(ctx: click.Context, incomplete: str) -> dict[str, str]:
    return {
        name: " ".join([*sorted(accounts_of(values)), values.get("region", "")]).strip()
        for name, values in App().aws_config.profiles.items()
    }


def registries(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """Return registries by profile and by host; an alias is a host."""
    app = App()
    known = known_registries(app.settings, app.aws_config)
    found: dict[str, str] = {}
    for one in known:
        if one.profile:
            found.setdefault(one.profile, one.host)
    return found | {one.host: one.profile for one in known}


def sessions(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """Return everything that names a session: sessions, profiles and registries."""
    aws = App().aws_config
    portals = {name: values.get("sso_start_url", "") for name, values in aws.sso_sessions.items()}
    return portals | profiles(ctx, incomplete) | registries(ctx, incomplete)


def regions(ctx: click.Context, incomplete: str) -> dict[str, str]:
    named = [values.get("region", "") for values in App().aws_config.profiles.values()]
    return dict.fromkeys(sorted(filter(None, named)), "")


def settings(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """Return the names of settings, those of each known registry too; with the defaults."""
    found = {name: str(default) for name, default in defaults().items()}
    for host in registries(ctx, incomplete):
        if "." in host:
            found |= {f"registries.{host}.{key}": "" for key in REGISTRY}
    return found


def values(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """Return the values that the setting in the same line can have."""
    key = ctx.params.get("key") or ""
    table, _, name = key.rpartition(".")
    if table.startswith("registries"):
        return profiles(ctx, incomplete) if name == "profile" else {}
    if name == "fallback":
        return {KEYRING: "sealed files of ecr-py"}
    return dict.fromkeys(CHOICES.get(name, ()), "")


def repositories(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """Return repositories of the registry that the options name; HOST/NAME if HOST is typed."""
    host, slash, _ = incomplete.partition("/")
    typed = f"{host}/" if slash and "." in host else ""
    options = {name: ctx.params.get(name) or "" for name in ("registry", "profile", "region")}
    app = App(profile=options["profile"], may_log_in=False)
    name = typed.rstrip("/") or options["registry"]
    wanted = TargetOptions(name, options["profile"], options["region"])
    registry = named_registry(app, wanted).host
    names = _load(registry)
    if names is None:
        names = _fetch(app, registry)
        _save(registry, names)
    return {typed + name: "" for name in names}


def _fetch(app: App, host: str) -> list[str]:
    """Ask AWS for repositories; [] if that could need a login or run the user's own process."""
    registry, selection = app.settings.registry_for(host), app.select(host)
    identity = selection.identity
    ended = identity.sso is not None and app.sessions().alive(identity.sso) is None
    if ended or "process" in (identity.kind, *identity.name.split()):
        return []
    from docker_credential_ecr_py.aws.repositories import repository_names

    return repository_names(registry, selection, seconds=_PATIENCE)


def _load(host: str) -> list[str] | None:
    file = _file(host)
    with suppress(OSError, ValueError):
        if file is not None and 0 <= time.time() - file.stat().st_mtime < _GOOD_FOR:
            return [str(name) for name in json.loads(read_if_there(file) or b"")]
    return None


def _save(host: str, names: list[str]) -> None:
    file = _file(host)
    with suppress(OSError):
        if file is not None and names:
            make_private_folder(file.parent)
            write_whole(file, json.dumps(names).encode())


def _file(host: str) -> Path | None:
    folder = paths.cache_folder()
    return folder and folder / "repositories" / f"{host}.json"


def forget_repositories() -> None:
    """Remove the names of repositories that are kept for completion."""
    folder = paths.cache_folder()
    if folder is not None:
        shutil.rmtree(folder / "repositories", ignore_errors=True)
