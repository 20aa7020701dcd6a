"""ecr-py login --start-url: from the address of a portal to profiles in the AWS config."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import click

from docker_credential_ecr_py.atomic_file import read_if_there, rewrite
from docker_credential_ecr_py.cli.output import can_ask, counting
from docker_credential_ecr_py.cli.picker import can_pick, pick
from docker_credential_ecr_py.cli.targets import check_region
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import AwsConfig, load_aws_config
from docker_credential_ecr_py.config.docker_config import OURSELVES, load_docker_config
from docker_credential_ecr_py.errors import AccessDenied, AwsConfigError, BadInput
from docker_credential_ecr_py.selection import DEFAULT_SCOPE, START_URL, SsoSession, sso_sessions
from docker_credential_ecr_py.sso.login import Login
from docker_credential_ecr_py.sso.portal import Assignment, assignments
from docker_credential_ecr_py.sso.sessions import Sessions

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_NAME = 64


def new_session(start_url: str, region: str, name: str | None, aws: AwsConfig) -> SsoSession:
    """Return the session for a portal: the one in the config, or a new one.

    Raises BadInput if the URL is not https, the region does not exist, or the name is taken.
    """
    start_url = _plain(start_url)
    if not START_URL.fullmatch(start_url):
        raise BadInput(f"{start_url!r} is not a portal's https:// URL")
    check_region(region, "sso-oidc", "IAM Identity Center")
    for known in sso_sessions(aws):
        if known.name and _plain(known.start_url) == start_url and name in (None, known.name):
            return known
    name = name or _name_of(start_url)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise BadInput(
            f"{name!r} cannot be the name of a session: {_LONGEST_NAME} letters, digits, . _ -"
        )
    if name in aws.sso_sessions:
        raise BadInput(
            f"[sso-session {name}] in {aws.source} belongs to another portal: "
            "choose another name with --session"
        )
    return SsoSession(start_url, region, name, "", (DEFAULT_SCOPE,))


def onboard(
    sessions: Sessions,
    session: SsoSession,
    method: Login,
    *,
    role: str | None,
    every_role: bool,
    region: str,
    dry_run: bool,
) -> None:
    """Log in, let the user choose accounts and roles, and write the profiles.

    Raises EcrPyError.
    """
    check_region(region)
    if not (every_role or role or can_ask()):
        raise click.UsageError(
            "not a terminal, so roles cannot be chosen here: use --all or --role NAME"
        )
    token = sessions.alive(session) or sessions.log_in(session, method)
    with counting("accounts") as counter:
        offered = assignments(session, token.access_token, counter)
    if not offered:
        raise AccessDenied(f"no account is assigned to you at {session.start_url}")
    chosen = _choose(offered, role=role, every=every_role)
    config_file = paths.aws_config_file(os.environ)
    aws = load_aws_config(config_file, paths.aws_credentials_file(os.environ))
    added = sections(session, chosen, offered, region, aws)
    if not added:
        click.echo(f"{config_file} already has a profile for each")
        return
    if dry_run:
        click.echo(f"# would be added to {config_file}", err=True)
        click.echo(added, nl=False)
        return
    append(config_file, added)
    profiles = ", ".join(re.findall(r"^\[profile (.+)\]$", added, re.MULTILINE))
    click.echo(f"Added to {config_file}: {profiles or f'[sso-session {session.name}]'}")
    docker = load_docker_config(paths.docker_config_file(os.environ))
    if not docker.ours and docker.store != OURSELVES:
        click.echo("Next, run `ecr-py configure` to set up docker")


def sections(
    session: SsoSession,
    chosen: list[Assignment],
    offered: list[Assignment],
    region: str,
    aws: AwsConfig,
) -> str:
    """Return the sections missing from the config: [sso-session], and a [profile] for each."""
    parts = []
    if session.name not in aws.sso_sessions:
        parts.append(
            f"[sso-session {session.name}]\n"
            f"sso_start_url = {session.start_url}\n"
            f"sso_region = {session.region}\n"
            f"sso_registration_scopes = {','.join(session.scopes)}\n"
        )
    taken = set(aws.profiles)
    for assignment in chosen:
        if any(_is_for(values, session, assignment) for values in aws.profiles.values()):
            continue
        name = _profile_name(assignment, chosen, taken)
        taken.add(name)
        parts.append(
            f"[profile {name}]\n"
            f"sso_session = {session.name}\n"
            f"sso_account_id = {assignment.account}\n"
            f"sso_role_name = {assignment.role}\n"
            f"region = {region}\n"
        )
    return "\n".join(parts)


def append(file: Path, added: str) -> None:
    """Append to the user's file, and keep its content, mode and place.

    The original is kept beside it, with ".bak". Raises AwsConfigError.
    """
    try:
        before = read_if_there(file)
        end = b"\r\n" if before and b"\r\n" in before else b"\n"
        gap = b"" if not before else end if before.endswith(b"\n") else end * 2
        rewrite(file, before, (before or b"") + gap + added.encode().replace(b"\n", end))
    except OSError as error:
        raise AwsConfigError(f"{file} cannot be written: {error.strerror}") from None


def _choose(offered: list[Assignment], *, role: str | None, every: bool) -> list[Assignment]:
    if every:
        return offered
    if role:
        chosen = [assignment for assignment in offered if assignment.role == role]
        if not chosen:
            roles = ", ".join(sorted({assignment.role for assignment in offered}))
            raise BadInput(f"you have no role {role} in any account; you have {roles}")
        return chosen
    if len(offered) == 1:
        return offered
    rows = [(one.account_name, one.account, one.role) for one in offered]
    if can_pick():
        return [offered[number] for number in pick("Which accounts and roles?", rows)]
    widest = max(len(name) for name, _, _ in rows)
    for number, (name, account, role) in enumerate(rows, 1):
        click.echo(f"{number:3}  {account}  {name.ljust(widest)}  {role}", err=True)
    while True:
        answer = click.prompt("Which (their numbers, or all)", err=True)
        picked = _picked(answer, len(offered))
        if picked:
            return [offered[number - 1] for number in picked]
        click.echo(f"numbers from 1 to {len(offered)}, or all", err=True)


def _picked(answer: str, most: int) -> list[int]:
    if answer.strip().lower() == "all":
        return list(range(1, most + 1))
    words = re.split(r"[,\s]+", answer.strip())
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= most for word in words):
        return []
    return sorted(set(map(int, words)))


def _is_for(values: Mapping[str, str], session: SsoSession, assignment: Assignment) -> bool:
    ours = values.get("sso_session") == session.name or (
        values.get("sso_start_url") == session.start_url
    )
    return ours and (values.get("sso_account_id"), values.get("sso_role_name")) == (
        assignment.account,
        assignment.role,
    )


def _profile_name(assignment: Assignment, chosen: list[Assignment], taken: set[str]) -> str:
    """Return a free name: the account's name, with the role or the account number if needed.

    Never `default`, because commands without a profile use that.
    """
    name = _plain_name(assignment.account_name.lower()) or assignment.account
    role = _plain_name(assignment.role) or "role"
    if sum(other.account == assignment.account for other in chosen) > 1:
        name = f"{name}-{role}"
    numbered = f"{name}-{assignment.account}"
    wanted = [name, numbered, f"{numbered}-{role}"]
    wanted += [f"{numbered}-{role}-{count}" for count in range(2, len(taken) + 4)]
    return next(free for free in wanted if free not in taken and free != "default")


def _plain_name(text: str) -> str:
    """Replace everything that needs quotes in a section's heading or on a command line."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")


def _plain(start_url: str) -> str:
    """Remove the `#/` or slash that a browser shows at the end of a portal's URL."""
    return start_url.partition("#")[0].rstrip("/")


def _name_of(start_url: str) -> str:
    """Return the name of a portal: "example" for `https://example.awsapps.com/start`."""
    host, _, path = start_url.removeprefix("https://").partition("/")
    if host.endswith(".awsapps.com"):
        return host.removesuffix(".awsapps.com")
    return path.strip("/#").split("/")[-1] or host.split(".")[0]
