"""ecr-py configure: sets up docker and compatible clients to use ecr-py.

docker_plan.py decides what to change, docker_edit.py edits the text, and file_edits.py writes the
file and undoes the change.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.cli.completions import REGIONS, REGISTRIES
from docker_credential_ecr_py.cli.doctor_checks import installed_in
from docker_credential_ecr_py.cli.output import (
    FAILED,
    can_ask,
    command,
    report,
    show_change,
    show_table,
)
from docker_credential_ecr_py.cli.targets import (
    TargetOptions,
    check_region,
    known_registries,
    resolve_target,
)
from docker_credential_ecr_py.config import docker_edit, file_edits, paths, settings_edit
from docker_credential_ecr_py.config.aws_config import accounts_of
from docker_credential_ecr_py.config.docker_config import (
    OURSELVES,
    DockerConfig,
    load_docker_config,
)
from docker_credential_ecr_py.config.docker_plan import Plan, host_of_auth, plan
from docker_credential_ecr_py.config.settings import KEYRING, Settings, parse_settings
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    AwsConfigError,
    BadInput,
    DockerConfigError,
    SettingsError,
    some,
)
from docker_credential_ecr_py.programs import find_program, found_by_shell
from docker_credential_ecr_py.protocol import NAME as HELPER
from docker_credential_ecr_py.registry import PUBLIC_HOSTS

_DOCKER = "docker"
_FILES: Mapping[str, Callable[[Mapping[str, str]], Path]] = {
    _DOCKER: paths.docker_config_file,
    "podman": paths.podman_auth_file,  # and buildah and skopeo
    "singularity": paths.singularity_config_file,
    "apptainer": paths.apptainer_config_file,
}


@dataclass(frozen=True)
class _Kind:
    """A kind of file: how it is checked, undone, and shown without secrets."""

    check: Callable[[str, Path], object]
    undo: file_edits.TakeBack
    shown: Callable[[str], str]


_CONFIG = _Kind(docker_edit.check, docker_edit.undone, docker_edit.masked)
_SETTINGS = _Kind(
    lambda text, file: parse_settings(text, str(file)), settings_edit.without_fallback, str
)


@dataclass
class _Change:
    """The file of one client, before and after the change."""

    client: str
    file: Path
    before: str | None
    config: DockerConfig
    plan: Plan
    drop: tuple[str, ...] = ()

    def uses(self, helper: str) -> bool:
        """Return whether the client uses that helper now."""
        return helper in (self.config.store, *self.config.helpers.values())

    @property
    def will_use_us(self) -> bool:
        if self.plan.unset:
            return bool(self.plan.helpers or self.config.ours)
        return self.uses(OURSELVES) or self.plan.store or bool(self.plan.helpers)

    @property
    def after(self) -> str:
        plan = self.plan
        return docker_edit.edited(
            self.before or "",
            helpers=dict.fromkeys(plan.helpers, OURSELVES),
            store=OURSELVES if plan.store else plan.pinned,
            unset_store=plan.unset,
            drop_auths=self.drop,
        )

    @property
    def summary(self) -> str:
        """Return a short text of the change; "" if there is none."""
        count = len(self.plan.helpers)
        done = [f"{count} {'entry' if count == 1 else 'entries'} in credHelpers"] * bool(count)
        done += [f"credsStore is {OURSELVES}"] * self.plan.store
        if self.plan.unset:
            done += [
                f"credsStore is {self.plan.pinned} again" if self.plan.pinned else "no credsStore"
            ]
        elif store := self.plan.pinned:
            done += [f"credsStore is {store}, docker's default here"]
        done += [f"auths without {', '.join(self.drop)}"] * bool(self.drop)
        if (self.before or "").startswith(BYTE_ORDER_MARK):
            done += ["without its byte-order mark, which docker rejects"]
        return ", ".join(done)


@command(short_help="Set up docker to use ecr-py.")
@click.option(
    "--for",
    "clients",
    multiple=True,
    type=click.Choice(list(_FILES)),
    help="The client to configure (default: docker). podman includes buildah and skopeo.",
)
@click.option("--cred-helpers", is_flag=True, help="Add an entry for each registry (the default).")
@click.option(
    "--creds-store",
    is_flag=True,
    help="Use ecr-py for every registry; the present store becomes its fallback.",
)
@click.option(
    "--registry",
    "named",
    multiple=True,
    metavar="HOST",
    shell_complete=REGISTRIES,
    help="Only this registry, instead of all.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    shell_complete=REGIONS,
    metavar="REGION",
    help="Also the registry of each account in this region.",
)
@click.option("--public", is_flag=True, help="Also ECR Public.")
@click.option(
    "--replace", metavar="HELPER", default="", help="Replace this helper, for example ecr-login."
)
@click.option("--remove-auths", is_flag=True, help="Remove ECR passwords from the config.")
@click.option("--yes", is_flag=True, help="Answer yes to all questions.")
@click.option("--undo", "undo", is_flag=True, help="Restore the original files.")
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")
def configure(
    clients: tuple[str, ...],
    cred_helpers: bool,
    creds_store: bool,
    named: tuple[str, ...],
    regions: tuple[str, ...],
    public: bool,
    replace: str,
    remove_auths: bool,
    yes: bool,
    undo: bool,
    dry_run: bool,
) -> None:
    """Set up docker to use ecr-py for your registries.

    \b
    ecr-py configure                      the registries of all accounts in the AWS config
    ecr-py configure --dry-run            show the change only
    ecr-py configure --creds-store        every registry, also of future accounts
    ecr-py configure --for podman --for apptainer
    ecr-py configure --replace ecr-login  replace the helper of awslabs
    ecr-py configure --undo               restore the original

    Existing content is preserved, and the original is kept in config.json.bak.
    """
    if undo:
        if any((cred_helpers, creds_store, named, regions, public, replace, remove_auths)):
            raise click.UsageError("--undo can be combined only with --for and --dry-run")
        _undo(clients or tuple(_FILES), dry_run=dry_run)
        return
    if named and regions:
        raise click.UsageError("--registry already includes the region: leave out --region")
    if cred_helpers and creds_store:
        raise click.UsageError("--cred-helpers and --creds-store cannot be combined")
    if creds_store and set(clients) - {_DOCKER}:
        raise click.UsageError(
            "--creds-store works for docker only: use --cred-helpers for the others"
        )
    replace = replace.removeprefix("docker-credential-")
    if replace == OURSELVES:
        raise click.UsageError(f"--replace takes the name of another helper, not {OURSELVES}")

    app = App()
    known = _registries(app, named, regions, public=public)
    changes = []
    for client in dict.fromkeys(clients or [_DOCKER]):
        file = _FILES[client](os.environ)
        before = read_text(file, DockerConfigError)
        config = docker_edit.check(before or "", file)
        every = creds_store or (config.store == OURSELVES and not cred_helpers)
        made = plan(
            config,
            known,
            app.settings,
            every_registry=every,
            by_name=cred_helpers,
            replace=replace,
            only=bool(named),
            implied=_implied_store(config) if client == _DOCKER else "",
        )
        changes.append(_Change(client, file, before, config, made))
    if not known and not any(change.will_use_us for change in changes):
        raise AwsConfigError(
            f"no profile in {app.aws_config.source} names an account and a region",
            hint=f"{LOG_IN_FIRST}, or name a --registry",
        )
    if replace and not any(change.uses(replace) for change in changes):
        click.echo(f"ecr-py: docker-credential-{replace} is not configured anywhere", err=True)
    fallback = next((change.plan.fallback for change in changes if change.plan.fallback), "")
    settings_file, settings_text, settings_after = _with_fallback(app.settings, fallback)
    for change in changes:
        _report_kept_helpers(change)
        if change.plan.unread:
            _confirm_unread(change, sure=yes or dry_run)
        if change.plan.unset and app.settings.fallback == KEYRING:
            click.echo(
                f"ecr-py: {change.client} no longer reads the logins that ecr-py keeps: "
                "log in to their registries again",
                err=True,
            )
        change.drop = _auths_to_drop(change, sure=yes or remove_auths, ask=not dry_run)
    edits = [(settings_file, _SETTINGS, settings_text, settings_after)]
    edits += [(change.file, _CONFIG, change.before, change.after) for change in changes]
    edits = [edit for edit in edits if edit[3] != (edit[2] or "")]
    if dry_run:
        for file, kind, text, after in edits:
            show_change(str(file), kind.shown(text or ""), kind.shown(after))
        if not edits:
            click.echo("nothing would change", err=True)
        return
    file_edits.apply(
        file_edits.Edit(file, text, after, kind.undo) for file, kind, text, after in edits
    )
    # Printed last: the reader of the output may close it at any line.
    _show(known)
    if settings_after != (settings_text or ""):
        click.echo(f"settings: fallback = {fallback!r} in {settings_file}")
    _report_changes(changes)
    for change in changes:
        if change.drop and (hint := file_edits.hint_of_copies(change.file)):
            click.echo(hint, err=True)
    _check_path()


def _registries(
    app: App, named: tuple[str, ...], regions: tuple[str, ...], *, public: bool
) -> dict[str, str]:
    """Return host and profile of each registry to configure. Raises EcrPyError."""
    if regions:
        for region in regions:
            check_region(region)
    aws = app.aws_config
    found = {known.host: known.profile for known in known_registries(app.settings, aws, regions)}
    if named:
        hosts = [resolve_target(app, TargetOptions(name)).host for name in named]
        found = {host: found.get(host, "") for host in hosts}
    elif not regions:
        unplaced = [
            name for name, of in aws.profiles.items() if accounts_of(of) and not of.get("region")
        ]
        if unplaced:
            click.echo(
                f"ecr-py: {_profiles_have(unplaced)} no region: "
                f"set region in {aws.source}, or use --region",
                err=True,
            )
        sources = {of.get("source_profile") for of in aws.profiles.values()}
        # An access key from before 2019 does not contain its account.
        unowned = [
            name
            for name, of in aws.profiles.items()
            if "aws_access_key_id" in of and not accounts_of(of) and name not in sources
        ]
        if unowned:
            click.echo(
                f"ecr-py: {_profiles_have(unowned)} no account: set aws_account_id in {aws.source}",
                err=True,
            )
    return found | dict.fromkeys(PUBLIC_HOSTS[:1] if public else (), "")


def _profiles_have(names: list[str]) -> str:
    """Return "profile dev has", or "profiles dev, stage have": how a sentence begins."""
    return f"profile {names[0]} has" if len(names) == 1 else f"profiles {some(names)} have"


def _implied_store(config: DockerConfig) -> str:
    """Return the store that docker uses if its config names none; "" if there is none.

    Source: docker/cli, cli/config/credentials/default_store_*.go.
    """
    if config.helpers or config.store or config.auths:
        return ""
    linux = "pass" if find_program("pass") else "secretservice"
    store = {"darwin": "osxkeychain", "win32": "wincred"}.get(sys.platform, linux)
    return store if find_program(f"docker-credential-{store}") else ""


def _with_fallback(settings: Settings, fallback: str) -> tuple[Path, str | None, str]:
    """Return the settings file, and its text before and after. Raises SettingsError."""
    file = paths.settings_file(os.environ)
    text = read_text(file, SettingsError)
    if not fallback or fallback == settings.fallback:
        return file, text, text or ""
    if settings.fallback:
        raise SettingsError(
            f"docker's credsStore is {fallback}, but the fallback in {file} is {settings.fallback}",
            hint=f"run `ecr-py config set fallback {fallback}`, then this command again",
        )
    after = settings_edit.with_value(text or "", settings_edit.FALLBACK, fallback)
    parse_settings(after, str(file))
    return file, text, after


def _show(known: Mapping[str, str]) -> None:
    """Print each registry and its profile."""
    if not known:
        return
    rows = [(host, profile or "-") for host, profile in known.items()]
    show_table(("REGISTRY", "PROFILE"), rows)
    click.echo()


def _report_kept_helpers(change: _Change) -> None:
    for host, helper in change.plan.kept.items():
        click.echo(
            f"ecr-py: {change.client} still uses {helper} for {host}: "
            f"`--replace {helper}` switches it to ecr-py",
            err=True,
        )
    login_file = paths.podman_login_file(os.environ) if change.client == "podman" else None
    if login_file:
        config = load_docker_config(login_file)
        for url in config.with_password:
            if host_of_auth(url) in change.plan.helpers:
                click.echo(
                    f"ecr-py: {login_file} has a password for {url}, which podman uses first: "
                    f"run `podman logout {url}`",
                    err=True,
                )


def _confirm_unread(change: _Change, *, sure: bool) -> None:
    """Ask the user; exit with 1 if the answer is no. Raises BadInput if there is no terminal."""
    hosts = ", ".join(change.plan.unread)
    what = f"with a credsStore docker no longer reads the passwords in {change.file} for {hosts}"
    if sure:
        click.echo(f"ecr-py: {what}", err=True)
    elif not can_ask():
        raise BadInput(what, hint="use --cred-helpers, or --yes to continue")
    else:
        click.echo(f"{what[0].upper()}{what[1:]}.", err=True)
        if not click.confirm("Continue anyway", err=True):
            click.echo("ecr-py: nothing was changed", err=True)
            raise SystemExit(FAILED)


def _auths_to_drop(change: _Change, *, sure: bool, ask: bool) -> tuple[str, ...]:
    """Return the stale entries to remove. Asks on a terminal; else prints how to remove them."""
    stale = change.plan.stale
    if not stale or sure:
        return stale
    what = f"{change.file} has ECR passwords, which expire after 12 hours: {', '.join(stale)}"
    if ask and can_ask():
        click.echo(what, err=True)
        return stale if click.confirm("Remove them", default=True, err=True) else ()
    click.echo(f"ecr-py: {what}: `ecr-py configure --remove-auths` removes them", err=True)
    return ()


def _report_changes(changes: list[_Change]) -> None:
    for change in changes:
        what = f"{change.summary} in {change.file}" if change.summary else "nothing to change"
        click.echo(f"{change.client}: {what}")
    if not any(change.summary for change in changes):
        return
    if file_edits.keeps_records():
        click.echo("`ecr-py configure --undo` restores the original")
    else:
        click.echo("`ecr-py configure --undo` is not available here: see the copies in NAME.bak")


def _check_path() -> None:
    """Warn if a client would not find the helper (Go's exec.LookPath)."""
    found = found_by_shell(HELPER, as_given().get("PATH"))
    if found and os.path.isabs(found):
        return
    if found:
        problem = f"{found} is found through a relative folder in the PATH, which docker refuses"
    else:
        problem = f"{HELPER} is not on the PATH, so docker will not find it"
    ours = installed_in()
    hint = f": add {ours} to it, or `ln -s {ours / HELPER} /usr/local/bin/`" if ours else ""
    click.echo(f"ecr-py: {problem}{hint}", err=True)


def _undo(clients: tuple[str, ...], *, dry_run: bool) -> None:
    """Undo what configure did to the files of these clients. Raises EcrPyError."""
    files = [(client, _FILES[client](os.environ), _CONFIG) for client in clients]
    if _DOCKER in clients:
        files.append(("settings", paths.settings_file(os.environ), _SETTINGS))
    with file_edits.alone():
        records = [(*each, record) for each in files if (record := file_edits.recall(each[1]))]
        if not records:
            click.echo("nothing to undo: `ecr-py configure` has not changed any file here")
        for name, file, kind, record in records:
            now = read_text(file, DockerConfigError)
            if now is None:
                file_edits.forget(file)
                report(f"{name}: {file} no longer exists, so there is nothing to undo")
                continue
            if now != record.written:
                kind.check(now, file)
            after = record.taken_back(now, kind.undo)
            if dry_run:
                show_change(str(file), kind.shown(now), kind.shown(after or ""))
                continue
            if after != now:
                file_edits.write(file, now, after)
            file_edits.forget(file)
            report(f"{name}: {_outcome(file, after, record)}")


def _outcome(file: Path, after: str | None, record: file_edits.Record) -> str:
    if after is None:
        return f"removed {file}, which configure had created"
    if after == record.original:
        return f"{file} is restored"
    return f"{file} was edited since: removed what configure had added, and kept the rest"
