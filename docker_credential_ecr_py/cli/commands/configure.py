"""ecr-py configure: sets up docker and compatible clients to use ecr-py.

client_changes.py works out what to change, and file_edits.py writes the files and undoes it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace as replaced

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli import client_files
from docker_credential_ecr_py.cli.client_changes import (
    ClientChange,
    HelpersChange,
    client_change,
    edit_of_aws_config,
    edit_of_settings,
    helpers_change,
)
from docker_credential_ecr_py.cli.client_files import CLIENTS, DOCKER, PODMAN
from docker_credential_ecr_py.cli.completions import PROFILES, REGIONS, REGISTRIES
from docker_credential_ecr_py.cli.installation import how_to_find, installed_in
from docker_credential_ecr_py.cli.output import (
    FAILED,
    can_ask,
    command,
    report,
    show_change,
    show_table,
)
from docker_credential_ecr_py.cli.registry_state import choices
from docker_credential_ecr_py.cli.targets import (
    TargetOptions,
    check_region,
    no_account,
    no_region,
    no_registry,
    profiles_have,
    profiles_without_region,
    resolve_target,
)
from docker_credential_ecr_py.config import (
    file_edits,
    paths,
)
from docker_credential_ecr_py.config.aws_config import (
    AwsConfig,
    profiles_without_account,
)
from docker_credential_ecr_py.config.containers_config import CONTAINERS, load_containers_config
from docker_credential_ecr_py.config.docker_config import (
    OURSELVES,
    load_docker_config,
)
from docker_credential_ecr_py.config.docker_plan import host_of_auth
from docker_credential_ecr_py.config.settings import KEYRING, Settings
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import (
    BadInput,
    ContainersConfigError,
    EcrPyError,
    NoProfile,
    some,
)
from docker_credential_ecr_py.known_registries import known_registries
from docker_credential_ecr_py.programs import find_program, found_by_shell
from docker_credential_ecr_py.protocol import NAME as HELPER
from docker_credential_ecr_py.registry import PUBLIC_HOSTS, Registry
from docker_credential_ecr_py.selection import (
    Selection,
    identity_of,
    profiles_for_other_accounts,
)
from docker_credential_ecr_py.shell import quote


@command(short_help="Set up docker to use ecr-py.")
@click.argument("names", nargs=-1, metavar="[PROFILE]...", shell_complete=PROFILES)
@click.option(
    "--for",
    "clients",
    multiple=True,
    type=click.Choice(list(CLIENTS)),
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
    names: tuple[str, ...],
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
    ecr-py configure dev stage            those of two profiles
    ecr-py configure --dry-run            show the change only
    ecr-py configure --creds-store        every registry, also of future accounts
    ecr-py configure --for podman         podman, buildah and skopeo, every registry
    ecr-py configure --for apptainer
    ecr-py configure --replace ecr-login  replace the helper of awslabs
    ecr-py configure --undo               restore the original

    Existing content is preserved, and the original is kept in config.json.bak.
    """
    if undo:
        if any((names, cred_helpers, creds_store, named, regions, public, replace, remove_auths)):
            raise click.UsageError("--undo can be combined only with --for and --dry-run")
        _undo(clients or tuple(CLIENTS), dry_run=dry_run)
        return
    if names and (named or creds_store):
        other = "--registry" if named else "--creds-store"
        raise click.UsageError(f"{other} cannot be combined with profiles")
    if named and regions:
        raise click.UsageError("--registry already includes the region: leave out --region")
    if cred_helpers and creds_store:
        raise click.UsageError("--cred-helpers and --creds-store cannot be combined")
    if creds_store and set(clients) - {DOCKER}:
        raise click.UsageError(
            "--creds-store works for docker only: use --cred-helpers for the others"
        )
    replace = replace.removeprefix("docker-credential-")
    if replace == OURSELVES:
        raise click.UsageError(f"--replace takes the name of another helper, not {OURSELVES}")

    app = App()
    aws, accounts = app.aws_config, dict[str, str]()
    if names:
        named = tuple(_registries_of(app, names, regions))
    if not named:
        aws, accounts = _with_accounts(aws, sure=yes and not dry_run, ask=not dry_run)
    known = _registries(app, aws, named, regions, public=public)
    changes = []
    helpers: HelpersChange | None = None
    for client in dict.fromkeys(clients or [DOCKER]):
        change = client_change(
            client,
            app.settings,
            known,
            creds_store=creds_store,
            cred_helpers=cred_helpers,
            replace=replace,
            only=bool(named),
        )
        changes.append(change)
        if change.serves_all or (
            client == DOCKER and change.every_registry and _wants_podman(sure=yes, dry_run=dry_run)
        ):
            helpers = helpers_change(replace)
    if not known and helpers is None and not any(change.will_use_us for change in changes):
        raise no_registry(aws)
    if not named and (unowned := profiles_without_account(aws)):
        click.echo(str(no_account(unowned, aws)), err=True)
    is_used = any(change.uses(replace) for change in changes)
    if replace and not is_used and not (helpers and replace in helpers.names):
        click.echo(f"ecr-py: docker-credential-{replace} is not configured anywhere", err=True)
    fallback = next((change.plan.fallback for change in changes if change.plan.fallback), "")
    chosen = _profiles_to_set(app, named, sure=yes, ask=not dry_run)
    chosen |= _preferred(app, names)
    settings = edit_of_settings(app.settings, fallback, chosen)
    for change in changes:
        _report_kept_helpers(change, app.settings)
        if change.plan.unread:
            _confirm_unread(change, sure=yes or dry_run)
        if change.plan.unset and app.settings.fallback == KEYRING:
            click.echo(
                f"ecr-py: {change.client} no longer reads the logins that ecr-py keeps: "
                "log in to their registries again",
                err=True,
            )
        change.drop = _auths_to_drop(change, sure=yes or remove_auths, ask=not dry_run)
    edits = [settings]
    edits += [edit_of_aws_config(accounts)] if accounts else []
    edits += [change.edit for change in changes]
    edits += [helpers.edit] if helpers is not None else []
    edits = [edit for edit in edits if edit.changes]
    if dry_run:
        for edit in edits:
            show_change(str(edit.file), *edit.shown())
        if not edits:
            click.echo("nothing would change", err=True)
        return
    file_edits.apply(edits)
    # Printed last: the reader of the output may close it at any line.
    of = {host: app.settings.registry_for(host).account for host in known}
    _show({host: chosen.get(of[host]) or profile for host, profile in known.items()})
    if fallback and settings.changes:
        click.echo(f"settings: fallback = {fallback!r} in {settings.file}")
    for profile, account in accounts.items():
        click.echo(f"AWS config: profile {profile} is for account {account}, in {aws.source}")
    for account, profile in chosen.items():
        click.echo(f"settings: account {account} uses profile {profile} in {settings.file}")
    _report_changes(changes, helpers)
    for line in choices(_selections(app, (host for host in known if of[host] not in chosen))):
        click.echo(f"ecr-py: {line}", err=True)
    for change in changes:
        if change.drop and (hint := file_edits.hint_of_copies(change.file)):
            click.echo(hint, err=True)
    _check_path()


def _with_accounts(aws: AwsConfig, *, sure: bool, ask: bool) -> tuple[AwsConfig, dict[str, str]]:
    """Ask AWS for the account of each profile that does not tell it, if the user agrees.

    An access key from before 2019 does not contain its account. Returns the config with the
    accounts in it, and the accounts by profile.
    """
    names = profiles_without_account(aws)
    if not names or not (sure or (ask and can_ask() and _agrees(names))):
        return aws, {}
    from docker_credential_ecr_py.aws.sts import account_of

    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = account_of(name, identity_of(name, aws))
        except EcrPyError as error:
            error.profile = name
            click.echo(str(error), err=True)
    added = {name: {**aws.profiles[name], "aws_account_id": found[name]} for name in found}
    return replaced(aws, profiles={**aws.profiles, **added}), found


def _agrees(names: list[str]) -> bool:
    """Ask whether AWS may be called for the accounts of profiles."""
    what = profiles_have(names)
    click.echo(f"{what[0].upper()}{what[1:]} no account in the AWS config.", err=True)
    question = "Ask AWS (sts:GetCallerIdentity), and write the account there"
    return click.confirm(question, default=True, err=True)


def _registries_of(app: App, names: Iterable[str], regions: Iterable[str]) -> Iterator[str]:
    """Yield the host of each profile's registry, also in other regions. Raises BadInput."""
    for name in names:
        if name not in app.aws_config.profiles:
            near = app.aws_config.nearest(name)
            hint = "" if near else f"use `--registry {quote(name)}` for a registry"
            raise BadInput(f"{name} is not a profile in {app.aws_config.source}{near}", hint=hint)
        for region in ("", *regions):
            yield resolve_target(app, TargetOptions(name, region=region)).host


def _registries(
    app: App, aws: AwsConfig, named: tuple[str, ...], regions: tuple[str, ...], *, public: bool
) -> dict[str, str]:
    """Return host and profile of each registry to configure. Raises EcrPyError."""
    for region in regions:
        check_region(region)
    found = {
        known.host: known.profile or _selected_profile(app, known.host)
        for known in known_registries(app.settings, aws, regions)
    }
    if named:
        hosts = [resolve_target(app, TargetOptions(name)).host for name in named]
        found = {host: found.get(host) or _selected_profile(app, host) for host in hosts}
    elif not regions and (unplaced := profiles_without_region(aws)):
        click.echo(f"{no_region(unplaced)}, or use --region", err=True)
    return found | dict.fromkeys(PUBLIC_HOSTS[:1] if public else (), "")


def _selected_profile(app: App, host: str) -> str:
    """Return the profile that answers for a registry now; "" if none does."""
    with suppress(EcrPyError):
        return app.select(host).profile
    return ""


def _selections(app: App, hosts: Iterable[str]) -> Iterator[tuple[Registry, Selection]]:
    """Yield each registry that is answered now, with its selection."""
    for host in hosts:
        with suppress(EcrPyError):
            yield app.settings.registry_for(host), app.select(host)


def _wants_podman(*, sure: bool, dry_run: bool) -> bool:
    """Ask the user whether podman, buildah and skopeo, which read no credsStore, are to use us.

    Without a terminal, print the command instead.
    """
    installed = [name for name in CONTAINERS if find_program(name)]
    try:
        if not installed or load_containers_config(os.environ).uses_us:
            return False
    except ContainersConfigError as error:  # docker has no part in it
        click.echo(error, err=True)
        return False
    do = "does" if len(installed) == 1 else "do"
    what = f"{some(installed)} {do} not read credsStore"
    if sure:
        return True
    if not dry_run and can_ask():
        click.echo(f"{what}.", err=True)
        return click.confirm("Set them up too", default=True, err=True)
    click.echo(f"ecr-py: {what}: `ecr-py configure --for podman` sets them up", err=True)
    return False


def _profiles_to_set(app: App, named: Iterable[str], *, sure: bool, ask: bool) -> dict[str, str]:
    """Return the profile to set for each account that no rule finds one for.

    Asks on a terminal which one it is; else prints how to set it.
    """
    chosen: dict[str, str] = {}
    for name in named:
        registry = resolve_target(app, TargetOptions(name)).registry
        if registry.public or registry.account in chosen:
            continue
        try:
            app.select(registry.host)
        except NoProfile as error:
            profiles = profiles_for_other_accounts(registry, app.aws_config)
            if sure and len(profiles) == 1:
                chosen[registry.account] = profiles[0]
            elif profiles and ask and can_ask() and (picked := _ask_profile(registry, profiles)):
                chosen[registry.account] = picked
            else:
                error.add_context(registry=registry.host)
                click.echo(str(error), err=True)
    return chosen


def _preferred(app: App, names: Iterable[str]) -> dict[str, str]:
    """Return each profile that the user named and another would answer for, by its account."""
    found: dict[str, str] = {}
    for name in names:
        target = resolve_target(app, TargetOptions(name))
        with suppress(EcrPyError):
            if name in app.select(target.host).others:
                found[target.registry.account] = name
    return found


def _ask_profile(registry: Registry, profiles: list[str]) -> str:
    """Ask which profile to use for another account's registry; "" if none."""
    click.echo(f"No profile is for account {registry.account} of {registry.host}.", err=True)
    question = f"Use which profile for it ({some(profiles)}; none)"
    only = profiles[0] if len(profiles) == 1 else None
    allowed = click.Choice([*profiles, "none"])
    picked = click.prompt(question, type=allowed, default=only, show_choices=False, err=True)
    return "" if picked == "none" else str(picked)


def _show(known: Mapping[str, str]) -> None:
    """Print each registry and its profile."""
    if not known:
        return
    rows = [(host, profile or "-") for host, profile in known.items()]
    show_table(("REGISTRY", "PROFILE"), rows)
    click.echo()


def _report_kept_helpers(change: ClientChange, settings: Settings) -> None:
    for host, helper in change.plan.kept.items():
        click.echo(
            f"ecr-py: {change.client} still uses {helper} for {host}: "
            f"`--replace {helper}` switches it to ecr-py",
            err=True,
        )
    login_file = paths.podman_login_file(os.environ) if change.client == PODMAN else None
    if login_file:
        config = load_docker_config(login_file)
        for url in config.with_password:
            host = host_of_auth(url)
            if host in change.plan.helpers or (change.serves_all and settings.is_ecr(host)):
                click.echo(
                    f"ecr-py: {login_file} has a password for {url}, which podman uses first: "
                    f"run `podman logout {url}`",
                    err=True,
                )


def _confirm_unread(change: ClientChange, *, sure: bool) -> None:
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


def _auths_to_drop(change: ClientChange, *, sure: bool, ask: bool) -> tuple[str, ...]:
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


def _report_changes(changes: list[ClientChange], helpers: HelpersChange | None) -> None:
    lines = [
        f"{change.client}: {change.summary} in {change.file}"
        for change in changes
        if change.summary
    ]
    if helpers is not None and helpers.edit.changes:
        lines.append(f"{PODMAN}: credential-helpers has {OURSELVES} in {helpers.edit.file}")
    named = {line.partition(":")[0] for line in lines}
    idle = [change.client for change in changes if change.client not in named]
    for line in [*lines, *(f"{client}: nothing to change" for client in idle)]:
        click.echo(line)
    if not lines:
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
    hint = how_to_find(installed_in())
    hint = f": {hint}" if hint else ""
    click.echo(f"ecr-py: {problem}{hint}", err=True)


def _undo(clients: tuple[str, ...], *, dry_run: bool) -> None:
    """Undo what configure did to the files of these clients. Raises EcrPyError."""
    fallback = client_files.fallback()
    with file_edits.alone():
        found = [each for each in client_files.of_clients(clients) if each.record]
        if not found:
            click.echo("nothing to undo: `ecr-py configure` has not changed any file here")
        for each in found:
            restored = each.undone(fallback)
            if dry_run:
                show_change(str(each.file), *restored.shown())
                continue
            restored.write()
            report(f"{each.label}: {restored.outcome}")
