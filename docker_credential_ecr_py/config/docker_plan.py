"""Plans the changes to docker's config that make docker use this helper. Pure.

docker_edit.py makes them.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from docker_credential_ecr_py.config.docker_config import OURSELVES, DockerConfig
from docker_credential_ecr_py.config.settings import KEYRING, Settings
from docker_credential_ecr_py.errors import BadServerURL
from docker_credential_ecr_py.registry import host_of


@dataclass(frozen=True)
class Plan:
    """The changes to a client's config.

    `helpers` are the hosts that get this helper; `store` is whether it becomes the credsStore, and
    `fallback` the credsStore before. `pinned` is the store that docker uses by default, and no
    longer does once its config names a helper; with `unset`, this helper stops being the
    credsStore, and `pinned` takes its place, if there is one. `stale` are auths with a password of
    ECR's, `unread` those of other registries that docker will no longer read; `kept` are hosts that
    stay with another helper.
    """

    helpers: tuple[str, ...] = ()
    store: bool = False
    fallback: str = ""
    pinned: str = ""
    unset: bool = False
    stale: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


def plan(
    config: DockerConfig,
    hosts: Collection[str],
    settings: Settings,
    *,
    every_registry: bool,
    by_name: bool = False,
    replace: str,
    only: bool = False,
    implied: str = "",
) -> Plan:
    """Return the changes that make a client use this helper for `hosts`, or every registry.

    With `by_name` it is no longer used for the others. ECR hosts of the helper `replace` are taken
    over: with `only`, just those in `hosts`. `implied` is the store that the client uses by default
    while its config names none.
    """
    unset = by_name and config.store == OURSELVES
    if unset:
        config = dataclasses.replace(config, store="")
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
    # The implied store cannot hold anything yet, so a fallback that is set takes precedence.
    before = config.store or (implied if not settings.fallback else "")
    fallback = before if store and not theirs else ""
    pinned = implied if helpers and not store else ""
    if unset and settings.fallback != KEYRING:
        pinned = settings.fallback
    return Plan(tuple(helpers), store, fallback, pinned, unset, tuple(stale), tuple(unread), kept)


def stale_auths(
    config: DockerConfig, settings: Settings, *, helpers: Iterable[str] = (), store: bool = False
) -> list[str]:
    """Return the keys of auths with an ECR password, for hosts that this helper serves.

    Or will serve, once it is set for `helpers` or as the `store`. For other hosts the client still
    uses that password.
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
    """Return the host of a key of auths, which may be a URL; "" if it is neither."""
    try:
        return host_of(url)
    except BadServerURL:
        return ""
