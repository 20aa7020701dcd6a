"""What the controller assumes of an API server, on a real one."""

import time
from collections.abc import Mapping

import httpx2
import pytest

from docker_credential_ecr_py.controller import api_server
from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.cluster import WatchedCluster
from docker_credential_ecr_py.controller.leader import Leader
from docker_credential_ecr_py.errors import Conflict, Invalid, ObjectGone
from tests.support.control_plane import ControlPlane
from tests.support.processes import wait_until

NAME = "ecr-pull"
DOCUMENT = b'{"auths":{"registry.example.com":{"auth":"QVdTOng="}}}'


@pytest.fixture
def cluster(api: ApiServer) -> WatchedCluster:
    watched = WatchedCluster(api, lambda namespace: None)
    watched.watch([NAME], service_accounts=True)
    wait_until(lambda: watched.synced)
    return watched


def test_a_secret_is_created_changed_and_deleted(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    first = cluster.apply_secret(namespace, NAME, DOCUMENT, {"ecr-py/hash": "1"})
    second = cluster.apply_secret(
        namespace, NAME, DOCUMENT + b" ", {"ecr-py/hash": "2"}, uid=first.uid
    )
    assert (first.uid, first.managed, first.editors) == (second.uid, True, ())
    assert cluster.secret(namespace, NAME) == second
    assert cluster.read_secret(namespace, NAME) == DOCUMENT + b" "
    with pytest.raises(Conflict):
        cluster.delete_secret(first)
    cluster.delete_secret(second)
    assert control_plane.secret(namespace, NAME) is None
    with pytest.raises(Conflict):
        cluster.apply_secret(namespace, NAME, DOCUMENT, {}, uid=first.uid)


def test_edits_are_seen_and_taken_back(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    written = cluster.apply_secret(namespace, NAME, DOCUMENT, {})
    edited = {"data": {".dockerconfigjson": "e30="}}
    edit(control_plane, namespace, edited)
    wait_until(lambda: cluster.secret(namespace, NAME).editors == ("kubectl-edit",))  # type: ignore[union-attr]
    with pytest.raises(Conflict):
        cluster.apply_secret(namespace, NAME, DOCUMENT, {})
    after = cluster.apply_secret(namespace, NAME, DOCUMENT, {}, uid=written.uid)
    assert after.editors == ()
    assert control_plane.docker_config(namespace, NAME) is not None


def test_an_edit_that_adds_a_key_or_writes_the_same_takes_nothing(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    cluster.apply_secret(namespace, NAME, DOCUMENT, {})
    secret = control_plane.secret(namespace, NAME)
    assert secret is not None
    edit(control_plane, namespace, {"data": {**secret["data"], "more": "e30="}})
    wait_until(lambda: len(control_plane.secret(namespace, NAME)["data"]) == 2)  # type: ignore[index]
    found = cluster.apply_secret(namespace, NAME, DOCUMENT, {})
    assert found.editors == ()


def test_an_immutable_secret_is_invalid(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    written = cluster.apply_secret(namespace, NAME, DOCUMENT, {})
    edit(control_plane, namespace, {"immutable": True})
    with pytest.raises(Invalid) as raised:
        cluster.apply_secret(namespace, NAME, b"{}", {}, uid=written.uid)
    assert "QVdT" not in str(raised.value)


def test_a_secret_of_another_type_is_refused(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME, "namespace": namespace},
            "type": "Opaque",
        }
    )
    wait_until(lambda: cluster.secret(namespace, NAME))
    assert not cluster.secret(namespace, NAME).managed  # type: ignore[union-attr]
    with pytest.raises((Conflict, Invalid)):
        cluster.apply_secret(namespace, NAME, DOCUMENT, {})


def test_a_secret_over_1_mib_is_invalid(cluster: WatchedCluster, namespace: str) -> None:
    with pytest.raises(Invalid):
        cluster.apply_secret(namespace, NAME, b'{"auths":{}}' + b" " * 1024 * 1024, {})


def test_a_namespace_that_is_gone(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    with pytest.raises(ObjectGone):
        cluster.apply_secret("no-such-namespace", NAME, DOCUMENT, {})
    wait_until(lambda: cluster.namespace(namespace))
    control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}")
    wait_until(lambda: cluster.namespace(namespace).terminating)  # type: ignore[union-attr]
    with pytest.raises(ObjectGone):
        cluster.apply_secret(namespace, NAME, DOCUMENT, {})


def test_pull_secrets_of_service_accounts(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    meta = {"name": "default", "namespace": namespace}
    control_plane.apply({**account, "metadata": meta, "imagePullSecrets": [{"name": "mine"}]})
    wait_until(lambda: cluster.service_accounts(namespace))
    (found,) = cluster.service_accounts(namespace)
    cluster.set_pull_secrets(found, ["mine", NAME])
    assert cluster.service_accounts(namespace)[0].pull_secrets == ("mine", NAME)
    with pytest.raises(Conflict):
        cluster.set_pull_secrets(found, [NAME])


def test_events_are_accepted(
    control_plane: ControlPlane, cluster: WatchedCluster, namespace: str
) -> None:
    cluster.event(namespace, NAME, "PullSecretLeftAlone", "it is not ours")
    events = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    assert [event["reason"] for event in events] == ["PullSecretLeftAlone"]


def test_many_namespaces_come_in_pages(
    control_plane: ControlPlane, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "_PAGE", 3)
    for number in range(10):
        control_plane.add_namespace(f"paged-{number}", page=str(number))
    watched = WatchedCluster(api, lambda namespace: None)
    watched.watch([], service_accounts=False)
    wait_until(lambda: watched.synced)
    assert {f"paged-{number}" for number in range(10)} <= {one.name for one in watched.namespaces()}


def test_a_quiet_watch_is_ended_by_the_server(
    control_plane: ControlPlane, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "_WATCH", 2)
    secrets = {"fieldSelector": "metadata.name=nothing"}
    pages = api.pages("/api/v1/secrets", api_server.Status, secrets, metadata_only=True)
    version = [page.metadata.resource_version for page in pages][-1]
    began = time.monotonic()
    list(api.watch("/api/v1/secrets", secrets, version, metadata_only=True))
    assert time.monotonic() - began > 1


def test_two_replicas(control_plane: ControlPlane, api: ApiServer) -> None:
    one, two = Leader(api, "election", "one"), Leader(api, "election", "two")
    one.turn()
    two.turn()
    assert (one.leads(), two.leads()) == (True, False)
    one.stop()
    two.turn()
    assert two.leads()
    two.stop()


def edit(control_plane: ControlPlane, namespace: str, change: Mapping[str, object]) -> None:
    """Change the secret as a person does with kubectl edit."""
    control_plane.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/secrets/{NAME}",
        change,
        params={"fieldManager": "kubectl-edit"},
        headers={"Content-Type": "application/merge-patch+json"},
    )


def test_the_clients_of_tests_see_errors(control_plane: ControlPlane) -> None:
    with pytest.raises(httpx2.HTTPStatusError):
        control_plane.request("GET", "/api/v1/namespaces/no-such-namespace")
