"""A user with docker, podman, … whose environment leads to registries that hold images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.standin.aws import Aws, Issued
from tests.standin.engine import Engine
from tests.standin.proxy import Proxy
from tests.standin.registry import RegistryFront
from tests.support.home import ACCOUNTS, REGISTRIES, Home, registry
from tests.support.programs import need
from tests.support.user import User

IMAGE = "hc-devcon-cpp-arm64"
TAG = "1.0.12"
HELPER_NAME = "ecr-py"
# containers-policy.json(5), without which skopeo and podman refuse images.
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def image(account: str, tag: str = TAG) -> str:
    return f"{registry(account)}/{IMAGE}:{tag}"


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
def docker_user(home: Home, aws: Aws, proxy: Proxy, engine: Engine) -> User:
    """Docker's config names ecr-py for the three registries; AWS_PROFILE is not set.

    The user's environment leads docker, podman and others to the registries; `home` itself keeps
    its own.
    """
    environment = home.environment | proxy.environment() | engine.environment()
    runtime = home.path / "run"
    runtime.mkdir(mode=0o700)
    environment["XDG_RUNTIME_DIR"] = str(runtime)
    user = User(replace(home, environment=environment), aws)
    user.write_docker_config({"credHelpers": dict.fromkeys(REGISTRIES, HELPER_NAME)})
    return user


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
