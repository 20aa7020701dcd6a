"""The registries that the AWS config, the environment and the settings name. AWS is not called."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from docker_credential_ecr_py.aws.ec2 import on_ec2
from docker_credential_ecr_py.config.aws_config import AwsConfig, accounts_of
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.errors import BadInput, NotEcr
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import (
    account_of_environment,
    region_of_environment,
    region_variable,
)


@dataclass(frozen=True)
class Known:
    """A registry that a profile is for. `host` is its name in docker."""

    host: str
    registry: Registry
    profile: str


def known_registries(
    settings: Settings, aws: AwsConfig, more_regions: Iterable[str] = ()
) -> list[Known]:
    """Return the registries of the AWS config and of the settings, each host once, in file order.

    A profile without a region has registries in the environment's region, if it names one, and in
    `more_regions`. Credentials in the environment have a registry too, if they tell their account.
    """
    regions = tuple(more_regions)
    found: dict[str, Known] = {}
    for name, account, own_region in places(aws):
        for region in (own_region, *regions):
            try:
                registry = Registry.of_account(account, region)
            except BadInput:
                continue
            found.setdefault(registry.host, Known(registry.host, registry, name))
    for host in (*settings.profiles, *settings.aliases):
        try:
            registry = settings.registry_for(host)
        except NotEcr:  # a glob
            continue
        found[host] = Known(host, registry, settings.profile_for(host, registry.host)[1])
    return list(found.values())


def places(aws: AwsConfig) -> Iterator[tuple[str, str, str]]:
    """Yield profile, account and region; the environment's credentials have no profile."""
    for name, values in aws.profiles.items():
        for account in sorted(accounts_of(values)):
            if name in aws.for_account(account):
                yield name, account, region_of(values) or region_variable(os.environ)
    if own := account_without_profile(aws):
        yield "", own, region_of_environment(os.environ, aws)


def errors_in_places(aws: AwsConfig) -> Iterator[BadInput]:
    """Yield an error for each profile whose account or region cannot be one."""
    for name, account, region in places(aws):
        try:
            if name and region:
                Registry.of_account(account, region)
        except BadInput as error:
            yield BadInput(f"profile {name} in {aws.source}: {error.what}")


def account_without_profile(aws: AwsConfig) -> str | None:
    """Return the account of the environment's credentials, or of this EC2 instance's role.

    "" if it is not known, None if there are no such credentials.
    """
    account = account_of_environment(os.environ)
    if account is None and not aws.profiles and on_ec2(os.environ):
        return os.environ.get("AWS_ACCOUNT_ID", "")
    return account


def region_of(values: Mapping[str, str]) -> str:
    """Return the region in a profile, or ""."""
    return values.get("region", "")
