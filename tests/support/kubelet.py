"""What a kubelet does with a credential provider: calls it, and checks the response.

In the place of the kubelet's own code (Go), whose rules these are: pkg/credentialprovider/plugin.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from docker_credential_ecr_py.kubelet import protocol
from docker_credential_ecr_py.protocol import STDERR, STDOUT
from tests.support.home import HELPER, Home

PLUGIN = HELPER.with_name("ecr-credential-provider-py")
VERSION = "credentialprovider.kubelet.k8s.io/v1"
VERSIONS = (VERSION, f"{VERSION}beta1", f"{VERSION}alpha1")
_TYPES = {
    "kind": str,
    "apiVersion": str,
    "cacheKeyType": str,
    "cacheDuration": str,
    "auth": dict,
}


@dataclass(frozen=True)
class Pulled:
    """What the kubelet would pull with: nothing, or a user and a password for `auth_key`.

    It keeps that for `kept` seconds.
    """

    kept: int
    auth_key: str = ""
    username: str = ""
    password: str = ""


@dataclass
class Kubelet:
    """A kubelet whose environment is `environment` and nothing else."""

    environment: dict[str, str]
    plugin: Path = PLUGIN

    def exec(
        self, stdin: bytes, *arguments: str, **popen: Any
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.plugin, *arguments],
            **{"input": stdin, "env": self.environment, **popen},
            capture_output=True,
            start_new_session=True,
            timeout=60,
            check=False,
        )

    def pull(
        self,
        image: str,
        *,
        version: str = VERSION,
        token: str = "",
        annotations: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> Pulled:
        """Ask for an image's credential. What the kubelet would refuse fails the test."""
        done = self.exec(request(image, version, token, annotations), *arguments)
        assert (done.returncode, done.stderr) == (0, b""), done
        return checked(done.stdout, image, version)

    def pull_at_once(self, images: Sequence[str]) -> list[Pulled]:
        with ThreadPoolExecutor(len(images)) as pool:
            return list(pool.map(self.pull, images))

    def failure(self, stdin: bytes, *arguments: str) -> str:
        """The one line of a failure, which the kubelet logs."""
        done = self.exec(stdin, *arguments)
        assert (done.returncode, done.stdout) == (1, b""), done
        line = done.stderr.decode()
        assert line.count("\n") == 1, line
        assert line.endswith("\n"), line
        return line.rstrip("\n")


class InProcess(Kubelet):
    """A kubelet that runs the plugin in this process, which is faster; it has no hits."""

    def exec(
        self, stdin: bytes, *arguments: str, **popen: Any
    ) -> subprocess.CompletedProcess[bytes]:
        written = {STDOUT: b"", STDERR: b""}

        def write(file: int, text: bytes) -> bool:
            written[file] += text
            return True

        with (
            mock.patch.object(protocol, "write", write),
            mock.patch.dict(os.environ, self.environment, clear=True),
        ):
            code = protocol.main(list(arguments), stdin)
        stdout, stderr = written.values()
        return subprocess.CompletedProcess(["plugin"], code, stdout, stderr)


def node(home: Home, kind: type[Kubelet] = Kubelet) -> Kubelet:
    """The kubelet of a node whose root has this home."""
    kept = {name: value for name, value in home.environment.items() if name != "PATH"}
    return kind({"PATH": "/usr/bin:/bin", **kept})


def request(
    image: str,
    version: str = VERSION,
    token: str = "",
    annotations: Mapping[str, str] | None = None,
) -> bytes:
    """A CredentialProviderRequest as Go writes it."""
    document: dict[str, Any] = {"kind": "CredentialProviderRequest", "apiVersion": version}
    document["image"] = image
    if token:
        document["serviceAccountToken"] = token
    if annotations:
        document["serviceAccountAnnotations"] = dict(annotations)
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def checked(stdout: bytes, image: str, version: str = VERSION) -> Pulled:
    """Decode a response as the kubelet does: a field that it does not know makes it refuse all."""
    document = json.loads(stdout)
    assert document.keys() <= _TYPES.keys(), document
    assert all(isinstance(document[name], _TYPES[name]) for name in document)
    assert document["kind"] == "CredentialProviderResponse"
    assert document["apiVersion"] == version
    assert document["cacheKeyType"] == "Registry"
    duration = re.fullmatch(r"([0-9]+)s", document["cacheDuration"])
    assert duration, document["cacheDuration"]
    kept = int(duration[1])
    assert 0 < kept <= 6 * 3600
    if "auth" not in document:
        return Pulled(kept)
    ((key, auth),) = document["auth"].items()
    assert auth.keys() == {"username", "password"}
    assert key == image.partition("/")[0]
    return Pulled(kept, key, auth["username"], auth["password"])


def service_account_token(
    namespace: str = "team",
    name: str = "app",
    uid: str = "8e2c6f4a-1f5c-4a53-9c5e-0f3b6f1f0c11",
    *,
    audience: str = "sts.amazonaws.com",
    issuer: str = "https://kubernetes.default.svc.cluster.local",
    serial: str = "1",
) -> str:
    """A token as the API server issues it, bound to a pod; each `serial` is another one."""
    claims = {
        "aud": [audience],
        "exp": 1900000000,
        "iss": issuer,
        "jti": serial,
        "kubernetes.io": {
            "namespace": namespace,
            "pod": {"name": f"{name}-{serial}", "uid": f"pod-{serial}"},
            "serviceaccount": {"name": name, "uid": uid},
        },
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }
    parts = ({"alg": "RS256", "kid": "k"}, claims)
    encoded = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl" * 20])
