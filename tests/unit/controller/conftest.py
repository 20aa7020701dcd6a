"""An API server that fails as it is told to, and the controller's way to it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_credential_ecr_py.controller.api_server import ApiServer
from tests.standin.kubernetes import KubernetesApi


@pytest.fixture
def server() -> Iterator[KubernetesApi]:
    with KubernetesApi() as running:
        yield running


@pytest.fixture
def api(server: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    document = {
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": server.url}}],
        "users": [{"name": "me", "user": {"token": "a-token"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(document))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    return ApiServer.connect()
