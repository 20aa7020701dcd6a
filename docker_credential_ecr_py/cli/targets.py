"""Which registry a person means: by its host, an alias, a profile, an account, or the only one."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import (
    AwsConfig,
    accounts_of,
    profiles_without_account,
)
from docker_credential_ecr_py.config.docker_config import load_docker_config
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    BadInput,
    BadServerURL,
    NotEcr,
    nearest,
    some,
)
from docker_credential_ecr_py.known_registries import (
    Known,
    account_without_profile,
    errors_in_places,
    known_registries,
    places,
    region_of,
)
from docker_credential_ecr_py.reference import Reference
from docker_credential_ecr_py.registry import Registry, host_of, partition_of
from docker_credential_ecr_py.selection import (
    region_of_environment,
    region_variable,
)
from docker_credential_ecr_py.shell import quote

if TYPE_CHECKING:
    from docker_credential_ecr_py.aws.repositories import Repositories


@dataclass(frozen=True)
class TargetOptions:
    """The values of --registry, --profile and --region; "" for one that is not given."""

    registry: str = ""
    profile: str = ""
    region: str = ""


@dataclass(frozen=True)
class Target:
    """A registry, its host in docker, and the profile to use ("": chosen by the rules)."""

    registry: Registry
    host: str
    profile: str


def no_registry(aws: AwsConfig) -> BadInput:
    """Return the error if no registry is known: what is missing, and the command that adds it."""
    account = account_without_profile(aws)
    if account:
        return BadInput("the environment has AWS credentials, but no region", hint="set AWS_REGION")
    if account is not None:
        return BadInput(
            "the AWS credentials here do not tell their account",
            hint="set AWS_ACCOUNT_ID and AWS_REGION, or name a registry by its host; "
            "`ecr-py configure --creds-store` sets up docker for every registry",
        )
    if unplaced := profiles_without_region(aws):
        return no_region(unplaced)
    if unowned := profiles_without_account(aws):
        return no_account(unowned, aws)
    if not aws.profiles:
        return BadInput(aws.why_empty, hint=aws.hint_if_empty)
    for error in errors_in_places(aws):
        return error
    return BadInput(f"no profile in {aws.source} names an account and a region", hint=LOG_IN_FIRST)


def no_region(names: Sequence[str]) -> BadInput:
    """Return the error for profiles that have no region."""
    return BadInput(
        f"{profiles_have(names)} no region",
        hint=f"run `aws configure set region REGION --profile {quote(names[0])}`, "
        "or set AWS_REGION",
    )


def no_account(names: Sequence[str], aws: AwsConfig) -> BadInput:
    """Return the error for profiles whose account is not known."""
    return BadInput(
        f"{profiles_have(names)} no account in {aws.source}",
        hint=f"run `aws configure set aws_account_id ACCOUNT --profile {quote(names[0])}`, "
        "or `ecr-py configure --yes`, which asks AWS for it",
    )


def profiles_without_region(aws: AwsConfig) -> list[str]:
    """Return the profiles whose account is known, but not the region of its registry."""
    if region_variable(os.environ):
        return []
    return [name for name, of in aws.profiles.items() if accounts_of(of) and not region_of(of)]


def profiles_have(names: Sequence[str]) -> str:
    """Return "profile dev has", or "profiles dev, stage have": how a sentence begins."""
    return f"profile {names[0]} has" if len(names) == 1 else f"profiles {some(names)} have"


def named_registry(app: App, options: TargetOptions) -> Registry:
    """Return the registry that --registry names: a host or URL, an alias, a profile, an account.

    If it is not given, that of --profile, of the environment, or the only one that is known.
    --region goes before the profile's own. Raises BadInput if there is none, or several.
    """
    aws, name, region = app.aws_config, options.registry, options.region
    # botocore's list may be older than a region that the user has.
    if region and all(region != values.get("region") for values in aws.profiles.values()):
        check_region(region)
    if _is_host(name, aws):
        return _registry_at(name, app, region)
    if name.isdigit() and name not in aws.profiles:
        return _registry_of_account(name, aws, region)
    if name and options.profile and name != options.profile:
        raise BadInput(f"{name} is already a profile; leave out --profile {options.profile}")
    chosen = name or options.profile
    if not chosen and (account := account_without_profile(aws)):
        # The environment's credentials are used, whatever the profiles are.
        region = region or region_of_environment(os.environ, aws)
        if not region:
            raise no_registry(aws)
        return Registry.of_account(account, region)
    chosen = chosen or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or ""
    if chosen:
        return _registry_of_profile(chosen, aws, region)
    return _only_registry(app, region)


def _registry_at(name: str, app: App, region: str) -> Registry:
    """Return the registry with a host, a URL or an alias. Raises BadInput."""
    try:
        registry = app.settings.registry_for(host_of(name))
    except (NotEcr, BadServerURL) as error:
        hosts = [known.host for known in known_registries(app.settings, app.aws_config)]
        raise BadInput(f"{error.what}{nearest(name, hosts)}", hint=error.hint) from None
    if region and region != registry.region:
        raise BadInput(f"{name} is in {registry.region}: leave out --region {region}")
    return registry


def _registry_of_account(account: str, aws: AwsConfig, region: str) -> Registry:
    if len(account) != 12:
        raise BadInput(f"an account has twelve digits: {account[:80]!r}")
    regions = {own for _, owner, own in places(aws) if owner == account} - {""}
    regions = regions or {region_variable(os.environ)} - {""}
    if not region and len(regions) != 1:
        which = f", one of {', '.join(sorted(regions))}" if regions else ""
        raise BadInput(f"account {account} has no single region: set --region{which}")
    return Registry.of_account(account, region or regions.pop())


def _only_registry(app: App, region: str) -> Registry:
    """Return the one registry that is known, in a region if one is given. Raises BadInput."""
    all_known = known_registries(app.settings, app.aws_config) or _in_docker(app)
    registries = list({known.registry.host: known.registry for known in all_known}.values())
    if region:
        accounts = dict.fromkeys(one.account for one in registries if not one.public)
        registries = [one for one in registries if one.region == region] or [
            Registry.of_account(account, region) for account in accounts
        ]
    if len(registries) == 1:
        return registries[0]
    if not registries:
        raise no_registry(app.aws_config)
    called: dict[str, str] = {}
    for known in all_known:
        called.setdefault(known.registry.host, known.profile or known.host)
    names = [called.get(one.host, one.host) for one in registries]
    raise BadInput(
        f"there are {len(registries)} registries ({some(names)})",
        hint=f"{_how_to_name(quote(names[0]))}, or set AWS_PROFILE",
    )


def _how_to_name(name: str) -> str:
    """Return how this command is told which registry it is for."""
    context = click.get_current_context()
    if any("--registry" in parameter.opts for parameter in context.command.params):
        return f"add `--registry {name}`"
    return f"run `{context.command_path} {name}`"


def check_region(region: str, service: str = "ecr", name: str = "ECR") -> None:
    """Check that a service has a region, as far as botocore knows. Raises BadInput."""
    from docker_credential_ecr_py.aws.session import regions

    if not partition_of(region):
        raise BadInput(f"not a region (such as eu-west-1): {region[:80]!r}")
    known = regions(service)
    if region not in known:
        raise BadInput(f"{name} has no region {region!r}{nearest(region, known)}")


def resolve_target(app: App, options: TargetOptions) -> Target:
    """Return the registry that the options name. Raises as named_registry."""
    name, aws = options.registry, app.aws_config
    registry = named_registry(app, options)
    host = host_of(name) if _is_host(name, aws) else registry.host
    # If several profiles are for the account, use the one that was named.
    return Target(registry, host, options.profile or (name if name in aws.profiles else ""))


def resolve_targets(app: App, options: TargetOptions, hosts: Iterable[str] = ()) -> Target:
    """Return the one registry that the options, and `hosts` in front of repositories, name.

    A host is "" if a repository has none. Raises BadInput for several registries, and if it is not
    clear where a repository without a host is; else as named_registry.
    """
    hosts = list(hosts)
    if not options.registry and "" in hosts and any(hosts):
        raise BadInput(
            f"{next(filter(None, hosts))} is given for one name, but not for another",
            hint="write HOST/NAME for each, or add --registry",
        )
    names = list(dict.fromkeys(filter(None, [*hosts, options.registry]))) or [""]
    found = [resolve_target(app, replace(options, registry=name)) for name in names]
    if len({one.registry.host for one in found}) > 1:
        raise BadInput(f"one registry at a time, not {' and '.join(names)}")
    return next((one for one in found if one.profile), found[0])


def open_registry(hosts: Iterable[str], options: TargetOptions) -> "Repositories":
    """Return the repositories of the one registry that `hosts` and the options name.

    Logs in if needed. Raises BadInput as resolve_targets, and for ECR Public; else as
    App.call_as_selected.
    """
    app = App()
    found = resolve_targets(app, options, hosts)
    if found.registry.public:
        raise BadInput(
            "ECR Public has a separate API, which ecr-py does not support",
            hint="use `aws ecr-public --region us-east-1`",
            registry=found.host,
        )
    from docker_credential_ecr_py.aws.repositories import connect

    return app.with_profile(found.profile).call_as_selected(found.host, connect)


def registry_and_repository(text: str) -> tuple[str, str]:
    """Split an argument into registry and repository; the repository is "" if there is none.

    Raises BadInput for a name that ECR rejects.
    """
    if "/" not in text.removeprefix("https://").rstrip("/"):
        return text, ""
    reference = Reference.parse(text).without_image()
    return reference.host, reference.repository


def _in_docker(app: App) -> list[Known]:
    """Return the ECR registries that docker's config names ecr-py for."""
    ours = load_docker_config(paths.docker_config_file(os.environ)).ours
    hosts = [host for host in ours if app.settings.is_ecr(host)]
    return [Known(host, app.settings.registry_for(host), "") for host in hosts]


def _is_host(name: str, aws: AwsConfig) -> bool:
    return ("." in name or ":" in name) and name not in aws.profiles


def _registry_of_profile(name: str, aws: AwsConfig, region: str) -> Registry:
    values = aws.profiles.get(name)
    if values is None:
        hint = "" if aws.profiles else aws.hint_if_empty
        what = f"AWS_PROFILE={name}: that" if name == os.environ.get("AWS_PROFILE") else name
        raise BadInput(f"{what} is not a profile in {aws.source}{aws.nearest(name)}", hint=hint)
    accounts = accounts_of(values)
    if len(accounts) != 1:
        raise no_account([name], aws)
    region = region or region_variable(os.environ) or region_of(values)
    if not region:
        raise BadInput(f"profile {name} in {aws.source} has no region: set --region")
    return Registry.of_account(accounts.pop(), region)
