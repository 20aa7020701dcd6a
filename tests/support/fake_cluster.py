"""A cluster in memory, with the rules of an API server that the controller depends on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from docker_credential_ecr_py.controller.observed import Namespace, Secret, ServiceAccount
from docker_credential_ecr_py.errors import ClusterError, Conflict, Invalid


@dataclass
class FakeCluster:
    """The Cluster of the controller's tests.

    `changed` is called as a watch does, unless `deaf`. `fails` is raised by the next writes, one
    each; `writes` are those that were done.
    """

    changed: Callable[[str], None] = lambda name: None
    deaf: bool = False
    settled: bool = True
    unknown: set[str] = field(default_factory=set)
    fails: list[ClusterError] = field(default_factory=list)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    documents: dict[tuple[str, str], bytes] = field(default_factory=dict)
    immutable: set[tuple[str, str]] = field(default_factory=set)
    watched: tuple[str, ...] = ()
    _namespaces: dict[str, Namespace] = field(default_factory=dict)
    _secrets: dict[str, dict[str, Secret]] = field(default_factory=dict)
    _accounts: dict[str, dict[str, ServiceAccount]] = field(default_factory=dict)
    _versions: count[int] = field(default_factory=lambda: count(1))

    # As the controller sees it

    def watch(self, secret_names: Iterable[str], *, service_accounts: bool) -> None:
        self.watched = tuple(secret_names)

    def knows(self, secret_name: str) -> bool:
        return secret_name not in self.unknown

    def namespaces(self) -> Iterable[Namespace]:
        return self._namespaces.values()

    def namespace(self, name: str) -> Namespace | None:
        return self._namespaces.get(name)

    def secret(self, namespace: str, name: str) -> Secret | None:
        return self._secrets.get(namespace, {}).get(name)

    def secrets(self, namespace: str) -> Iterable[Secret]:
        return self._secrets.get(namespace, {}).values()

    def service_accounts(self, namespace: str) -> Iterable[ServiceAccount]:
        return list(self._accounts.get(namespace, {}).values())

    def read_secret(self, namespace: str, name: str) -> bytes | None:
        return self.documents.get((namespace, name))

    def apply_secret(
        self,
        namespace: str,
        name: str,
        document: bytes,
        annotations: Mapping[str, str],
        *,
        uid: str = "",
    ) -> Secret:
        self._fail()
        there = self.secret(namespace, name)
        if uid and (there is None or there.uid != uid):
            raise Conflict("another uid")
        if there is not None and not uid and (not there.managed or there.editors):
            raise Conflict("another manager")
        if (namespace, name) in self.immutable:
            raise Invalid("the secret is immutable")
        made = Secret(
            namespace,
            name,
            there.uid if there else self._new(),
            self._new(),
            dict(annotations),
            managed=True,
        )
        self._secrets.setdefault(namespace, {})[name] = made
        self.documents[namespace, name] = document
        self.writes.append(("update" if there else "create", namespace, name))
        self._tell(namespace)
        return made

    def delete_secret(self, secret: Secret) -> None:
        self._fail()
        there = self.secret(secret.namespace, secret.name)
        if there is not None and there.version != secret.version:
            raise Conflict("it has changed")
        self.remove_secret(secret.namespace, secret.name)
        self.writes.append(("remove", secret.namespace, secret.name))

    def set_pull_secrets(self, account: ServiceAccount, names: Iterable[str]) -> None:
        self._fail()
        if self._accounts[account.namespace][account.name].version != account.version:
            raise Conflict("it has changed")
        self.add_account(account.namespace, account.name, *names)
        self.writes.append(("service account", account.namespace, account.name))

    def event(self, namespace: str, secret: str, reason: str, message: str) -> None:
        self.events.append((namespace, secret, reason, message))

    # As others change it

    def add(self, name: str, *, terminating: bool = False, **labels: str) -> None:
        """Create a namespace, or change its labels."""
        there = self._namespaces.get(name)
        uid = there.uid if there else self._new()
        self._namespaces[name] = Namespace(name, uid, labels, terminating)
        self._tell(name)

    def remove(self, name: str) -> None:
        self._namespaces.pop(name, None)
        for secret in list(self._secrets.pop(name, {})):
            self.documents.pop((name, secret), None)
        self._accounts.pop(name, None)
        self._tell(name)

    def add_account(self, namespace: str, name: str, *pull_secrets: str) -> None:
        account = ServiceAccount(namespace, name, self._new(), pull_secrets)
        self._accounts.setdefault(namespace, {})[name] = account
        self._tell(namespace)

    def add_secret(self, namespace: str, name: str) -> None:
        """Create a secret that is not the controller's."""
        made = Secret(namespace, name, self._new(), self._new(), {}, False, ("kubectl",))
        self._secrets.setdefault(namespace, {})[name] = made
        self._tell(namespace)

    def edit_secret(self, namespace: str, name: str, document: bytes) -> None:
        there = self._secrets[namespace][name]
        edited = replace(there, version=self._new(), editors=("kubectl-edit",))
        self._secrets[namespace][name] = edited
        self.documents[namespace, name] = document
        self._tell(namespace)

    def annotate(self, namespace: str, name: str, key: str, text: str) -> None:
        there = self._secrets[namespace][name]
        annotations = {**there.annotations, key: text}
        self._secrets[namespace][name] = replace(
            there, version=self._new(), annotations=annotations
        )
        self._tell(namespace)

    def remove_secret(self, namespace: str, name: str) -> None:
        self._secrets.get(namespace, {}).pop(name, None)
        self.documents.pop((namespace, name), None)
        self.immutable.discard((namespace, name))
        self._tell(namespace)

    def passwords(self, namespace: str, name: str = "ecr-pull") -> dict[str, str]:
        """Return the password of each registry in a secret."""
        return passwords_in(self.documents[namespace, name])

    def _new(self) -> str:
        return str(next(self._versions))

    def _fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    def _tell(self, namespace: str) -> None:
        if not self.deaf:
            self.changed(namespace)


def passwords_in(document: bytes) -> dict[str, str]:
    """The password of each registry in a `.dockerconfigjson`."""
    return {
        host: base64.b64decode(value["auth"]).decode().removeprefix("AWS:")
        for host, value in json.loads(document)["auths"].items()
    }
