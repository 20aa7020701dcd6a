"""The registries that the profiles of the AWS config and the settings name. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from docker_credential_ecr_py.config.aws_config import AwsConfig, accounts_of
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.errors import BadInput, NotEcr
from docker_credential_ecr_py.registry import Registry


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

    A profile without a region has registries in `more_regions` only.
    """
    regions = tuple(more_regions)
    found: dict[str, Known] = {}
    for name, values in aws.profiles.items():
        places = [(account, region_of(values)) for account in sorted(accounts_of(values))]
        places += [(account, region) for account, _ in places for region in regions]
        for account, region in places:
            if name not in aws.for_account(account):
                continue
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


def region_of(values: Mapping[str, str]) -> str:
    """Return the region in a profile, or ""."""
    return values.get("region", "")
