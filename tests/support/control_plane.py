"""A real kube-apiserver with its etcd on loopback, for the tests that want to know for certain.

The programs are those of Kubernetes' envtest: in KUBEBUILDER_ASSETS, or where envtest puts them. No
package has them, so they are not in CI, and a test that needs them is skipped there, too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

_ASSETS = Path("/usr/local/kubebuilder/bin")
_PATIENCE = 90.0
_APPLY = {"Content-Type": "application/apply-patch+yaml"}


def assets() -> Path:
    """The folder with kube-apiserver and etcd; without one the test is skipped."""
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS") or _ASSETS)
    for program in ("kube-apiserver", "etcd"):
        if not (folder / program).exists():
            pytest.skip(f"no {program} in {folder}: set KUBEBUILDER_ASSETS to envtest's folder")
    return folder


class ControlPlane:
    """One cluster without nodes or controllers, in `folder`, as a context manager.

    `quota` is the size in bytes at which etcd refuses to write.
    """

    def __init__(self, folder: Path, *, quota: int = 0) -> None:
        self._folder = folder
        self._assets = assets()
        self._quota = quota
        self._ports = [_free_port() for _ in range(3)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._make_keys()
        self.kubeconfig = self.kubeconfig_for(
            "admin",
            {
                "client-certificate": str(folder / "admin.pem"),
                "client-key": str(folder / "admin.key"),
            },
        )
        trust = httpx2.create_ssl_context()
        trust.load_verify_locations(folder / "ca.pem")
        trust.load_cert_chain(folder / "admin.pem", folder / "admin.key")
        self._http = httpx2.Client(base_url=self.url, verify=trust, timeout=30, trust_env=False)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._ports[0]}"

    def __enter__(self) -> Self:
        self.start_etcd()
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()
        for name in ("kube-apiserver", "etcd"):
            self._kill(name)

    def start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports[1:])
        quota = [f"--quota-backend-bytes={self._quota}"] if self._quota else []
        self._run(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            *quota,
        )

    def start(self) -> None:
        """Start the API server, and wait until it is ready."""
        folder = self._folder
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._ports[1]}",
            f"--secure-port={self._ports[0]}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder}",
            f"--tls-cert-file={folder / 'server.pem'}",
            f"--tls-private-key-file={folder / 'server.key'}",
            f"--client-ca-file={folder / 'ca.pem'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",  # no controller makes "default"
            "--watch-cache=true",
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if self._http.get("/readyz", timeout=2).status_code == 200:
                    return
            assert self._processes["kube-apiserver"].poll() is None, self.log("kube-apiserver")
            assert time.monotonic() < deadline, self.log("kube-apiserver")
            time.sleep(0.05)

    def freeze(self) -> None:
        """Stop the API server as a hung machine does: connections stay, nothing answers."""
        self._processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._processes["kube-apiserver"].send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._kill("kube-apiserver")

    def restart(self) -> None:
        self.kill()
        self.start()

    def resident(self, program: str = "kube-apiserver") -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self._processes[program].pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def log(self, program: str) -> str:
        """The end of a program's log."""
        return (self._folder / f"{program}.log").read_text(errors="replace")[-3000:]

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, str] = {},
        headers: Mapping[str, str] = {},
    ) -> dict[str, Any]:
        """Ask as an administrator. Raises httpx2.HTTPStatusError."""
        answer = self._http.request(method, path, json=body, params=params, headers=headers)
        answer.raise_for_status()
        return dict(answer.json())

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Apply one object, server-side, as kubectl would."""
        return self.request(
            "PATCH",
            path_of(manifest),
            manifest,
            params={"fieldManager": "kubectl", "force": "true"},
            headers=_APPLY,
        )

    def add_namespace(self, name: str, **labels: str) -> None:
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": dict(labels)},
            }
        )

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        answer = self._http.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return dict(answer.json()) if answer.status_code == 200 else None

    def docker_config(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The docker config in a pull secret."""
        secret = self.secret(namespace, name)
        if secret is None:
            return None
        return dict(json.loads(base64.b64decode(secret["data"][".dockerconfigjson"])))

    def token_of(self, namespace: str, account: str, *audiences: str) -> str:
        """A token of a service account, as the kubelet gives to a pod: for us, or for others."""
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": audiences},
            },
        )
        return str(answer["status"]["token"])

    def kubeconfig_for(
        self, name: str, user: Mapping[str, str], namespace: str = "default"
    ) -> Path:
        """A kubeconfig with which `user` asks this server."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": self.url,
                        "certificate-authority": str(self._folder / "ca.pem"),
                    },
                }
            ],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [
                {"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}
            ],
        }
        path = self._folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    def _make_keys(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self._folder / "ca.pem")
        server = authority.issue_cert("127.0.0.1", "localhost")
        admin = authority.issue_cert(
            "admin@localhost", common_name="admin", organization_name="system:masters"
        )
        for name, pair in (("server", server), ("admin", admin)):
            pair.private_key_pem.write_to_path(self._folder / f"{name}.key")
            pair.cert_chain_pems[0].write_to_path(self._folder / f"{name}.pem")
        key = ec.generate_private_key(ec.SECP256R1())
        (self._folder / "accounts.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (self._folder / "accounts.pub").write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def _run(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [self._assets / program, *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _kill(self, program: str) -> None:
        process = self._processes.pop(program, None)
        if process is not None:
            process.kill()
            process.wait()


def path_of(manifest: Mapping[str, Any]) -> str:
    """The path of an object in the API, for the kinds that we install."""
    group = manifest["apiVersion"]
    kind = manifest["kind"].lower()
    plural = kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
    root = f"/api/{group}" if "/" not in group else f"/apis/{group}"
    namespace = manifest["metadata"].get("namespace")
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{plural}/{manifest['metadata']['name']}"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
