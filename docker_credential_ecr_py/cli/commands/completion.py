"""ecr-py completion: the script by which a shell completes, and what it completes with.

Suggestions come from files; names of repositories from AWS too, as an identity that needs no
person, within seconds. Whatever goes wrong goes to the log: somebody is in the middle of typing.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
)

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.atomic_file import make_private_folder, read_if_there, write_whole
from docker_credential_ecr_py.cli.output import command
from docker_credential_ecr_py.cli.targets import (
    TargetOptions,
    known_registries,
    named_registry,
)
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import accounts_of
from docker_credential_ecr_py.log import log, start_log
from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.programs import drop_relative_folders

_SHELLS: Mapping[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}
# What click's scripts set when they ask for suggestions.
VARIABLE = "_ECR_PY_COMPLETE"
# Seconds: how long somebody who typed Tab waits, and how long names of repositories are good.
_PATIENCE = 3
_GOOD_FOR = 600
# A name that would need quotes is not suggested: shells put it into the line as it is.
_PLAIN = re.compile(r"[\w@%+=:,./-]+")

# From what has been typed so far: suggestions, and a few words on each.
Suggest = Callable[[click.Context, str], dict[str, str]]


@command(short_help="Print the script that completes what you type.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, profiles, registries and repositories.

    \b
    eval "$(ecr-py completion bash)"          in ~/.bashrc
    eval "$(ecr-py completion zsh)"           in ~/.zshrc, after compinit
    ecr-py completion fish > ~/.config/fish/completions/ecr-py.fish
    """
    drop_relative_folders(os.environ)  # click runs bash, to learn its version
    made = _SHELLS[shell](context.find_root().command, {}, "ecr-py", VARIABLE)
    click.echo(made.source(), nl=False)


def teach(command: click.Command, path: str) -> None:
    """Lets the arguments and options of the command at `path` suggest what they take.

    From here on nothing is said on standard error.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    start_log(paths.log_file(), os.environ)
    _teach(command, path)


def _teach(command: click.Command, path: str) -> None:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            _teach(inner, f"{path} {name}")
    for parameter in command.params:
        argument = isinstance(parameter, click.Argument)
        for key in [f"{path} {parameter.name}"] if argument else parameter.opts:
            if suggest := _SUGGESTIONS.get(key):
                parameter.type = _Suggested(suggest)


class _Suggested(click.types.StringParamType):
    def __init__(self, suggest: Suggest) -> None:
        self._suggest = suggest

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            found = self._suggest(ctx, incomplete)
        except Exception as error:
            log.info("nothing to complete %r with: %s", incomplete, error)
            return []
        return [
            CompletionItem(value, help=printable(words) or None)
            for value, words in found.items()
            if value.startswith(incomplete) and _PLAIN.fullmatch(value)
        ]


def profiles(ctx: click.Context, incomplete: str) -> dict[str, str]:
    return {
        name: " ".join([*sorted(accounts_of(values)), values.get("region", "")]).strip()
        for name, values in App().aws_config.profiles.items()
    }


def registries(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """By profile, and by host; an alias is a host."""
    app = App()
    known = known_registries(app.settings, app.aws_config)
    found: dict[str, str] = {}
    for one in known:
        found.setdefault(one.profile, one.host)
    return found | {one.host: one.profile for one in known}


def sessions(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """What leads to a login."""
    aws = App().aws_config
    portals = {name: values.get("sso_start_url", "") for name, values in aws.sso_sessions.items()}
    return portals | profiles(ctx, incomplete) | registries(ctx, incomplete)


def regions(ctx: click.Context, incomplete: str) -> dict[str, str]:
    named = [values.get("region", "") for values in App().aws_config.profiles.values()]
    return dict.fromkeys(sorted(filter(None, named)), "")


def repositories(ctx: click.Context, incomplete: str) -> dict[str, str]:
    """Of the registry that the options name, or the only one; or HOST/NAME, where HOST is typed."""
    host, slash, _ = incomplete.partition("/")
    typed = f"{host}/" if slash and "." in host else ""
    options = {name: ctx.params.get(name) or "" for name in ("registry", "profile", "region")}
    app = App(profile=options["profile"], may_log_in=False)
    name = typed.rstrip("/") or options["registry"]
    wanted = TargetOptions(name, options["profile"], options["region"])
    registry = named_registry(app, wanted).host
    names = _kept(registry)
    if names is None:
        names = _asked(app, registry)
        _keep(registry, names)
    return {typed + name: "" for name in names}


_SUGGESTIONS: Mapping[str, Suggest] = {
    "--profile": profiles,
    "--registry": registries,
    "--region": regions,
    "--repository": repositories,
    "explain registry": registries,
    "token registry": registries,
    "login names": sessions,
    "logout names": sessions,
    "repo ls name": registries,
    "repo rm names": repositories,
    "image ls names": repositories,
    "image rm names": repositories,
    "policy pull name": registries,
    "policy push name": registries,
    "policy create name": registries,
    "cache rm registries": registries,
}


def _asked(app: App, host: str) -> list[str]:
    """What AWS says, where it takes no login; a process of the user's may ask for one."""
    registry, selection = app.settings.registry_for(host), app.select(host)
    identity = selection.identity
    ended = identity.sso is not None and app.sessions().alive(identity.sso) is None
    if ended or "process" in (identity.kind, *identity.name.split()):
        return []
    from docker_credential_ecr_py.aws.repositories import repository_names

    return repository_names(registry, selection, seconds=_PATIENCE)


def _kept(host: str) -> list[str] | None:
    file = _file(host)
    with suppress(OSError, ValueError):
        if file is not None and 0 <= time.time() - file.stat().st_mtime < _GOOD_FOR:
            return [str(name) for name in json.loads(read_if_there(file) or b"")]
    return None


def _keep(host: str, names: list[str]) -> None:
    file = _file(host)
    with suppress(OSError):
        if file is not None and names:
            make_private_folder(file.parent)
            write_whole(file, json.dumps(names).encode())


def _file(host: str) -> Path | None:
    folder = paths.cache_folder()
    return folder and folder / "repositories" / f"{host}.json"


def forget_repositories() -> None:
    """What AWS said before is not suggested any more."""
    folder = paths.cache_folder()
    if folder is not None:
        shutil.rmtree(folder / "repositories", ignore_errors=True)
