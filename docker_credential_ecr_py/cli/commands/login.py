"""ecr-py login and logout: starts and ends sessions at IAM Identity Center."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.completions import REGIONS, SESSIONS
from docker_credential_ecr_py.cli.humanize import lasting
from docker_credential_ecr_py.cli.output import (
    can_ask,
    command,
    console,
    is_terminal,
    report,
)
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    AwsConfigError,
    BadServerURL,
    EcrPyError,
    NotEcr,
    nearest,
)
from docker_credential_ecr_py.registry import host_of
from docker_credential_ecr_py.selection import SsoSession, identity_of, sso_session, sso_sessions
from docker_credential_ecr_py.shell import quote
from docker_credential_ecr_py.sso.prompt import PlainScreen, Screen
from docker_credential_ecr_py.sso.token_cache import Token


@command()
@click.argument(
    "names", nargs=-1, metavar="[PROFILE | SESSION | REGISTRY]...", shell_complete=SESSIONS
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Log in to every session; with --start-url, add every role.",
)
@click.option("--force", is_flag=True, help="Log in again even if the session is alive.")
@click.option("--device", is_flag=True, help="Log in with a code that works on any device.")
@click.option(
    "--no-browser", is_flag=True, help="Do not open a browser; show the URL and the code."
)
@click.option("--start-url", metavar="URL", help="Add a portal that is not in the AWS config yet.")
@click.option("--sso-region", metavar="REGION", help="The region of that portal.")
@click.option(
    "--session", metavar="NAME", help="The name of the session (default: that of the portal)."
)
@click.option("--role", metavar="NAME", help="Add profiles for this role, without asking.")
@click.option(
    "--region",
    metavar="REGION",
    shell_complete=REGIONS,
    help="The region of the registries (default: that of the portal).",
)
@click.option("--dry-run", is_flag=True, help="Show what would be written; write nothing.")
def login(
    names: tuple[str, ...],
    every: bool,
    force: bool,
    device: bool,
    no_browser: bool,
    start_url: str | None,
    sso_region: str | None,
    session: str | None,
    role: str | None,
    region: str | None,
    dry_run: bool,
) -> None:
    """Log in to IAM Identity Center, once for every tool.

    \b
    ecr-py login                  the only session, or choose one
    ecr-py login dev              the session of profile dev
    ecr-py login 642976147714.dkr.ecr.eu-west-1.amazonaws.com
    ecr-py login --start-url https://example.awsapps.com/start --sso-region eu-west-1
                                  a portal that is not in ~/.aws/config yet

    The AWS CLI shares the session: after this, `aws` is logged in too.
    """
    app = App()
    browser = None if no_browser else app.user.browser
    method = app.login(_screen(), browser, device=device)
    if start_url:
        from docker_credential_ecr_py.cli import onboarding

        if names:
            raise click.UsageError("--start-url cannot be combined with a name")
        if not sso_region:
            raise click.UsageError(
                "--start-url needs --sso-region: the portal shows it as SSO Region, "
                "behind Access keys of any account"
            )
        portal = onboarding.new_session(start_url, sso_region, session, app.aws_config)
        onboarding.onboard(
            app.sessions(),
            portal,
            method,
            role=role,
            every_role=every,
            region=region or sso_region,
            dry_run=dry_run,
        )
        return
    if sso_region or session or role or region or dry_run:
        raise click.UsageError(
            "--sso-region, --session, --role, --region and --dry-run need --start-url"
        )
    for chosen in _chosen(app, names, every=every):
        sessions = app.sessions()
        token = None if force else sessions.alive(chosen)
        ended = token is not None and _has_ended(chosen, token)
        verb = "Already logged in to"
        if token is None or ended:
            token = sessions.log_in(chosen, method, force=force or ended)
            verb = "Logged in to"
        report(f"{verb} {chosen.title}{_how_long(token)}")


@command(short_help="Log out, and forget the credentials of a session.")
@click.argument(
    "names", nargs=-1, metavar="[PROFILE | SESSION | REGISTRY]...", shell_complete=SESSIONS
)
@click.option("--all", "every", is_flag=True, help="Log out of every session in the AWS config.")
def logout(names: tuple[str, ...], every: bool) -> None:
    """Log out at the portal, and forget every credential of the session."""
    app = App()
    for chosen in _chosen(app, names, every=every):
        removed = app.log_out(chosen)
        report(f"{chosen.title}: {_listed(removed)}")


def _screen() -> Screen:
    """Return the animated screen on a terminal; plain lines elsewhere and with NO_COLOR."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not is_terminal(sys.stderr):
        return PlainScreen(2)
    from docker_credential_ecr_py.cli.login_screen import RichScreen

    return RichScreen(console(stderr=True))


def _chosen(app: App, names: Sequence[str], *, every: bool) -> list[SsoSession]:
    aws = app.aws_config
    known = sso_sessions(aws)
    if names and every:
        raise click.UsageError("name sessions, or --all")
    if names:
        # Two profiles of one portal share its session.
        found: dict[str, SsoSession] = {}
        for session in (_named(app, name, known) for name in names):
            found.setdefault(session.token_file, session)
        return list(found.values())
    if not known:
        for name, values in aws.profiles.items():
            if "login_session" in values:
                raise _by_aws_cli(name)
        raise AwsConfigError(f"there is no SSO session in {aws.source}", hint=_how_to_begin())
    if every or len(known) == 1:
        return known
    labels = [session.login_name for session in known]
    if not can_ask():
        raise click.UsageError(f"which session? Name one of {', '.join(labels)}, or --all")
    for number, session in enumerate(known, 1):
        click.echo(f"{number:3}  {session.title}", err=True)
    picked = click.prompt("Which session", type=click.IntRange(1, len(known)), err=True)
    return [known[picked - 1]]


def _how_to_begin() -> str:
    """Return the hint if there is no session: logging out needs none."""
    return LOG_IN_FIRST if click.get_current_context().info_name == "login" else ""


def _named(app: App, name: str, known: list[SsoSession]) -> SsoSession:
    """Return the session that a profile, a session name, an account or a registry leads to."""
    aws = app.aws_config
    if name in aws.sso_sessions:
        complete = (session for session in known if session.name == name)
        # If it is not complete, this says what is missing.
        return next(complete, None) or sso_session(name, aws.sso_sessions[name], "", aws.source)
    if name in aws.profiles:
        found = identity_of(name, aws)
    elif profiles := aws.for_account(name):
        found = identity_of(profiles[0], aws)
    else:
        try:
            app.settings.registry_for(host_of(name))
        except (NotEcr, BadServerURL):
            names = [*aws.profiles, *(session.name for session in known if session.name)]
            near = aws.nearest(name) or nearest(name, names)
            raise EcrPyError(
                f"{name} is not a profile or session in {aws.source}, and not a registry{near}",
                hint="" if names or near else _how_to_begin(),
            ) from None
        found = app.select(name).identity
    if found.sso is not None:
        return found.sso
    if found.aws_login is not None:
        raise _by_aws_cli(found.aws_login.profile)
    raise EcrPyError(f"{name} does not use IAM Identity Center, so no login is needed")


def _by_aws_cli(profile: str) -> EcrPyError:
    """Return the error for a profile of `aws login`."""
    verb = click.get_current_context().info_name
    return EcrPyError(
        f"the session of profile {profile} is not one of IAM Identity Center",
        hint=f"run `aws {verb} --profile {quote(profile)}`",
    )


def _has_ended(session: SsoSession, token: Token) -> bool:
    """Return whether the portal has ended the session. False if it cannot be reached."""
    from docker_credential_ecr_py.sso.portal import accepts

    with suppress(EcrPyError):
        return not accepts(session, token.access_token)
    return False


def _how_long(token: Token) -> str:
    now = time.time()
    if token.refreshable(now):
        return "; the session renews automatically"
    return f", for {lasting(token.expires - now)}"


def _listed(removed: list[str]) -> str:
    return f"removed {', '.join(removed)}" if removed else "not logged in"
