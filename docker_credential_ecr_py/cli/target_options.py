"""The options --registry, --profile and --region, for commands that take a target."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from docker_credential_ecr_py.cli.completions import PROFILES, REGIONS, REGISTRIES
from docker_credential_ecr_py.cli.targets import TargetOptions

_T = TypeVar("_T")

_OPTIONS = (
    click.option(
        "--registry",
        default="",
        metavar="NAME",
        shell_complete=REGISTRIES,
        help="The registry: a host, profile or account.",
    ),
    click.option(
        "--profile",
        default="",
        metavar="NAME",
        shell_complete=PROFILES,
        help="The AWS profile to use.",
    ),
    click.option(
        "--region",
        default="",
        metavar="REGION",
        shell_complete=REGIONS,
        help="The region, instead of the profile's.",
    ),
)


def target_options(command: Callable[..., _T]) -> Callable[..., _T]:
    """Add --registry, --profile and --region, which the command gets as `options`."""

    @wraps(command)
    def run(*args: Any, registry: str, profile: str, region: str, **kwargs: Any) -> _T:
        return command(*args, options=TargetOptions(registry, profile, region), **kwargs)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run
