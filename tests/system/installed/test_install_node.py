"""packaging/kubelet: what installs the kubelet's plugin on a node, and its DaemonSet."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.environments import PROJECT, new_environment
from tests.support.kubelet import Kubelet, checked, request
from tests.support.programs import need

FOLDER = PROJECT / "packaging" / "kubelet"
IMAGE = "docker.io/library/nginx"


@dataclass
class Node:
    """A node whose folders are in `root`; pip installs the wheel, and looks nothing up."""

    root: Path
    environment: dict[str, str]

    def install(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", FOLDER / "install-node", *options],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    @property
    def config(self) -> Path:
        return self.root / "etc" / "provider.yaml"


@pytest.fixture
def node(tmp_path: Path, wheel: Path) -> Node:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PREFIX": str(tmp_path / "opt"),
        "BIN_DIR": str(tmp_path / "etc" / "providers"),
        "CONFIG": str(tmp_path / "etc" / "provider.yaml"),
        "PACKAGE": str(wheel),
        **dict.fromkeys(("PIP_NO_INDEX", "PIP_NO_DEPS", "PIP_IGNORE_INSTALLED"), "1"),
    }
    return Node(tmp_path, environment)


def test_a_node(node: Node, wheel: Path) -> None:
    new_environment(node.root / "opt", Path(sys.executable), wheel)
    done = node.install("--env", "AWS_CONFIG_FILE=/etc/aws")
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[1:] == [
        f"--image-credential-provider-config={node.config}",
        f"--image-credential-provider-bin-dir={node.root}/etc/providers",
    ]
    (provider,) = yaml.safe_load(node.config.read_text())["providers"]
    assert provider["env"] == [{"name": "AWS_CONFIG_FILE", "value": "/etc/aws"}]
    plugin = node.root / "etc" / "providers" / provider["name"]
    answer = Kubelet({}, plugin).exec(request(IMAGE))
    assert checked(answer.stdout, IMAGE).auth_key == ""
    # Again, as an upgrade.
    assert "as it was" in node.install("--env", "AWS_CONFIG_FILE=/etc/aws").stdout
    assert "restart the kubelet" in node.install().stdout
    # A configuration of somebody else stays.
    node.config.write_text("kind: CredentialProviderConfig\n")
    done = node.install()
    assert done.returncode == 1
    assert "is there and not ours" in done.stderr
    assert node.config.read_text() == "kind: CredentialProviderConfig\n"
    assert sorted(file.name for file in node.config.parent.iterdir()) == [
        "provider.yaml",
        "providers",
    ]


def test_a_node_with_an_old_python(node: Node, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = node.install(PATH=str(old.parent))
    assert done.returncode == 1
    assert done.stderr == (
        "install-node: this node has no Python 3.11 or newer: use pull secrets for it\n"
    )


def test_an_environment_without_pip_is_made_again(node: Node) -> None:
    """As Debian's Python leaves it without python3-venv, which may have been installed since."""
    for program in (node.root / "opt" / "bin" / "python", node.root / "bin" / "python3"):
        program.parent.mkdir(parents=True)
        program.write_text('#!/bin/sh\n[ "$1" = -c ]\n')
        program.chmod(0o755)
    done = node.install(PATH=str(node.root / "bin"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"install-node: python3 makes no environment in {node.root}/opt: on Debian and Ubuntu, "
        "install python3-venv\n"
    )


@pytest.mark.parametrize("name", ["PREFIX", "BIN_DIR", "CONFIG"])
def test_a_path_that_is_relative(node: Node, name: str) -> None:
    done = node.install(**{name: "etc/x"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("install-node: PREFIX, BIN_DIR and CONFIG begin with /, unlike etc/x\n")


def test_options_that_cannot_be_meant_leave_nothing(node: Node, wheel: Path) -> None:
    new_environment(node.root / "opt", Path(sys.executable), wheel)
    done = node.install("--name", "a/b")
    assert done.returncode == 1
    assert done.stderr == "ecr-py: --name: 'a/b' is not the name of a provider's program\n"
    assert not node.config.parent.exists()


def documents() -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [need("kubectl"), "kustomize", FOLDER], capture_output=True, text=True, check=True
    )
    return {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}


def test_the_daemonset_runs_the_script_in_the_nodes_root() -> None:
    found = documents()
    assert found.keys() == {"Namespace", "ConfigMap", "DaemonSet"}
    assert found["ConfigMap"]["data"]["install-node"] == (FOLDER / "install-node").read_text()
    pod = found["DaemonSet"]["spec"]["template"]["spec"]
    (install,) = pod["initContainers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["script"]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    assert volumes["host"]["hostPath"]["path"] == "/"
    assert {mount["name"] for mount in install["volumeMounts"]} == volumes.keys()
    script = (FOLDER / "install-node").read_text()
    names = {entry["name"] for entry in install["env"]} - {"PATH"}
    assert all(f"${{{name}:-" in script for name in names)
