"""A desk with real clients, the three accounts, repositories and images, as README has them."""

from __future__ import annotations

from shlex import quote

import pytest

from tests.acceptance.readme import Row, row_of
from tests.support.docker_user import (
    IMAGE,
    TAG,
    cli,
    docker,
    docker_user,
    engine,
    front,
    images,
    proxy,
)
from tests.support.home import DEV
from tests.support.repositories import an_image, aws, moto, there_is
from tests.support.terminal import Terminal
from tests.support.user import User

__all__ = ["aws", "cli", "docker", "docker_user", "engine", "front", "images", "moto", "proxy"]


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    return row_of(request.param)


@pytest.fixture
def repositories(aws: object) -> None:
    """Those of the account dev, as the API shows them."""
    images = (an_image(tag) for tag in ("1.0.0", "1.0.1", "1.0.11"))
    there_is(IMAGE, *images, an_image(TAG, "latest"))
    for name in ("lcm-backend", "nats"):
        there_is(name, an_image("1.0"), account=DEV)


def shell(docker_user: User, command: str, **environment: str) -> str:
    """What bash prints for a line that somebody types."""
    variables = "".join(f"export {name}={quote(value)}; " for name, value in environment.items())
    return docker_user.run("bash", "-c", f"set -eo pipefail; {variables}{command}").stdout


def at_terminal(docker_user: User, command: str) -> Terminal:
    return Terminal(
        command, {"TERM": "xterm-256color", **docker_user.environment}, docker_user.home.path
    )
