"""docs/instead-of.md, for logins to other registries, which the keyring is to keep."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.acceptance.readme import Row, instead_of, row_of
from tests.support.docker_user import secrets_in
from tests.support.home import Home
from tests.support.private_registry import Guarded
from tests.support.programs import need
from tests.support.secret_service import bus, home, keyring
from tests.support.stores import readable

__all__ = ["bus", "home", "keyring"]

USER, PASSWORD = "octocat", "correct-horse-battery-staple-of-octocat"


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded() as running:
        running.users[USER] = PASSWORD
        yield running


def shell(home: Home, command: str, stdin: str = "") -> str:
    done = subprocess.run(
        [need("bash"), "-c", command],
        input=stdin,
        env=home.environment,
        cwd=home.path,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.usefixtures("keyring")
@instead_of("`docker login` to Docker Hub", "`singularity remote login")
def test_a_login_is_kept_sealed(home: Home, guarded: Guarded, row: Row) -> None:
    need("docker")
    home.settings.unlink()
    home.environment["DOCKER_HOST"] = f"unix://{home.path}/no-engine"  # docker goes by itself
    once = row_of("`docker login` to Docker Hub").command
    login = row.typed[0].replace("cloud.dinosaur.io", guarded.name)
    if login == once:
        login = f"docker login {guarded.name}"
    shell(home, once)
    shell(home, f"{login} --username {USER} --password-stdin", stdin=PASSWORD)
    config = home.path / ".docker" / "config.json"
    assert json.loads(config.read_text())["credsStore"] == "ecr-py"
    assert secrets_in(config) == []
    assert readable(home, PASSWORD) == []
    assert home.get(guarded.name).json["Secret"] == PASSWORD
