"""The state of a cluster, kept current by watches, and writes to it.

A watch is one thread. It lists, follows, and lists again: when anything fails, when the server no
longer has the version that we are at, and now and then for no reason, so that an event which was
lost does not matter for long.
"""

import base64
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from docker_credential_ecr_py.controller.api_server import (
    APPLY,
    MERGE,
    ApiServer,
    WatchEvent,
    decoded,
)
from docker_credential_ecr_py.controller.observed import (
    LONGEST_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    PREFIX,
    Namespace,
    Secret,
    ServiceAccount,
)
from docker_credential_ecr_py.errors import ClusterError, Expired, ObjectGone, TooManyRequests
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.printable import one_line
from docker_credential_ecr_py.redact import redact

# Seconds after which a watch lists again, though nothing went wrong.
_RELIST = 600.0
# The pause after a failure: the first, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0
# From the start of one watch to the next: a server that is stopping, or a proxy in front of it, may
# end each at once.
_SHORTEST_WATCH = 1.0
# A write may not take longer than a lease outlives its leader: see leader.py.
_WRITE = 4.0
_EVENT_AGAIN = 3600.0
_MOST_EVENTS = 5000
_LONGEST_EVENT = 1000
_KEY = ".dockerconfigjson"
_SECRET_TYPE = "kubernetes.io/dockerconfigjson"  # noqa: S105 - a type


class _Owned(msgspec.Struct):
    """A field that a manager owns."""


class _DataFields(msgspec.Struct):
    key: _Owned | None = msgspec.field(name=f"f:{_KEY}", default=None)


class _Fields(msgspec.Struct):
    data: _DataFields | None = msgspec.field(name="f:data", default=None)


class _Managed(msgspec.Struct, rename="camel"):
    """A field manager; of what it owns only what is looked at, since the rest is long."""

    manager: str = ""
    fields: _Fields | None = msgspec.field(name="fieldsV1", default=None)

    @property
    def owns_key(self) -> bool:
        return bool(self.fields and self.fields.data and self.fields.data.key is not None)


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None
    managed_fields: list[_Managed] = []


class _Object(msgspec.Struct):
    metadata: _Metadata


class _Reference(msgspec.Struct):
    name: str = ""


class _ServiceAccount(_Object, rename="camel"):
    image_pull_secrets: list[_Reference] | None = None


class _Versioned(msgspec.Struct, rename="camel"):
    """What every line of a watch has, a bookmark too."""

    metadata: "_Version"


class _Version(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Data(msgspec.Struct):
    data: dict[str, str] | None = None


def _same(text: str) -> str:
    return text


# The one copy of a text that thousands of objects have. Not by sys.intern: some releases
# of Python 3.12 keep such a text for ever, and namespaces come and go.
_shared_name = lru_cache(maxsize=4096)(_same)
_shared_text = lru_cache(maxsize=256)(_same)

_Raw = TypeVar("_Raw", bound=_Object)
_Item = TypeVar("_Item", Namespace, Secret, ServiceAccount)


@dataclass(frozen=True)
class _Resource(Generic[_Raw, _Item]):
    """What is watched: where, and how an object becomes the value that plans need."""

    what: str
    path: str
    kind: type[_Raw]
    value: Callable[[_Raw], _Item]
    params: Mapping[str, str] = field(default_factory=dict)
    metadata_only: bool = True


class WatchedCluster:
    """A Cluster on an API server: see observed.Cluster."""

    def __init__(self, api: ApiServer, changed: Callable[[str], None]) -> None:
        self._api = api
        self._changed = changed
        self._namespaces = _Watch(api, _NAMESPACES, changed)
        self._secrets: dict[str, _Watch[_Object, Secret]] = {}
        self._accounts: _Watch[_ServiceAccount, ServiceAccount] | None = None
        self._recent_events: dict[tuple[str, ...], float] = {}

    def watch(self, secret_names: Iterable[str], *, service_accounts: bool) -> None:
        wanted = list(dict.fromkeys(secret_names))
        self._namespaces.start()
        for name in self._secrets.keys() - set(wanted):
            self._secrets.pop(name).stop()
        for name in wanted:
            if name not in self._secrets:
                watch = _Watch(self._api, _secrets_named(name), self._changed)
                self._secrets = {**self._secrets, name: watch}  # other threads iterate over it
                watch.start()
        if service_accounts and self._accounts is None:
            self._accounts = _Watch(self._api, _ACCOUNTS, self._changed)
            self._accounts.start()
        elif not service_accounts and self._accounts is not None:
            self._accounts.stop()
            self._accounts = None

    def stop(self) -> None:
        """End the watches; what is known stays. They may take a while to notice."""
        for watch in self._watches():
            watch.stop()

    @property
    def synced(self) -> bool:
        """Whether everything that is watched has been listed at least once."""
        return all(watch.synced for watch in self._watches())

    @property
    def settled(self) -> bool:
        return self._namespaces.synced and all(
            watch.synced or watch.problem for watch in self._watches()
        )

    def knows(self, secret_name: str) -> bool:
        watch = self._secrets.get(secret_name)
        return watch is not None and watch.synced

    @property
    def problem(self) -> str:
        """Why something that is watched may be out of date; "" if it is current."""
        return next((watch.problem for watch in self._watches() if watch.problem), "")

    def namespaces(self) -> list[Namespace]:
        return self._namespaces.all()

    def namespace(self, name: str) -> Namespace | None:
        return self._namespaces.one(name, name)

    def secret(self, namespace: str, name: str) -> Secret | None:
        watch = self._secrets.get(name)
        return watch.one(namespace, name) if watch else None

    def secrets(self, namespace: str) -> list[Secret]:
        return [one for watch in self._secrets.values() for one in watch.of(namespace)]

    def service_accounts(self, namespace: str) -> list[ServiceAccount]:
        return self._accounts.of(namespace) if self._accounts else []

    def read_secret(self, namespace: str, name: str) -> bytes | None:
        try:
            text = self._api.get(_secret_path(namespace, name), _Data).data or {}
            return base64.b64decode(text[_KEY]) if _KEY in text else None
        except ObjectGone:
            return None

    def apply_secret(
        self,
        namespace: str,
        name: str,
        document: bytes,
        annotations: Mapping[str, str],
        *,
        uid: str = "",
    ) -> Secret:
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGER},
            "annotations": dict(annotations),
        }
        if uid:
            metadata["uid"] = uid
        answer = self._api.send(
            "PATCH",
            _secret_path(namespace, name),
            params={"fieldManager": MANAGER, "force": str(bool(uid)).lower()},
            body={
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata,
                "type": _SECRET_TYPE,
                "data": {_KEY: base64.b64encode(document).decode()},
            },
            content_type=APPLY,
            metadata_only=True,
            seconds=_WRITE,
        )
        written = _secret(decoded(answer, _Object))
        if watch := self._secrets.get(name):
            watch.put(namespace, name, written.version, written)
        return written

    def delete_secret(self, secret: Secret) -> None:
        unchanged = {"uid": secret.uid, "resourceVersion": secret.version}
        with suppress(ObjectGone):
            self._api.send(
                "DELETE",
                _secret_path(secret.namespace, secret.name),
                body={"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": unchanged},
                seconds=_WRITE,
            )
        if watch := self._secrets.get(secret.name):
            watch.put(secret.namespace, secret.name, secret.version, None)

    def set_pull_secrets(self, account: ServiceAccount, names: Iterable[str]) -> None:
        answer = self._api.send(
            "PATCH",
            f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.name}",
            params={"fieldManager": MANAGER},
            body={
                "metadata": {"resourceVersion": account.version},
                "imagePullSecrets": [{"name": name} for name in names],
            },
            content_type=MERGE,
            seconds=_WRITE,
        )
        if self._accounts is not None:
            written = _account(decoded(answer, _ServiceAccount))
            self._accounts.put(account.namespace, account.name, written.version, written)

    def event(self, namespace: str, secret: str, reason: str, message: str) -> None:
        if self._is_repeated(namespace, secret, reason, message):
            return
        there = self.secret(namespace, secret)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"apiVersion": "v1", "kind": "Secret", "namespace": namespace, "name": secret}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{secret}.{secrets.token_hex(8)}", "namespace": namespace},
            "involvedObject": {**about, "uid": there.uid} if there else about,
            "reason": reason,
            "message": one_line(redact(message))[:_LONGEST_EVENT],
            "type": "Warning",
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._api.send(
                "POST", f"/api/v1/namespaces/{namespace}/events", body=body, seconds=_WRITE
            )
        except ClusterError as error:
            log.info("no Event for %s/%s: %s", namespace, secret, error.what)

    def _is_repeated(self, *event: str) -> bool:
        """Whether the same Event was sent in the last hour, as far as it is remembered."""
        now = time.monotonic()
        if len(self._recent_events) >= _MOST_EVENTS:
            self._recent_events.clear()
        last = self._recent_events.setdefault(event, now)
        if last != now and now < last + _EVENT_AGAIN:
            return True
        self._recent_events[event] = now
        return False

    def _watches(self) -> "list[_Watch[Any, Any]]":
        accounts = [self._accounts] if self._accounts else []
        return [self._namespaces, *self._secrets.values(), *accounts]


class _Watch(Generic[_Raw, _Item]):
    """Keeps the objects of a resource, by namespace and name, in a thread of its own."""

    def __init__(
        self, api: ApiServer, resource: _Resource[_Raw, _Item], changed: Callable[[str], None]
    ) -> None:
        self._api = api
        self._resource: _Resource[_Raw, _Item] = resource
        self._changed = changed
        self._lock = threading.Lock()
        self._items: dict[str, dict[str, _Item]] = {}
        # Our own writes since a list began, which may not have them yet: version and result.
        self._written: dict[tuple[str, str], tuple[str, _Item | None]] = {}
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._pause = _FIRST_PAUSE
        self.synced = False
        self.problem = ""

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def all(self) -> list[_Item]:
        with self._lock:
            return [item for items in self._items.values() for item in items.values()]

    def of(self, namespace: str) -> list[_Item]:
        with self._lock:
            return list(self._items.get(namespace, {}).values())

    def one(self, namespace: str, name: str) -> _Item | None:
        with self._lock:
            return self._items.get(namespace, {}).get(name)

    def put(self, namespace: str, name: str, version: str, item: _Item | None) -> None:
        """Keep the result of our own write; None if we deleted it when it had that version."""
        with self._lock:
            self._written[namespace, name] = version, item
            self._set_written(namespace, name)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow(self._list())
            except Expired:
                log.debug("%s: the version has expired, listing again", self._resource.what)
                self._stopped.wait(_FIRST_PAUSE)
            except ClusterError as error:
                self._note(error.what)
                wait = error.retry_after if isinstance(error, TooManyRequests) else self._pause
                self._stopped.wait(wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            except Exception:
                # A thread that died would be a watch that is silent for ever.
                log.exception("unexpected")
                self._note("unexpected, see the log")
                self._stopped.wait(_LONGEST_PAUSE)

    def _note(self, problem: str) -> None:
        if problem and not self.problem:
            log.warning("%s are not current: %s", self._resource.what, problem)
        elif self.problem and not problem:
            log.info("%s are current again", self._resource.what)
        self.problem = problem

    def _list(self) -> str:
        """List all, and return the version of the list."""
        resource = self._resource
        with self._lock:
            self._written = {}
        found: list[tuple[tuple[str, str], _Item]] = []
        for page in self._api.pages(
            resource.path, resource.kind, resource.params, metadata_only=resource.metadata_only
        ):
            found += [(_place(raw.metadata), resource.value(raw)) for raw in page.items or ()]
        with self._lock:
            self._items = {}
            for place, listed in found:
                self._set(*place, listed)
            for place in self._written:
                self._set_written(*place)
        self.synced, self._pause = True, _FIRST_PAUSE
        self._note("")
        self._changed("")
        return page.metadata.resource_version

    def _follow(self, version: str) -> None:
        """Take over what changes after `version`, until it is time to list again."""
        resource = self._resource
        until = time.monotonic() + _RELIST * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        while time.monotonic() < until and not self._stopped.is_set():
            next_watch = time.monotonic() + _SHORTEST_WATCH
            for event in self._api.watch(
                resource.path, resource.params, version, metadata_only=resource.metadata_only
            ):
                version = self._take(event) or version
            self._stopped.wait(next_watch - time.monotonic())

    def _take(self, event: WatchEvent) -> str:
        """Take an event over, and return its version."""
        if event.type == "BOOKMARK":
            return decoded(event.object, _Versioned).metadata.resource_version
        raw = decoded(event.object, self._resource.kind)
        namespace, name = _place(raw.metadata)
        version: str = raw.metadata.resource_version
        with self._lock:
            written, _ = self._written.get((namespace, name), ("", None))
            if _is_older(version, written):
                return version  # from before our own write
            item = None if event.type == "DELETED" else self._resource.value(raw)
            self._set(namespace, name, item)
        self._changed(namespace)
        return version

    def _set_written(self, namespace: str, name: str) -> None:
        """Set the result of our own write, unless others have changed it since."""
        version, item = self._written[namespace, name]
        there = self._items.get(namespace, {}).get(name)
        if there is None or isinstance(there, Namespace) or not _is_older(version, there.version):
            self._set(namespace, name, item)

    def _set(self, namespace: str, name: str, item: _Item | None) -> None:
        if item is not None:
            self._items.setdefault(namespace, {})[name] = item
        elif namespace in self._items:
            self._items[namespace].pop(name, None)
            if not self._items[namespace]:
                del self._items[namespace]


def _is_older(version: str, other: str) -> bool:
    """Whether a version is older than another one of the same resource: they can be compared."""
    return version.isdigit() and other.isdigit() and int(version) < int(other)


def _place(meta: _Metadata) -> tuple[str, str]:
    """Return an object's namespace and name; a namespace is in itself."""
    return _shared_name(meta.namespace or meta.name), meta.name


def _secret_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def _secrets_named(name: str) -> _Resource[_Object, Secret]:
    """The secrets of one name, for which RBAC can be limited to that name."""
    return _Resource(
        f"secrets named {name}",
        "/api/v1/secrets",
        _Object,
        _secret,
        {"fieldSelector": f"metadata.name={name}"},
    )


def _namespace(found: _Object) -> Namespace:
    meta = found.metadata
    return Namespace(meta.name, meta.uid, meta.labels or {}, bool(meta.deletion_timestamp))


def _secret(found: _Object) -> Secret:
    """Return the little that plans need: others' annotations may hold the secret itself."""
    meta = found.metadata
    managers = {one.manager for one in meta.managed_fields}
    owners = [one.manager for one in meta.managed_fields if one.owns_key]
    return Secret(
        meta.namespace,
        meta.name,
        meta.uid,
        meta.resource_version,
        {
            _shared_text(key): _shared_text(text)
            for key, text in (meta.annotations or {}).items()
            if key.startswith(PREFIX) and len(text) <= LONGEST_ANNOTATION
        },
        managed=MANAGER in managers and (meta.labels or {}).get(MANAGED_BY) == MANAGER,
        # Who writes the same value as we did owns it with us, and has edited nothing.
        editors=() if MANAGER in owners else tuple(owners),
        terminating=bool(meta.deletion_timestamp),
    )


def _account(found: _ServiceAccount) -> ServiceAccount:
    meta = found.metadata
    names = tuple(one.name for one in found.image_pull_secrets or () if one.name)
    return ServiceAccount(meta.namespace, meta.name, meta.resource_version, names)


_NAMESPACES = _Resource("namespaces", "/api/v1/namespaces", _Object, _namespace)
_ACCOUNTS = _Resource(
    "service accounts",
    "/api/v1/serviceaccounts",
    _ServiceAccount,
    _account,
    metadata_only=False,  # what they pull with is not metadata
)
