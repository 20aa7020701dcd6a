"""`ecr-py controller run` in a process of its own, between a stand-in for AWS and an API server."""

from __future__ import annotations

import base64
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.fake_cluster import passwords_in
from tests.support.home import DEV, STAGE, Home
from tests.support.processes import wait_until

GRANTS = f"""
grants:
  - name: shop
    registries: ["{DEV}", "{STAGE}"]
    namespaces:
      - shop-*
      - matchLabels: {{ecr: pull}}
"""


@dataclass
class ControllerProcess:
    """A controller of `home` for the cluster of `kubeconfig`, as a context manager."""

    home: Home
    kubeconfig: Path
    grants_text: str = GRANTS
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    name: str = "controller"
    interpreter: Path = Path(sys.executable)

    def __enter__(self) -> Self:
        self.port = _free_port()
        self.grants = self.home.path / "grants.yaml"
        self.grants.write_text(self.grants_text)
        self.log_file = self.home.path / f"{self.name}.log"
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    @property
    def all_variables(self) -> dict[str, str]:
        return self.home.environment | {"KUBECONFIG": str(self.kubeconfig)} | self.environment

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(self.interpreter, self.program),
                    *("controller", "run", "--grants", self.grants),
                    *("--listen", f"127.0.0.1:{self.port}", *self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.all_variables,
                start_new_session=True,
            )

    @property
    def program(self) -> Path:
        return self.home.helper.with_name("ecr-py")

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run another `ecr-py controller` command with the same environment."""
        return subprocess.run(
            [self.program, "controller", *arguments],
            capture_output=True,
            text=True,
            env=self.all_variables,
            timeout=60,
            check=False,
        )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(30)

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a page that it serves; 0 if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, labels: str = "") -> float | None:
        """Return a metric, such as `secrets` with `{state="current"}`; None if it is not there."""
        sample = re.escape(f"ecr_py_controller_{name}{labels}")
        found = re.search(rf"^{sample} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def resident(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


def passwords(secret: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the password of each registry in a pull secret; {} if there is no secret."""
    if secret is None:
        return {}
    return passwords_in(base64.b64decode(secret["data"][".dockerconfigjson"]))


def wait_for_start(controller: ControllerProcess) -> None:
    wait_until(lambda: controller.get("/readyz")[0] == 200 or controller.process.poll() is not None)
    assert controller.process.poll() is None, controller.log


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
