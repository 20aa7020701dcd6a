"""`ecr-py controller run` against a real API server."""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.support.control_plane import ControlPlane
from tests.support.controller import GRANTS, ControllerProcess, passwords, wait_for_start
from tests.support.home import DEV, STAGE, Home, registry
from tests.support.processes import wait_until

NAME = "ecr-pull"
BOTH = [registry(DEV), registry(STAGE)]
# ECR_PY_KILLS=100 for a thorough look.
_KILLS = int(os.environ.get("ECR_PY_KILLS", "5"))
OTHERS = {"auths": {"ghcr.io": {"auth": "eDp5"}}}


@pytest.fixture
def controller(home: Home, control_plane: ControlPlane) -> Iterator[ControllerProcess]:
    lease = f"lease-{uuid4().hex[:8]}"  # else one that another test killed has to end first
    running = ControllerProcess(home, control_plane.kubeconfig, options=("--lease", lease))
    with running:
        wait_for_start(running)
        yield running


@pytest.fixture
def shop(control_plane: ControlPlane, controller: ControllerProcess) -> str:
    """A namespace that has its secret."""
    name = f"shop-{uuid4().hex[:8]}"
    control_plane.add_namespace(name)
    wait_until(lambda: held(control_plane, name))
    return name


def held(plane: ControlPlane, namespace: str) -> list[str]:
    return sorted(passwords(plane.secret(namespace, NAME)))


def foreign(namespace: str, **more: Any) -> dict[str, Any]:
    meta = {"name": NAME, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, **more}


def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{NAME}"


def reasons(plane: ControlPlane, namespace: str) -> set[str]:
    items = plane.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    return {event["reason"] for event in items}


def merge(plane: ControlPlane, namespace: str, change: object) -> None:
    kind = {"Content-Type": "application/merge-patch+json"}
    plane.request("PATCH", path(namespace), change, headers=kind)


def test_a_namespace_that_is_labelled(
    control_plane: ControlPlane, controller: ControllerProcess, namespace: str
) -> None:
    time.sleep(0.2)
    assert held(control_plane, namespace) == []
    control_plane.add_namespace(namespace, ecr="pull")
    wait_until(lambda: held(control_plane, namespace) == BOTH)
    secret = control_plane.secret(namespace, NAME)
    assert secret is not None
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["metadata"]["annotations"]["ecr-py/identities"] == "dev, stage"


def test_a_secret_that_is_deleted_or_edited(control_plane: ControlPlane, shop: str) -> None:
    control_plane.request("DELETE", path(shop))
    wait_until(lambda: held(control_plane, shop) == BOTH)
    before = control_plane.secret(shop, NAME)
    text = base64.b64encode(str(OTHERS).replace("'", '"').encode()).decode()
    merge(control_plane, shop, {"data": {".dockerconfigjson": text}})
    wait_until(lambda: held(control_plane, shop) == BOTH)
    after = control_plane.secret(shop, NAME)
    assert before is not None
    assert after is not None
    assert before["metadata"]["uid"] == after["metadata"]["uid"]


def test_a_secret_that_is_made_immutable(
    control_plane: ControlPlane, controller: ControllerProcess, shop: str
) -> None:
    merge(control_plane, shop, {"immutable": True})
    controller.grants.write_text(GRANTS.replace(f', "{STAGE}"', ""))
    wait_until(lambda: "PullSecretRefused" in reasons(control_plane, shop))
    assert held(control_plane, shop) == BOTH
    control_plane.request("DELETE", path(shop))
    wait_until(lambda: held(control_plane, shop) == [registry(DEV)])


@pytest.mark.parametrize("kind", ["Opaque", "kubernetes.io/dockerconfigjson"])
def test_a_secret_of_someone_else(
    control_plane: ControlPlane, controller: ControllerProcess, kind: str
) -> None:
    name = f"other-{uuid4().hex[:8]}"
    control_plane.add_namespace(name)
    text = base64.b64encode(b'{"auths":{}}').decode()
    control_plane.apply(foreign(name, type=kind, data={".dockerconfigjson": text}))
    control_plane.add_namespace(name, ecr="pull")
    wait_until(lambda: "PullSecretLeftAlone" in reasons(control_plane, name))
    assert held(control_plane, name) == []
    found = controller.run("status", "--lease", controller.options[1])
    assert "PullSecretLeftAlone" in found.stdout


def test_a_namespace_that_is_deleted(
    control_plane: ControlPlane, controller: ControllerProcess, shop: str
) -> None:
    # Without a controller of namespaces it stays in the state Terminating.
    control_plane.request("DELETE", f"/api/v1/namespaces/{shop}")
    control_plane.request("DELETE", path(shop))
    other = f"shop-{uuid4().hex[:8]}"
    control_plane.add_namespace(other)
    wait_until(lambda: held(control_plane, other) == BOTH)
    assert control_plane.secret(shop, NAME) is None
    assert "Traceback" not in controller.log


def test_service_accounts(control_plane: ControlPlane, controller: ControllerProcess) -> None:
    name = f"shop-{uuid4().hex[:8]}"
    control_plane.add_namespace(name)
    for account, secrets in (("default", [{"name": "mine"}]), ("web", [])):
        meta = {"name": account, "namespace": name}
        made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        control_plane.apply(made | {"imagePullSecrets": secrets})
    controller.grants.write_text(f"{GRANTS}    serviceAccounts: [default]\n")
    place = f"/api/v1/namespaces/{name}/serviceaccounts"

    def names(account: str) -> list[str]:
        found = control_plane.request("GET", f"{place}/{account}").get("imagePullSecrets", [])
        return [one["name"] for one in found]

    wait_until(lambda: names("default") == ["mine", NAME])
    assert names("web") == []


def test_two_that_both_think_they_lead(
    control_plane: ControlPlane, controller: ControllerProcess, shop: str
) -> None:
    """As if a lease had failed: by two leases. They agree, since each sees what is there."""
    options = ("--lease", f"lease-{uuid4().hex[:8]}")
    other = ControllerProcess(
        controller.home, control_plane.kubeconfig, options=options, name="other"
    )
    with other:
        wait_for_start(other)
        wait_until(lambda: (controller.metric("leader"), other.metric("leader")) == (1, 1))
        names = [f"shop-{uuid4().hex[:8]}" for _ in range(20)]
        for name in names:
            control_plane.add_namespace(name)
        wait_until(lambda: all(held(control_plane, name) == BOTH for name in names))
        control_plane.request("DELETE", path(shop))
        wait_until(lambda: held(control_plane, shop) == BOTH)

        def versions() -> list[str]:
            found = (control_plane.secret(name, NAME) for name in (shop, *names))
            return [one["metadata"]["resourceVersion"] for one in found if one is not None]

        def at_rest() -> bool:
            before = versions()
            time.sleep(2)  # in which they would overwrite each other's
            return versions() == before

        wait_until(at_rest)
        assert "Traceback" not in controller.log + other.log


def test_killed_at_random_moments(
    control_plane: ControlPlane, controller: ControllerProcess
) -> None:
    names = [f"shop-{uuid4().hex[:8]}" for _ in range(_KILLS)]
    for name in names:
        control_plane.add_namespace(name)
        time.sleep(random.uniform(0, 2))
        controller.kill()
        release(control_plane, controller.options[1])
        controller.start()
    wait_until(lambda: all(held(control_plane, name) == BOTH for name in names))
    assert "Traceback" not in controller.log


def release(plane: ControlPlane, lease: str) -> None:
    """Let the next controller take a lease over without waiting until it ends."""
    with suppress(httpx2.HTTPStatusError):
        place = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{lease}"
        plane.request("DELETE", place)
