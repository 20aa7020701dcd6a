"""`ecr-py controller run` while a real API server is frozen, killed, or has no room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.cluster import WatchedCluster
from docker_credential_ecr_py.errors import ClusterUnavailable
from tests.support.control_plane import ControlPlane
from tests.support.controller import ControllerProcess, passwords, wait_for_start
from tests.support.home import Home
from tests.support.processes import wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ControlPlane]:
    """A cluster of the test's own, since others must not meet its outages."""
    with ControlPlane(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def controller(home: Home, cluster: ControlPlane) -> Iterator[ControllerProcess]:
    with ControllerProcess(home, cluster.kubeconfig) as running:
        wait_for_start(running)
        wait_until(lambda: running.metric("leader") == 1)
        yield running


def has_secret(cluster: ControlPlane, namespace: str) -> bool:
    return bool(passwords(cluster.secret(namespace, "ecr-pull")))


def test_frozen(cluster: ControlPlane, controller: ControllerProcess) -> None:
    cluster.freeze()
    began = time.monotonic()
    wait_until(lambda: controller.metric("cluster_current") == 0, seconds=120)
    noticed = time.monotonic() - began
    wait_until(lambda: controller.metric("leader") == 0)
    cluster.thaw()
    began = time.monotonic()
    cluster.add_namespace("shop-after")
    wait_until(lambda: has_secret(cluster, "shop-after"))
    wait_until(lambda: controller.metric("cluster_current") == 1)
    print(f"noticed after {noticed:.1f} s, correct {time.monotonic() - began:.1f} s after the end")  # noqa: T201


def test_killed_and_restarted(cluster: ControlPlane, controller: ControllerProcess) -> None:
    cluster.add_namespace("shop-1")
    wait_until(lambda: has_secret(cluster, "shop-1"))
    cluster.kill()
    wait_until(lambda: controller.metric("cluster_current") == 0)
    assert controller.process.poll() is None
    assert controller.get("/healthz")[0] == 200
    cluster.start()
    began = time.monotonic()
    cluster.add_namespace("shop-2")
    wait_until(lambda: has_secret(cluster, "shop-2"))
    print(f"correct {time.monotonic() - began:.1f} s after the server was ready")  # noqa: T201


def test_etcd_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ControlPlane(tmp_path / "small", quota=16 * 1024 * 1024) as small:
        small.add_namespace("shop-1")
        monkeypatch.setenv("KUBECONFIG", str(small.kubeconfig))
        watched = WatchedCluster(ApiServer.connect(), lambda namespace: None)
        watched.watch(["ecr-pull"], service_accounts=False)
        wait_until(lambda: watched.synced)
        written = watched.apply_secret("shop-1", "ecr-pull", b'{"auths":{}}', {})
        with pytest.raises(httpx2.HTTPStatusError):
            for number in range(100):
                big = {"name": f"big-{number}", "namespace": "shop-1"}
                small.apply(
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": big,
                        "data": {"x": "y" * 900_000},
                    }
                )
        with pytest.raises(ClusterUnavailable, match="space exceeded"):
            watched.apply_secret("shop-1", "ecr-pull", b'{"auths":{} }', {}, uid=written.uid)
        assert watched.read_secret("shop-1", "ecr-pull") == b'{"auths":{}}'


def test_the_next_leader(home: Home, cluster: ControlPlane, controller: ControllerProcess) -> None:
    second = ControllerProcess(home, cluster.kubeconfig, name="second")
    third = ControllerProcess(home, cluster.kubeconfig, name="third")
    with second, third:
        for one in (second, third):
            wait_for_start(one)
        controller.kill()
        began = time.monotonic()
        wait_until(lambda: 1 in (second.metric("leader"), third.metric("leader")))
        killed = time.monotonic() - began
        leader, follower = (second, third) if second.metric("leader") == 1 else (third, second)
        assert leader.stop() == 0
        began = time.monotonic()
        wait_until(lambda: follower.metric("leader") == 1)
        stopped = time.monotonic() - began
        print(f"next after {killed:.1f} s if killed, {stopped:.1f} s if stopped")  # noqa: T201
