"""What the controller would do in the cluster now, if AWS gave it every token."""

import time

from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.cluster import WatchedCluster
from docker_credential_ecr_py.controller.plan import Action, Moment, Token, plan_namespace
from docker_credential_ecr_py.controller.resolve import Resolved
from docker_credential_ecr_py.credential import LONGEST_LIFE
from docker_credential_ecr_py.errors import ClusterUnavailable

# Seconds for the first lists of a large cluster.
_LIST_LIMIT = 60.0


def preview(api: ApiServer, resolved: Resolved, now: float) -> list[Action]:
    """Return all actions, those that are due first. Reads only. Raises ClusterError."""
    cluster = WatchedCluster(api, lambda namespace: None)
    grants = resolved.grants
    cluster.watch(grants.secret_names, service_accounts=grants.patch_service_accounts)
    _wait_for(cluster)
    tokens = {key: Token(int(now), int(now) + LONGEST_LIFE) for key in resolved.entries}
    moment = Moment(tokens, (), now)
    found: list[Action] = []
    for namespace in cluster.namespaces():
        found += plan_namespace(
            namespace,
            resolved.wishes.of(namespace),
            cluster.secrets(namespace.name),
            cluster.service_accounts(namespace.name),
            moment,
        )
    cluster.stop()
    return sorted(found, key=lambda action: (action.due > now, action.namespace, action.name))


def _wait_for(cluster: WatchedCluster) -> None:
    """Wait until everything has been listed. Raises ClusterUnavailable."""
    deadline = time.monotonic() + _LIST_LIMIT
    while not cluster.synced:
        if cluster.problem or time.monotonic() > deadline:
            raise ClusterUnavailable(cluster.problem or "the API server took too long to list")
        time.sleep(0.02)
