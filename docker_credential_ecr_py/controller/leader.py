"""Leader election among replicas by a Lease, as client-go does it: one of them writes.

Whose lease has ended is decided by our own clock: from when we saw it renewed last, not by the
time that is written in it, so that clocks need not agree.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from docker_credential_ecr_py.controller.api_server import ApiServer, decoded
from docker_credential_ecr_py.errors import ClusterError, Conflict, ObjectGone
from docker_credential_ecr_py.log import log

# Seconds after which another replica takes over a lease that is not renewed.
LEASE = 15
# Seconds for which its holder writes without having renewed it. In the rest of LEASE, its writes
# that are under way end.
_LEADS = 10.0
# Seconds between two tries.
_RETRY = 2.0
# Seconds for one request: several have to fit into _LEADS.
_REQUEST = 3.0


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class Lease(msgspec.Struct):
    """A lease as the API server has it."""

    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)


@dataclass(frozen=True)
class _Seen:
    """A lease as it was when we first saw it so, at a moment of our clock."""

    lease: Lease
    at: float

    def is_free(self, now: float) -> bool:
        spec = self.lease.spec
        return not spec.holder_identity or now >= self.at + (spec.lease_duration_seconds or LEASE)


def boot_clock() -> float:
    """Return seconds since the machine started. They go on while it sleeps, if the OS can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Leader:
    """Tries to hold the Lease `name` in the API server's namespace, in a thread.

    `changed` is called when it starts or stops leading. `identity` is of this process alone: this
    replica had another one before a restart.
    """

    def __init__(
        self,
        api: ApiServer,
        name: str,
        identity: str,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._api = api
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
        self._name = name
        self._identity = identity
        self._changed = changed
        self._clock = clock
        self._seen: _Seen | None = None
        self._led = False
        self._problem = ""
        self._until = float("-inf")
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop leading at once, and release the lease, so that another replica need not wait."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2 * _REQUEST)
        leads, self._until = self.leads(), float("-inf")
        if leads and self._seen is not None:
            try:
                self._write(self._seen.lease, holder="", duration=1)
            except ClusterError as error:
                log.info("the lease is not released: %s", error.what)

    def leads(self) -> bool:
        """Whether we may write now: we hold the lease, and renewed it not long ago."""
        return self._clock() < self._until

    @property
    def holder(self) -> str:
        """Who held the lease when we last looked; "" if it was free or is unknown."""
        return self._seen.lease.spec.holder_identity or "" if self._seen else ""

    def turn(self) -> None:
        """Take or renew the lease if we can. Never raises."""
        began = self._clock()
        try:
            if self._try(began):
                self._until = began + _LEADS
            self._note("")
        except Conflict:
            log.debug("another replica has changed the lease")  # the next turn sees how
        except ClusterError as error:
            self._note(error.what)
        except Exception:
            log.exception("unexpected")
        if self._led != self.leads():
            self._led = not self._led
            log.info("this replica leads" if self._led else "this replica leads no longer")
            self._changed()

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("the lease cannot be taken or renewed: %s", problem)
        elif self._problem and not problem:
            log.info("the lease can be taken or renewed again")
        self._problem = problem

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.turn()
            self._stopped.wait(_RETRY * random.uniform(0.9, 1.1))  # noqa: S311 - no secret

    def _try(self, now: float) -> bool:
        """Take or renew the lease. Return whether it is ours. Raises ClusterError."""
        lease = self._read()
        if lease is None:
            self._write(None)
            return True
        if self._seen is None or lease != self._seen.lease:
            self._seen = _Seen(lease, now)
        if lease.spec.holder_identity != self._identity and not self._seen.is_free(now):
            self._until = float("-inf")  # someone took it from us
            return False
        self._write(lease)
        return True

    def _read(self) -> Lease | None:
        try:
            path = f"{self._path}/{self._name}"
            return decoded(self._api.send("GET", path, seconds=_REQUEST), Lease)
        except ObjectGone:
            return None

    def _write(self, old: Lease | None, holder: str | None = None, duration: int = LEASE) -> None:
        """Create the lease, or change it unless another has since (Conflict)."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = old.spec if old else _Spec()
        is_new = spec.holder_identity != self._identity
        body: dict[str, Any] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._api.namespace},
            "spec": {
                "holderIdentity": self._identity if holder is None else holder,
                "leaseDurationSeconds": duration,
                "acquireTime": now if is_new else spec.acquire_time,
                "renewTime": now,
                "leaseTransitions": (spec.lease_transitions or 0) + (1 if old and is_new else 0),
            },
        }
        if old is None:
            answer = self._api.send("POST", self._path, body=body, seconds=_REQUEST)
        else:
            body["metadata"]["resourceVersion"] = old.metadata.resource_version
            path = f"{self._path}/{self._name}"
            answer = self._api.send("PUT", path, body=body, seconds=_REQUEST)
        self._seen = _Seen(decoded(answer, Lease), self._clock())
