"""What the controller sees of a cluster, as small values, and what it can do there.

cluster.py implements `Cluster` on an API server, the tests in memory. plan.py and controller.py
know nothing else of Kubernetes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

# Our field manager, and the value of the label app.kubernetes.io/managed-by.
MANAGER = "ecr-py"
MANAGED_BY = "app.kubernetes.io/managed-by"
# The prefix of the annotations that `Secret.annotations` has, and the longest, in characters: a
# secret has room for 400 tokens, whose times take less.
PREFIX = "ecr-py/"
LONGEST_ANNOTATION = 16 * 1024


@dataclass(frozen=True, slots=True)
class Namespace:
    """`terminating` means that it is being deleted: nothing can be created in it."""

    name: str
    uid: str
    labels: Mapping[str, str]
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by its metadata alone.

    `annotations` are those with PREFIX and not longer than LONGEST_ANNOTATION: the owner of a
    namespace can write any, and plans remember the texts. `managed` is whether we made it: the
    label MANAGED_BY says MANAGER, and MANAGER is one of its field managers (a copy of ours has the
    label only).
    `editors` are the field managers other than MANAGER that own a field of `data`, by
    managedFields: someone edited what we wrote, or the secret is not ours.
    """

    namespace: str
    name: str
    uid: str
    version: str
    annotations: Mapping[str, str]
    managed: bool
    editors: tuple[str, ...] = ()
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """`pull_secrets` are the names in its imagePullSecrets, in their order."""

    namespace: str
    name: str
    version: str
    pull_secrets: tuple[str, ...] = ()


class Cluster(Protocol):
    """The state of a cluster, kept current in the background, and writes to it.

    A write waits for the API server's answer, and its result is part of the state at once, so the
    next plan sees it. Each write raises Conflict, Invalid, Forbidden, TooManyRequests or
    ClusterUnavailable of errors.py. `changed` of the constructor is called, from any thread, with
    the name of the namespace in which something changed, or "" for the whole cluster (after a
    list). Nothing relies on that call arriving.
    """

    def watch(self, secret_names: Iterable[str], *, service_accounts: bool) -> None:
        """Watch namespaces, the secrets of these names, and service accounts if asked to.

        It may be called again with other names. Returns at once.
        """

    @property
    def settled(self) -> bool:
        """Whether it can be planned: namespaces have been listed, and all else has, or cannot be.

        One name of secrets that RBAC does not allow keeps the others from nothing.
        """

    def knows(self, secret_name: str) -> bool:
        """Whether the secrets of this name have been listed at least once."""

    def namespaces(self) -> Iterable[Namespace]: ...

    def namespace(self, name: str) -> Namespace | None: ...

    def secret(self, namespace: str, name: str) -> Secret | None:
        """Return a secret, if its name is one of those that the cluster was asked to watch."""

    def secrets(self, namespace: str) -> Iterable[Secret]: ...

    def service_accounts(self, namespace: str) -> Iterable[ServiceAccount]:
        """Return the service accounts; none if the cluster was not asked to watch them."""

    def read_secret(self, namespace: str, name: str) -> bytes | None:
        """Ask for a secret's `.dockerconfigjson`; None if there is no such secret or key."""

    def apply_secret(
        self,
        namespace: str,
        name: str,
        document: bytes,
        annotations: Mapping[str, str],
        *,
        uid: str = "",
    ) -> Secret:
        """Create a secret, or change the one with `uid` in place, by server-side apply.

        Of type kubernetes.io/dockerconfigjson, with the label MANAGED_BY. A change takes over the
        fields that someone else owns. It is a Conflict if the secret has another uid, or if there
        is one already that someone else made.
        """

    def delete_secret(self, secret: Secret) -> None:
        """Delete a secret unless it has changed since (Conflict); no error if it is gone."""

    def set_pull_secrets(self, account: ServiceAccount, names: Iterable[str]) -> None:
        """Replace a service account's imagePullSecrets unless it has changed (Conflict)."""

    def event(self, namespace: str, secret: str, reason: str, message: str) -> None:
        """Record a warning as an Event about a secret, which need not exist. Never raises."""
