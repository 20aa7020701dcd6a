"""What is to become of docker's config, so that docker asks us. Pure; docker_edit.py writes it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from docker_credential_ecr_py.config.docker_config import OURSELVES, DockerConfig
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.errors import BadServerURL
from docker_credential_ecr_py.registry import host_of


@dataclass(frozen=True)
class Plan:
    """What is to become of a client's config.

    `helpers` are the hosts that get an entry of ours; `store` whether we answer for all hosts, and
    `fallback` the helper that did so before. `pinned` is the store that docker took of itself, and
    takes no more once its config names a helper. `stale` are auths with a password of ECR's,
    `unread` those of other registries that docker no longer looks at; `kept` hosts that another
    helper keeps.
    """

    helpers: tuple[str, ...] = ()
    store: bool = False
    fallback: str = ""
    pinned: str = ""
    stale: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


def plan(
    config: DockerConfig,
    hosts: Collection[str],
    settings: Settings,
    *,
    every_registry: bool,
    replace: str,
    only: bool = False,
    implied: str = "",
) -> Plan:
    """How a client comes to ask us for `hosts`, or for every registry. Asks nobody.

    What the helper `replace` has of ECR's becomes ours: with `only`, of `hosts` alone. `implied`
    is the store that the client takes of itself while its config names nobody.
    """
    others = {host: helper for host, helper in config.helpers.items() if helper != OURSELVES}
    taken = [
        host
        for host, helper in others.items()
        if replace and helper == replace
        if (host in hosts if only else settings.is_ecr(host))
    ]
    wanted = [] if every_registry else [host for host in hosts if host not in config.ours]
    kept = {
        host: helper
        for host, helper in others.items()
        if host not in taken and (host in wanted or (every_registry and settings.is_ecr(host)))
    }
    helpers = [host for host in dict.fromkeys([*wanted, *taken]) if host not in kept]
    theirs = bool(replace) and config.store == replace and (every_registry or not only)
    store = config.store != OURSELVES and (every_registry or theirs)
    stale = stale_auths(config, settings, helpers=helpers, store=store)
    unread = [
        url
        for url in config.with_password
        if store and not config.store
        if (host := host_of_auth(url)) not in config.helpers and not settings.is_ecr(host)
    ]
    # Nothing can be in the store that is implied, so a fallback that was set goes before it.
    before = config.store or (implied if not settings.fallback else "")
    fallback = before if store and not theirs else ""
    pinned = implied if helpers and not store else ""
    return Plan(tuple(helpers), store, fallback, pinned, tuple(stale), tuple(unread), kept)


def stale_auths(
    config: DockerConfig, settings: Settings, *, helpers: Iterable[str] = (), store: bool = False
) -> list[str]:
    """The keys of auths with a password of ECR's, for hosts about which the client asks us.

    Or will, once `helpers` have an entry of ours, or the `store` is us. Of other hosts they are no
    leftovers: the client opens them with that password.
    """
    by_name = {*config.ours, *helpers}
    others = config.helpers.keys() - by_name
    for_all = store or config.store == OURSELVES
    return [
        url
        for url in config.with_password
        if settings.is_ecr(host := host_of_auth(url))
        if host in by_name or (for_all and host not in others)
    ]


def host_of_auth(url: str) -> str:
    """The host of a key of auths, which may be a URL; "" where it is none."""
    try:
        return host_of(url)
    except BadServerURL:
        return ""
