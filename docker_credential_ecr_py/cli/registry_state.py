"""Each registry as files say it: who answers for it, what is kept, how its session stands."""

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.aws.ec2 import on_ec2
from docker_credential_ecr_py.broker import token_file
from docker_credential_ecr_py.cli.humanize import lasting
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import AwsConfig
from docker_credential_ecr_py.config.docker_config import (
    OURSELVES,
    DockerConfig,
    load_docker_config,
)
from docker_credential_ecr_py.config.settings import EVERY_REGISTRY, Settings
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.daemon.discovery import RESTART, Presence
from docker_credential_ecr_py.errors import (
    EcrPyError,
    LoginNeeded,
    NotEcr,
    assign_command,
    aws_login_needed,
    some,
)
from docker_credential_ecr_py.known_registries import known_registries
from docker_credential_ecr_py.programs import find_program
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection, SsoSession, select
from docker_credential_ecr_py.shell import quote

# Where a session stands.
ALIVE, REFRESHES, ENDED = "alive", "refreshes", "ended"
# Where the text of an error names the registry and the profile.
_CONTEXT = re.compile(r" \(registry [^)]*\)")
# The accounts with several profiles that are shown.
_MOST_CHOICES = 5


@dataclass(frozen=True)
class Session:
    """A login at IAM Identity Center. `expires` in seconds since the epoch, 0 without a token.

    `state` is ALIVE; REFRESHES if the next pull refreshes it without the user; else ENDED.
    `renews` says whether it can be refreshed when its token expires.
    """

    sso: SsoSession
    state: str
    expires: float = 0
    renews: bool = False


@dataclass(frozen=True)
class Row:
    """A registry, its identity and its stored credential. `wrong` is why there is no identity."""

    host: str
    registry: Registry
    in_docker: bool
    selection: Selection | None = None
    kept: Credential | None = None
    session: Session | None = None
    wrong: EcrPyError | None = None

    @property
    def needs_login(self) -> bool:
        if isinstance(self.wrong, LoginNeeded):
            return True
        return self.kept is None and self.session is not None and self.session.state == ENDED


@dataclass(frozen=True)
class Files:
    """The content of the user's files. `failures` has the error of each that cannot be read.

    Its keys are "settings", "aws" and "docker"; such a file counts as empty.
    """

    settings: Settings
    aws: AwsConfig
    docker: DockerConfig
    failures: Mapping[str, EcrPyError]


def read_files(app: App) -> Files:
    """Read all files; if one cannot be read, the others are there without it."""
    failures: dict[str, EcrPyError] = {}
    settings, aws, docker = Settings(), AwsConfig(), DockerConfig()
    try:
        settings = app.settings
    except EcrPyError as error:
        failures["settings"] = error
    try:
        aws = app.aws_config
    except EcrPyError as error:
        failures["aws"] = error
    try:
        docker = load_docker_config(paths.docker_config_file(os.environ))
    except EcrPyError as error:
        failures["docker"] = error
    return Files(settings, aws, docker, failures)


def causes(rows: Iterable[Row]) -> list[tuple[EcrPyError, list[Row]]]:
    """Return each reason why registries have no identity, once, with those registries."""
    found: dict[tuple[str, str], tuple[EcrPyError, list[Row]]] = {}
    for row in rows:
        if row.wrong is not None:
            key = (row.wrong.what, row.wrong.hint)
            found.setdefault(key, (row.wrong, []))[1].append(row)
    return list(found.values())


@dataclass(frozen=True)
class NotAsked:
    """Registries for which docker does not ask ecr-py.

    `helper` is the one that it asks instead, or ""; `command` changes that.
    """

    hosts: list[str]
    helper: str
    command: str

    @property
    def helper_is_missing(self) -> bool:
        """Whether docker cannot pull from these registries at all."""
        return bool(self.helper) and find_program(f"docker-credential-{self.helper}") is None


def not_asked(files: Files, rows: Iterable[Row]) -> list[NotAsked]:
    """Return the registries for which docker does not ask ecr-py, by what has to be done."""
    known = {one.host for one in known_registries(files.settings, files.aws)}
    by_helper: dict[str, list[str]] = {}
    for row in rows:
        if not row.in_docker:
            by_helper.setdefault(files.docker.helpers.get(row.host, ""), []).append(row.host)
    found = []
    for helper, hosts in by_helper.items():
        if helper:
            command = f"ecr-py configure --replace {quote(helper)}"
            found.append(NotAsked(hosts, helper, command))
            continue
        named = [host for host in hosts if host in known]
        others = [host for host in hosts if host not in known]
        if named:
            found.append(NotAsked(named, "", "ecr-py configure"))
        if others:
            registries = " ".join(f"--registry {host}" for host in others)
            found.append(NotAsked(others, "", f"ecr-py configure {registries}"))
    return found


def all_registries(app: App, files: Files) -> dict[str, Registry]:
    """Return every registry, by host, that a profile, the settings, docker or the store names.

    Raises SettingsError.
    """
    registries = {known.host: known.registry for known in known_registries(app.settings, files.aws)}
    kept = (remembered.host for remembered in app.store.selections() if remembered.key)
    for host in (*files.docker.ours, *kept):
        try:
            registries.setdefault(host, app.settings.registry_for(host))
        except NotEcr:
            continue
    return registries


def rows_of(app: App, files: Files, registries: Mapping[str, Registry]) -> list[Row]:
    """Return the state of these registries. Raises SettingsError.

    If the AWS config cannot be read, none has an identity.
    """
    aws, docker, unreadable = files.aws, files.docker, files.failures.get("aws")
    asked_for_all = docker.store == OURSELVES
    here = on_ec2(os.environ)
    sessions: dict[str, Session] = {}
    rows = []
    for host, registry in registries.items():
        by_name = docker.helpers.get(host)
        row = Row(host, registry, by_name == OURSELVES or (asked_for_all and not by_name))
        try:
            if unreadable is not None:
                raise unreadable
            selection = select(registry, host, app.settings, aws, os.environ, on_ec2=here)
        except EcrPyError as error:
            # Public images need no credentials.
            rows.append(row if registry.public else replace(row, wrong=error))
            continue
        login, file = selection.identity.aws_login, token_file(selection.identity)
        if login and file and not os.path.exists(file):
            rows.append(replace(row, selection=selection, wrong=aws_login_needed(login.profile)))
            continue
        sso = selection.identity.sso
        if sso is not None and sso.token_file not in sessions:
            sessions[sso.token_file] = _session(app, sso)
        rows.append(
            replace(
                row,
                selection=selection,
                kept=app.broker.stored_credential(host, selection),
                session=replace(sessions[sso.token_file], sso=sso) if sso else None,
            )
        )
    return rows


def choices(selected: Iterable[tuple[Registry, Selection]]) -> list[str]:
    """Return a line for each account that several profiles are for: which is used, and the command.

    The rights of the profiles may differ: a push can fail with one of them.
    """
    found = {registry.account: selection for registry, selection in selected if selection.others}
    lines = [
        f"account {account} uses profile {selection.profile}, not {some(selection.others)}: "
        f"`{assign_command(account, selection.others[0])}` changes that"
        for account, selection in list(found.items())[:_MOST_CHOICES]
    ]
    if more := len(found) - len(lines):
        lines.append(
            f"and {more} more accounts have several profiles: `ecr-py explain ACCOUNT` shows each"
        )
    return lines


def _session(app: App, sso: SsoSession) -> Session:
    sessions = app.sessions()
    token = sessions.files.token(sso)
    if token is None:
        return Session(sso, ENDED)
    renews = token.refreshable(time.time())
    if sessions.alive(sso):
        return Session(sso, ALIVE, token.expires, renews)
    return Session(sso, REFRESHES if renews else ENDED, token.expires, renews)


def daemon_line(found: Presence | None) -> str:
    """Return a short text about the state of the daemon; "" if none is running."""
    if found is None:
        return ""
    if found.status is None:
        return f"{found.problem.removeprefix('the daemon ')}: {RESTART}"
    kept = len(found.status["registries"])
    line = f"runs (pid {found.status['pid']}), registries kept alive: {kept}"
    failed = len(found.status["failures"])
    return line + (f"; {failed} failed, see `ecr-py daemon status`" if failed else "")


def failures_by_cause(failures: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the failures of the daemon's status by their text.

    If several have the same cause, the text is without the registry.
    """
    causes: dict[str, list[Mapping[str, Any]]] = {}
    for failure in sorted(failures, key=lambda failure: str(failure["what"])):
        causes.setdefault(_CONTEXT.sub("", failure["what"]), []).append(failure)
    return {
        cause if len({one["what"] for one in alike}) > 1 else alike[0]["what"]: alike
        for cause, alike in causes.items()
    }


def some_forwarded(globs: Sequence[str]) -> str:
    """Return a short text about the registries that the settings forward."""
    return "every registry" if EVERY_REGISTRY in globs else some(globs)


def forwarding_line(found: Presence | None) -> str:
    """Return a short text about what the daemon answers other machines; "" if it answers none."""
    forward = (found and found.status and found.status.get("forward")) or {}
    if not forward.get("registries"):
        return ""
    if not forward["open"]:
        return f"{forward['problem']}: run `ecr-py daemon logs`"
    line = f"answers other machines for {some_forwarded(forward['registries'])}"
    if not forward["last"]:
        return line
    last = forward["last"][-1]
    return f"{line}; last {last['machine']}, {lasting(max(0, time.time() - last['at']))} ago"
