"""Reads from the cluster how the controller does: who leads, its secrets, its latest Events."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import msgspec

from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.leader import LEASE, Lease
from docker_credential_ecr_py.controller.observed import MANAGED_BY, MANAGER
from docker_credential_ecr_py.controller.plan import first_expiry
from docker_credential_ecr_py.errors import ClusterUnavailable, ObjectGone
from docker_credential_ecr_py.printable import one_line


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None


class _Secret(msgspec.Struct):
    metadata: _Metadata


class _Event(msgspec.Struct, rename="camel"):
    metadata: _Metadata
    involved_object: _Metadata
    reason: str = ""
    message: str = ""
    last_timestamp: str | None = None


@dataclass(frozen=True)
class HeldSecret:
    """A secret of the controller's, and when its first token expires; None if that is unknown."""

    namespace: str
    name: str
    expires: int | None


@dataclass(frozen=True)
class Status:
    """`holder` has the lease, or is "" if nobody has; it was `renewed` at that moment, 0 if there
    is no such lease.

    `warnings` are namespace, secret, reason and message of Events, the latest first. Times are in
    seconds since the epoch.
    """

    holder: str
    renewed: float
    secrets: tuple[HeldSecret, ...]
    warnings: tuple[tuple[str, str, str, str], ...]

    @property
    def first_expiry(self) -> int | None:
        return min((one.expires for one in self.secrets if one.expires is not None), default=None)

    def problem(self, now: float) -> str:
        """Return what is wrong, as a line; "" if nothing is."""
        if not self.holder:
            return "no replica leads"
        if now > self.renewed + LEASE:
            return f"{self.holder} has not renewed its lease for {now - self.renewed:.0f} seconds"
        expired = [one for one in self.secrets if one.expires is not None and one.expires <= now]
        if expired:
            first = f"{expired[0].namespace}/{expired[0].name}"
            return f"{len(expired)} of its secrets have an expired token, such as {first}"
        return ""

    def as_json(self) -> dict[str, Any]:
        return {
            "leader": self.holder or None,
            "renewed": self.renewed or None,
            "secrets": [asdict(one) for one in self.secrets],
            "warnings": [
                dict(zip(("namespace", "secret", "reason", "message"), one, strict=True))
                for one in self.warnings
            ],
        }


def read_status(api: ApiServer, lease: str, namespace: str) -> Status:
    """Ask the API server. `namespace` is that of the lease. Raises ClusterError."""
    holder, renewed = _lease(api, lease, namespace)
    secrets = api.list(
        "/api/v1/secrets",
        _Secret,
        {"labelSelector": f"{MANAGED_BY}={MANAGER}"},
        metadata_only=True,
    )
    events = api.list(
        "/api/v1/events",
        _Event,
        {"fieldSelector": f"source={MANAGER},type=Warning"},
        metadata_only=False,
    )
    latest = sorted(events, key=lambda event: event.last_timestamp or "", reverse=True)
    return Status(
        holder,
        renewed,
        tuple(
            HeldSecret(meta.namespace, meta.name, first_expiry(meta.annotations or {}))
            for meta in (secret.metadata for secret in secrets)
        ),
        tuple(
            (event.metadata.namespace, event.involved_object.name, event.reason, event.message)
            for event in latest
        ),
    )


def _lease(api: ApiServer, name: str, namespace: str) -> tuple[str, float]:
    """Return who holds the lease or "", and when it was renewed; 0 if there is no such lease."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
    try:
        spec = api.get(path, Lease).spec
    except ObjectGone:
        return "", 0.0
    if not spec.renew_time:
        return "", 0.0
    try:
        renewed = datetime.fromisoformat(spec.renew_time).timestamp()
    except (ValueError, OverflowError):
        raise ClusterUnavailable("the API server's answer is not what Kubernetes answers") from None
    return one_line(spec.holder_identity or ""), renewed
