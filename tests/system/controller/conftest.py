"""A controller between a stand-in for AWS and one for an API server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.kubernetes import KubernetesApi
from tests.support.controller import ControllerProcess, wait_for_start
from tests.support.home import Home


@pytest.fixture
def server() -> Iterator[KubernetesApi]:
    with KubernetesApi() as running:
        yield running


@pytest.fixture
def kubeconfig(server: KubernetesApi, tmp_path: Path) -> Path:
    document = {
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": server.url}}],
        "users": [{"name": "me", "user": {"token": "a-token"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def stopped(home: Home, kubeconfig: Path) -> Iterator[ControllerProcess]:
    """One that is not started yet, for its other commands."""
    yield ControllerProcess(home, kubeconfig)


@pytest.fixture
def controller(stopped: ControllerProcess) -> Iterator[ControllerProcess]:
    with stopped:
        wait_for_start(stopped)
        yield stopped
