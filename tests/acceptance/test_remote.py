"""One login on a laptop; pulls in a container and on two SSH hosts without AWS configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.standin.proxy import Proxy
from tests.support.daemon import TOKEN
from tests.support.docker_user import image
from tests.support.home import DEV
from tests.support.programs import need
from tests.support.records import let_pass
from tests.support.remote_host import RemoteHost
from tests.system.conftest import docker, engine, front, images, proxy
from tests.system.forward.conftest import (
    PATIENT,
    Laptop,
    daemons,
    home,
    laptop,
    new_host,
)

__all__ = ["daemons", "docker", "engine", "front", "home", "images", "laptop", "new_host", "proxy"]

TWELVE_HOURS = 12 * 3600


def _pull(environment: dict[str, str], *before: str) -> subprocess.CompletedProcess[str]:
    """`docker pull` with a config that names ecr-py for every registry."""
    config = Path(environment["DOCKER_CONFIG"])
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text('{"credsStore": "ecr-py"}')
    command = [*before, need("docker"), "pull", image(DEV)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_pulls_everywhere_twelve_hours_later_again_and_an_end(
    laptop: Laptop,
    new_host: Callable[..., RemoteHost],
    engine: Engine,
    proxy: Proxy,
    images: None,
    aws: Aws,
    tmp_path: Path,
) -> None:
    clients = proxy.environment() | engine.environment()
    hosts = [new_host(name) for name in ("build.example.com", "test.example.com")]
    remotes: list[tuple[dict[str, str], tuple[str, ...]]] = [
        (host.home.environment | clients | {"DOCKER_CONFIG": str(host.home.path / "docker")}, ())
        for host in hosts
    ]
    mount = ("--bind", str(laptop.socket.parent), "/mnt")
    container = {
        "HOME": str(tmp_path),
        "PATH": f"{laptop.home.helper.parent}:{os.environ['PATH']}",
        "ECR_PY_FORWARD": "/mnt/forward.sock",
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        **PATIENT,
    }
    bwrap = (need("bwrap"), "--bind", "/", "/", "--proc", "/proc", "--unshare-pid", *mount)
    remotes.append((container | clients, bwrap))
    with laptop.session(hosts[0]), laptop.session(hosts[1]):
        for _ in range(2):
            for environment, before in remotes:
                done = _pull(environment, *before)
                assert done.returncode == 0, done
            let_pass(laptop.home, TWELVE_HOURS)
        assert [call.operation for call in aws.calls].count(TOKEN) == 2
        laptop.forward("off")
        for environment, before in remotes:
            done = _pull(environment, *before)
            assert done.returncode != 0
            assert "the tunnel is gone" in done.stderr
