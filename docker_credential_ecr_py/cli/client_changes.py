"""What `configure` changes in the files of clients, in the settings and in the AWS config.

docker_plan.py decides what to change in a client's file, and docker_edit.py edits the text.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.cli import client_files
from docker_credential_ecr_py.cli.client_files import CLIENTS, DOCKER, PODMAN
from docker_credential_ecr_py.cli.humanize import counted
from docker_credential_ecr_py.config import (
    aws_edit,
    containers_config,
    docker_edit,
    paths,
    settings_edit,
)
from docker_credential_ecr_py.config.containers_config import load_containers_config
from docker_credential_ecr_py.config.docker_config import OURSELVES, DockerConfig, implied_store
from docker_credential_ecr_py.config.docker_plan import Plan, plan, stale_auths
from docker_credential_ecr_py.config.file_edits import Edit
from docker_credential_ecr_py.config.settings import Settings, parse_settings
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import (
    AwsConfigError,
    ContainersConfigError,
    DockerConfigError,
    SettingsError,
)


@dataclass(frozen=True)
class HelpersChange:
    """The edit of registries.conf, or of the drop-in in its place, and the helpers there now."""

    edit: Edit
    names: tuple[str, ...] = ()


@dataclass
class ClientChange:
    """The file of one client, before and after the change.

    With `every_registry` it is to have us as credsStore. With `serves_all` another file has the
    client use us for every registry.
    """

    client: str
    file: Path
    before: str | None
    config: DockerConfig
    plan: Plan
    drop: tuple[str, ...] = ()
    every_registry: bool = False
    serves_all: bool = False

    def uses(self, helper: str) -> bool:
        """Return whether the client uses that helper now."""
        return helper in (self.config.store, *self.config.helpers.values())

    @property
    def will_use_us(self) -> bool:
        if self.plan.unset:
            return bool(self.plan.helpers or self.config.ours)
        return self.uses(OURSELVES) or self.plan.store or bool(self.plan.helpers)

    @property
    def edit(self) -> Edit:
        plan = self.plan
        after = docker_edit.edited(
            self.before or "",
            helpers=dict.fromkeys(plan.helpers, OURSELVES),
            store=OURSELVES if plan.store else plan.pinned,
            unset_store=plan.unset,
            drop_auths=self.drop,
        )
        return Edit(self.file, self.before, after, client_files.DOCKER_CONFIG)

    @property
    def summary(self) -> str:
        """Return a short text of the change; "" if there is none."""
        count = len(self.plan.helpers)
        done = [f"{counted(count, 'entry', 'entries')} in credHelpers"] * bool(count)
        done += [f"credsStore is {OURSELVES}"] * self.plan.store
        if self.plan.unset:
            done += [
                f"credsStore is {self.plan.pinned} again" if self.plan.pinned else "no credsStore"
            ]
        elif store := self.plan.pinned:
            done += [f"credsStore is {store}, docker's default here"]
        done += [f"auths without {', '.join(self.drop)}"] * bool(self.drop)
        if (self.before or "").startswith(BYTE_ORDER_MARK):
            done += ["no byte-order mark (docker rejects it)"]
        return ", ".join(done)


def client_change(
    client: str,
    settings: Settings,
    known: Collection[str],
    *,
    creds_store: bool,
    cred_helpers: bool,
    replace: str,
    only: bool,
) -> ClientChange:
    """Return what to change in a client's file, for the registries `known`. Raises EcrPyError."""
    file = CLIENTS[client](os.environ)
    before = read_text(file, DockerConfigError)
    config = docker_edit.check(before or "", file)
    serves_all = client == PODMAN and not (cred_helpers or only)
    others = [host for host in config.helpers if settings.is_ecr(host)]
    every = creds_store or (config.store == OURSELVES and not cred_helpers)
    made = plan(
        config,
        others if serves_all else known,
        settings,
        every_registry=every,
        by_name=cred_helpers,
        replace=replace,
        only=only,
        implied=implied_store(config) if client == DOCKER else "",
    )
    if serves_all:
        made = replaced(made, stale=tuple(stale_auths(config, settings, store=True)))
    return ClientChange(
        client, file, before, config, made, every_registry=every, serves_all=serves_all
    )


def helpers_change(replace: str) -> HelpersChange:
    """Return the change by which podman, buildah and skopeo use this helper for every registry.

    It takes the place of the helper `replace`. Raises ContainersConfigError.
    """
    config = load_containers_config(os.environ)
    before = after = read_text(config.file, ContainersConfigError)
    if not config.uses_us or replace in config.helpers:
        after = containers_config.with_us(before or "", config.helpers, replace)
    edit = Edit(config.file, before, after or "", client_files.REGISTRIES_CONF)
    return HelpersChange(edit, config.helpers)


def edit_of_settings(settings: Settings, fallback: str, profiles: Mapping[str, str]) -> Edit:
    """Return the edit that sets the fallback, if any, and the profile of each account.

    Raises SettingsError.
    """
    file = paths.settings_file(os.environ)
    before = read_text(file, SettingsError)
    after = before or ""
    if fallback and fallback != settings.fallback:
        if settings.fallback:
            raise SettingsError(
                f"docker's credsStore is {fallback}, but the fallback in {file} is "
                f"{settings.fallback}",
                hint=f"run `ecr-py config set fallback {fallback}`, then this command again",
            )
        after = settings_edit.with_value(after, settings_edit.FALLBACK, fallback)
    for account, profile in profiles.items():
        path = settings_edit.profile_of(f"{account}.*")
        after = settings_edit.with_value(after, path, profile)
    parse_settings(after, str(file))
    return Edit(file, before, after, client_files.SETTINGS)


def edit_of_aws_config(accounts: Mapping[str, str]) -> Edit:
    """Return the edit that writes accounts into the AWS config. Raises AwsConfigError."""
    file = paths.aws_config_file(os.environ)
    before = read_text(file, AwsConfigError)
    after = before or ""
    for profile, account in accounts.items():
        after = aws_edit.with_account(after, profile, account)
    return Edit(file, before, after, client_files.AWS_CONFIG)
