"""Which registry a person means: by its host, an alias, a profile, an account, or the only one."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from docker_credential_ecr_py.broker import Broker
from docker_credential_ecr_py.cli.completions import PROFILES, REGIONS, REGISTRIES
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import AwsConfig, accounts_of, load_aws_config
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    BadInput,
    BadServerURL,
    NotEcr,
    nearest,
    some,
)
from docker_credential_ecr_py.reference import Reference
from docker_credential_ecr_py.registry import Registry, host_of

if TYPE_CHECKING:
    from docker_credential_ecr_py.aws.repositories import Repositories

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Known:
    """A registry that some profile is for. `host` is what docker calls it."""

    host: str
    registry: Registry
    profile: str


@dataclass(frozen=True)
class Target:
    """A registry, what its clients call it, and the profile that asks ("": the rules say)."""

    registry: Registry
    host: str
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
            if name not in aws.for_account(account):
                continue
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
    if _is_host(name, aws):
        try:
            registry = broker.settings.registry_for(host_of(name))
        except (NotEcr, BadServerURL) as error:
            hosts = [known.host for known in known_registries(broker, aws)]
            raise BadInput(f"{error.what}{nearest(name, hosts)}", hint=error.hint) from None
        if region and region != registry.region:
            raise BadInput(f"{name} is in {registry.region}: leave out --region {region}")
        return registry
    if name.isdigit() and name not in aws.profiles:
        if len(name) != 12:
            raise BadInput(f"an account is twelve digits, and not {name[:80]!r}")
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
    environ = os.environ
    chosen = name or profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
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
        raise BadInput(
            f"no profile in {aws.source} names an account and a region",
            hint=LOG_IN_FIRST
            if not aws.profiles
            else "name a registry by its host, or give a profile aws_account_id and region",
        )
    profiles = [known.profile for known in known_registries(broker, aws) if known.profile]
    raise BadInput(
        f"which of {len(registries)} registries?",
        hint=f"name one of {some(list(dict.fromkeys(profiles)))}, or set AWS_PROFILE",
    )


def resolve_one_target(
    broker: Broker, name: str = "", *, profile: str = "", region: str = ""
) -> Target:
    """What `name` and the options mean. Raises as named_registry."""
    aws = load_config()
    registry = named_registry(broker, name, profile=profile, region=region)
    host = host_of(name) if _is_host(name, aws) else registry.host
    # Whoever names a registry by a profile means that one of all that are for the account.
    return Target(registry, host, profile or (name if name in aws.profiles else ""))


def resolve_target(
    broker: Broker, names: Iterable[str], hosts: Iterable[str] = (), *, profile: str, region: str
) -> Target:
    """What all of `names`, and of `hosts` in front of repositories, mean: "" where none is named.

    Raises BadInput for several, and where it is unsaid whose a repository without a host is; else
    as named_registry.
    """
    names, hosts = list(filter(None, names)), list(hosts)
    if not names and "" in hosts and any(hosts):
        raise BadInput(
            f"{next(filter(None, hosts))} stands before one name, and nothing before another",
            hint="write HOST/NAME for each, or add --registry",
        )
    every = list(dict.fromkeys([*filter(None, hosts), *names])) or [""]
    found = [resolve_one_target(broker, name, profile=profile, region=region) for name in every]
    if len({one.registry.host for one in found}) > 1:
        raise BadInput(f"one registry at a time, and not {' and '.join(every)}")
    return next((one for one in found if one.profile), found[0])


def open_registry(
    hosts: Iterable[str], *, registry: str, profile: str, region: str
) -> "Repositories":
    """The repositories of the one registry that `hosts` and the options name, logged in to.

    Raises BadInput as the_one_meant, and for ECR Public; else as Broker.ask_as_selected.
    """
    found = resolve_target(Broker(), [registry], hosts, profile=profile, region=region)
    if found.registry.public:
        raise BadInput(
            "ECR Public has an API of its own, which ecr-py does not speak",
            hint="use `aws ecr-public --region us-east-1`",
            registry=found.host,
        )
    from docker_credential_ecr_py.aws.repositories import connect

    return Broker(profile=found.profile).ask_as_selected(found.host, connect)


def registry_and_repository(text: str) -> tuple[str, str]:
    """What an argument that names a registry says: the repository is "" where it has none.

    Raises BadInput for a name that ECR refuses.
    """
    if "/" not in text.removeprefix("https://").rstrip("/"):
        return text, ""
    reference = Reference.parse(text).without_image()
    return reference.host, reference.repository


_OPTIONS = (
    click.option(
        "--registry",
        default="",
        metavar="NAME",
        shell_complete=REGISTRIES,
        help="Its host, a profile, an account.",
    ),
    click.option(
        "--profile",
        default="",
        metavar="NAME",
        shell_complete=PROFILES,
        help="The AWS profile that asks.",
    ),
    click.option(
        "--region",
        default="",
        metavar="REGION",
        shell_complete=REGIONS,
        help="Instead of the profile's own.",
    ),
)


def registry_options(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Adds what every command has that asks a registry."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _is_host(name: str, aws: AwsConfig) -> bool:
    return ("." in name or ":" in name) and name not in aws.profiles


def _registry_of_profile(name: str, aws: AwsConfig, region: str) -> Registry:
    values = aws.profiles.get(name)
    if values is None:
        hint = "" if aws.profiles else LOG_IN_FIRST
        what = f"AWS_PROFILE={name}: that" if name == os.environ.get("AWS_PROFILE") else name
        raise BadInput(
            f"{what} is no profile in {aws.source}{nearest(name, aws.profiles)}", hint=hint
        )
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
