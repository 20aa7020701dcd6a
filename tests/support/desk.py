"""A person's desk: the home of three accounts, docker's config, and the way to the registries."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.standin.aws import Aws, Issued
from tests.standin.engine import Engine
from tests.standin.proxy import Proxy
from tests.standin.registry import RegistryFront
from tests.support.home import DEV, PROD, STAGE, Home, registry
from tests.support.programs import need
from tests.support.user import Done

ACCOUNTS = (DEV, STAGE, PROD)
IMAGE = "hc-devcon-cpp-arm64"
TAG = "1.0.12"
HELPER_NAME = "ecr-py"


def image(account: str, tag: str = TAG) -> str:
    return f"{registry(account)}/{IMAGE}:{tag}"


@dataclass
class Desk:
    """Where a person types. `environment` is all that the programs get to see."""

    home: Home
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def docker_config(self) -> Path:
        return self.home.path / ".docker" / "config.json"

    def configure_docker(self, config: Mapping[str, Any]) -> None:
        self.home.write(self.docker_config, json.dumps(config))

    def run(self, *command: str, stdin: str = "", fails: bool = False, **environment: str) -> Done:
        """Runs a program to its end, in the person's home; it must succeed, or fail."""
        done = subprocess.run(
            command,
            input=stdin,
            env=self.environment | environment,
            cwd=self.home.path,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,  # no terminal of whoever runs the tests
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def front(aws: Aws) -> Iterator[RegistryFront]:
    need("docker-registry")
    with RegistryFront(aws) as running:
        yield running


@pytest.fixture
def proxy(aws: Aws, front: RegistryFront) -> Iterator[Proxy]:
    with Proxy(aws, front) as running:
        yield running


@pytest.fixture
def engine(front: RegistryFront) -> Iterator[Engine]:
    with Engine(front) as running:
        yield running


@pytest.fixture
def desk(home: Home, proxy: Proxy, engine: Engine) -> Desk:
    """Docker is told once that ecr-py answers for the three registries; no AWS_PROFILE."""
    environment = home.environment | proxy.environment() | engine.environment()
    runtime = home.path / "run"
    runtime.mkdir(mode=0o700)
    desk = Desk(home, environment | {"XDG_RUNTIME_DIR": str(runtime)})
    desk.configure_docker({"credHelpers": {registry(account): HELPER_NAME for account in ACCOUNTS}})
    return desk


@pytest.fixture
def docker() -> str:
    return need("docker")


@pytest.fixture
def cli() -> str:
    return need("aws", "aws-cli/2.")


@pytest.fixture
def images(aws: Aws, front: RegistryFront) -> None:
    """The image lies in each account's registry, pushed there by somebody else."""
    for account in ACCOUNTS:
        password = f"somebody-of-{account}"
        aws.issued[password] = Issued(
            f"arn:aws:iam::{account}:user/builder", account, "eu-west-1", aws.clock() + 60, False
        )
        somebody = {"username": "AWS", "password": password}
        Engine(front).push(f"{registry(account)}/{IMAGE}", TAG, somebody)
    front.requests.clear()


def secrets_in(config: Path) -> list[str]:
    """The registries whose password a docker config holds in the clear."""
    entries: dict[str, dict[str, str]] = json.loads(config.read_text()).get("auths", {})
    return [host for host, entry in entries.items() if entry]
