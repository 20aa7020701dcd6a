"""A week of a cluster in memory: outages of AWS and of the API server, restarts, new namespaces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docker_credential_ecr_py.errors import ClusterUnavailable
from tests.unit.controller.world import HOUR, LIFE, World, profile

_REGIONS = ("eu-west-1", "eu-north-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1")
_WEEK = 7 * 24
# Hours in which AWS, and in which the API server cannot be reached; hours of a restart.
_AWS_DOWN = {*range(20, 22), *range(70, 75), 120, 121, 122}
_CLUSTER_DOWN = {40, 41, 96}
_RESTARTS = {30, 71, 100, 140}


@dataclass(frozen=True)
class Week:
    """What a week came to. `expired` counts secrets that held an expired token at a full hour.

    `tokens` were asked for, besides the tries while AWS was down; `least` is how many there have to
    be: one for each identity and region in the life of a token.
    """

    expired: int
    tokens: int
    least: int
    writes: int


def live_a_week(folder: Path, *, identities: int, regions: int, namespaces: int) -> Week:
    """Let the real controller live a week. Each namespace has the registries of two identities."""
    world = World(folder)
    accounts = [f"{number:012}" for number in range(1, identities + 1)]
    world.aws_config("".join(profile(f"p{account}", account) for account in accounts))
    names = ", ".join(_REGIONS[:regions])
    world.grants(
        "grants:\n"
        + "".join(
            f"  - name: g{number}\n    registries: ['{account}']\n    regions: [{names}]\n"
            f"    namespaces: [n{number}-*, n{(number + 1) % identities}-*]\n"
            for number, account in enumerate(accounts)
        )
    )
    for number in range(namespaces):
        world.cluster.add(f"n{number % identities}-{number}")
    expired = failed = 0
    for hour in range(_WEEK):
        world.down = hour in _AWS_DOWN
        world.cluster.fails = [ClusterUnavailable("down")] * (10_000 * (hour in _CLUSTER_DOWN))
        if hour in _RESTARTS:
            world.start()
        if hour % 10 == 5:
            world.cluster.add(f"n{hour % identities}-new-{hour}")
        before = sum(world.calls.values())
        world.sleep(HOUR)
        failed += (sum(world.calls.values()) - before) * world.down
        expired += sum(
            not world.is_current(namespace, name) for namespace, name in world.cluster.documents
        )
    least = identities * regions * _WEEK * HOUR // LIFE
    return Week(expired, sum(world.calls.values()) - failed, least, len(world.cluster.writes))
