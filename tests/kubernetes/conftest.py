"""A real API server for a whole session: it takes some seconds to start."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from docker_credential_ecr_py.controller.api_server import ApiServer
from tests.support.control_plane import ControlPlane
from tests.support.docker_user import docker_user, engine, front, images, proxy

__all__ = ["docker_user", "engine", "front", "images", "proxy"]

# Seconds for a test: an API server starts and is waited for, on a machine with other work.
_LIMIT = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(_LIMIT))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture
def api(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """The administrator's way to it."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    return ApiServer.connect()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A new namespace of the test's own."""
    name = f"test-{uuid4().hex[:8]}"
    control_plane.add_namespace(name)
    return name
