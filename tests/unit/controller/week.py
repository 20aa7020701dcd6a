"""A week of a cluster in memory: outages of AWS and of the API server, restarts, new namespaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from docker_credential_ecr_py.errors import ClusterUnavailable
from tests.support.fake_cluster import passwords_in
from tests.unit.controller.world import HOUR, LIFE, World, issued_at, profile

_REGIONS = ("eu-west-1", "eu-north-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1")
_WEEK = 7 * 24
# Seconds between two looks at all secrets.
_LOOK = 60
# More writes than the controller tries in an hour.
_ENOUGH = 10_000
# Hours in which AWS, and in which the API server cannot be reached; hours of a restart. They meet
# the renewals, which come every 6.3 hours and take 0.6: all of them, half of them, or a restart.
_AWS_DOWN = {18, 19, *range(24, 28), 50, 51, *range(93, 97)}
_CLUSTER_DOWN = {38, 44, 82, 120}
_RESTARTS = {31, 95, 113, 140}


@dataclass(frozen=True)
class Week:
    """What a week came to. `expired` counts secrets that held an expired token at a full minute.

    `tokens` were asked for, besides the tries while AWS was down; `least` is how many there have to
    be: one for each identity and region in the life of a token. `failed_tokens` and `failed_writes`
    are the tries during outages.
    """

    expired: int
    tokens: int
    least: int
    writes: int
    failed_tokens: int
    failed_writes: int


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
    expired: set[tuple[str, str]] = set()
    failed_tokens = failed_writes = 0
    for hour in range(_WEEK):
        world.down = hour in _AWS_DOWN
        failures = [ClusterUnavailable("down")] * (_ENOUGH * (hour in _CLUSTER_DOWN))
        world.cluster.fails = list(failures)
        if hour in _RESTARTS:
            world.start()
        if hour % 10 == 5:
            world.cluster.add(f"n{hour % identities}-new-{hour}")
        before = sum(world.calls.values())
        for _ in range(HOUR // _LOOK):
            world.sleep(_LOOK)
            expired |= {
                place
                for place, document in world.cluster.documents.items()
                if _expiry(document) <= world.now
            }
        failed_tokens += (sum(world.calls.values()) - before) * world.down
        failed_writes += len(failures) - len(world.cluster.fails)
    least = identities * regions * _WEEK * HOUR // LIFE
    return Week(
        len(expired),
        sum(world.calls.values()) - failed_tokens,
        least,
        len(world.cluster.writes),
        failed_tokens,
        failed_writes,
    )


@lru_cache(maxsize=4096)  # many secrets hold the same
def _expiry(document: bytes) -> float:
    """Return when the first token in a secret expires."""
    return min(map(issued_at, passwords_in(document).values())) + LIFE
