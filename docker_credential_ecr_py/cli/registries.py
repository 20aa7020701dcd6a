"""Which registry a person means: by its host, an alias, a profile, an account, or the only one."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from docker_credential_ecr_py import paths
from docker_credential_ecr_py.aws_config import AwsConfig, load_aws_config
from docker_credential_ecr_py.broker import Broker
from docker_credential_ecr_py.errors import BadInput, BadServerURL, NotEcr, nearest
from docker_credential_ecr_py.registry import Registry, host_of
from docker_credential_ecr_py.selection import accounts_of


@dataclass(frozen=True)
class Known:
    """A registry that some profile is for. `host` is what docker calls it."""

    host: str
    registry: Registry
    profile: str


def load_config() -> AwsConfig:
    """Raises AwsConfigError."""
    return load_aws_config(
        paths.aws_config_file(os.environ), paths.aws_credentials_file(os.environ)
    )


def known_registries(
    broker: Broker, aws: AwsConfig, more_regions: Iterable[str] = ()
) -> list[Known]:
    """Accounts and regions of the AWS config, and hosts of the settings; each host once.

    A profile without a region has no registry that could be named, but in `more_regions`. In the
    order of the files.
    """
    regions = tuple(more_regions)
    found: dict[str, Known] = {}
    for name, values in aws.profiles.items():
        places = [(account, _region_of(values)) for account in sorted(accounts_of(values))]
        places += [(account, region) for account, _ in places for region in regions]
        for account, region in places:
            try:
                registry = Registry.of_account(account, region)
            except BadInput:
                continue
            found.setdefault(registry.host, Known(registry.host, registry, name))
    settings = broker.settings
    for host in (*settings.profiles, *settings.aliases):
        try:
            registry = settings.registry_for(host)
        except NotEcr:  # a glob
            continue
        found[host] = Known(host, registry, settings.profile_for(host, registry.host)[1])
    return list(found.values())


def named_registry(
    broker: Broker, name: str = "", *, profile: str = "", region: str = ""
) -> Registry:
    """The registry that is meant by `name`: a host or URL, an alias, a profile, an account.

    Without a name, that of `profile`, of AWS_PROFILE, or the only one that is known. `region`
    goes before the profile's own. Raises BadInput where that is none, or several.
    """
    aws = load_config()
    if "." in name or ":" in name:
        try:
            return broker.settings.registry_for(host_of(name))
        except (NotEcr, BadServerURL) as error:
            hosts = [known.host for known in known_registries(broker, aws)]
            raise BadInput(f"{error.what}{nearest(name, hosts)}") from None
    if name.isdigit():
        regions = {
            _region_of(values)
            for values in aws.profiles.values()
            if name in accounts_of(values) and _region_of(values)
        }
        if not region and len(regions) != 1:
            which = f", one of {', '.join(sorted(regions))}" if regions else ""
            raise BadInput(f"account {name}: say which --region{which}")
        return Registry.of_account(name, region or regions.pop())
    if name and profile and name != profile:
        raise BadInput(f"{name} is a profile already; leave out --profile {profile}")
    chosen = name or profile or os.environ.get("AWS_PROFILE", "")
    if chosen:
        return _registry_of_profile(chosen, aws, region)
    registries = list(
        {known.registry.host: known.registry for known in known_registries(broker, aws)}.values()
    )
    if region:
        registries = [registry for registry in registries if registry.region == region]
    if len(registries) == 1:
        return registries[0]
    if not registries:
        raise BadInput(f"no profile in {aws.source} names an account and a region: name a registry")
    profiles = [known.profile for known in known_registries(broker, aws) if known.profile]
    raise BadInput(
        f"which of {len(registries)} registries? Name one by its profile or host: "
        f"{', '.join(dict.fromkeys(profiles))}"
    )


def named_host(broker: Broker, name: str) -> str:
    """What docker calls the registry that is meant by `name`: an alias is its own host.

    Raises as named_registry.
    """
    registry = named_registry(broker, name)
    host = host_of(name) if "." in name else registry.host
    return host if host in broker.settings.aliases else registry.host


def _registry_of_profile(name: str, aws: AwsConfig, region: str) -> Registry:
    values = aws.profiles.get(name)
    if values is None:
        raise BadInput(f"{name} is no profile in {aws.source}{nearest(name, aws.profiles)}")
    accounts = accounts_of(values)
    if len(accounts) != 1:
        raise BadInput(
            f"profile {name} in {aws.source} does not say which account it is for: "
            "name the registry by its host, or give the profile an aws_account_id"
        )
    region = region or os.environ.get("AWS_REGION", "") or _region_of(values)
    if not region:
        raise BadInput(f"profile {name} in {aws.source} has no region: say which --region")
    return Registry.of_account(accounts.pop(), region)


def _region_of(values: Mapping[str, str]) -> str:
    return values.get("region", "")
