"""docker, podman and skopeo log in to a registry of somebody's own through us, and out again.

Docker asks us as `credsStore`. Podman and skopeo know no credsStore: they ask whom `credHelpers`
in auth.json names for a registry, and podman whom registries.conf names for all.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.engine import Engine
from tests.support.docker_user import secrets_in
from tests.support.home import Home
from tests.support.private_registry import IMAGE, TAG, Guarded
from tests.support.programs import need
from tests.support.secret_service import Keyring
from tests.support.stores import readable, set_store
from tests.support.user import Done

USER, PASSWORD = "octocat", "correct-horse-battery-staple-of-octocat"
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


@pytest.fixture(autouse=True)
def fallback(home: Home, keyring: Keyring) -> None:
    set_store(home, "keyring", fallback="keyring")
    home.environment["DOCKER_HOST"] = f"unix://{home.path}/no-engine"  # docker goes by itself
    home.write(home.path / ".config" / "containers" / "policy.json", POLICY)


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded() as running:
        running.users[USER] = PASSWORD
        yield running


def run(home: Home, *command: str, stdin: str = "", fails: bool = False, **more: str) -> Done:
    done = subprocess.run(
        command,
        input=stdin,
        env=home.environment | more,
        cwd=home.path,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done
    return Done(done.returncode, done.stdout, done.stderr)


def docker_config(home: Home) -> Path:
    return home.path / ".docker" / "config.json"


def is_kept_sealed(home: Home, registry: str) -> None:
    assert home.logins() == {registry: USER}
    assert home.get(registry).json == {
        "ServerURL": registry,
        "Username": USER,
        "Secret": PASSWORD,
    }
    assert readable(home, PASSWORD) == []


# docker


@pytest.fixture
def docker(home: Home) -> str:
    home.write(docker_config(home), '{"credsStore": "ecr-py"}')
    return need("docker")


def docker_login(home: Home, docker: str, registry: str, *, password: str = PASSWORD) -> Done:
    login = (docker, "login", "--username", USER, "--password-stdin", registry)
    return run(home, *login, stdin=password, fails=password != PASSWORD)


def test_docker_logs_in_and_out(home: Home, docker: str, guarded: Guarded) -> None:
    done = docker_login(home, docker, guarded.name)
    assert "Login Succeeded" in done.said
    assert "unencrypted" not in done.said
    assert guarded.let_in == [USER]
    is_kept_sealed(home, guarded.name)
    assert secrets_in(docker_config(home)) == []
    assert "Removing login credentials" in run(home, docker, "logout", guarded.name).said
    assert home.logins() == {}


def test_docker_sends_it_along(home: Home, docker: str, guarded: Guarded) -> None:
    """To the engine, which pulls; and as it logs in again without a question."""
    docker_login(home, docker, guarded.name)
    image = f"{guarded.name}/{IMAGE}:{TAG}"
    with Engine() as engine:
        home.environment |= engine.environment()
        assert "Login Succeeded" in run(home, docker, "login", guarded.name).said
        run(home, docker, "pull", image)
        run(home, docker, "logout", guarded.name)
        run(home, docker, "pull", image, fails=True)
        login, first, second = engine.asked
    for asked in (login, first):
        assert (asked.auth["username"], asked.auth["password"]) == (USER, PASSWORD)
    assert "password" not in second.auth


def test_docker_keeps_no_wrong_password(home: Home, docker: str, guarded: Guarded) -> None:
    docker_login(home, docker, guarded.name, password="wrong")
    assert home.logins() == {}


def test_a_login_that_cannot_be_sealed_fails_in_docker_too(
    home: Home, docker: str, guarded: Guarded, keyring: Keyring
) -> None:
    keyring.lock()
    login = (docker, "login", "--username", USER, "--password-stdin", guarded.name)
    done = run(home, *login, stdin=PASSWORD, fails=True)
    assert "keyring" in done.said
    assert PASSWORD not in done.said
    assert readable(home, PASSWORD) == []
    assert secrets_in(docker_config(home)) == []


def test_docker_logs_out_of_docker_hub_alone(home: Home, docker: str, guarded: Guarded) -> None:
    """Its name is a URL with a path, which docker erases by that and by others."""
    given = {"ServerURL": "https://index.docker.io/v1/", "Username": "moby", "Secret": "whale"}
    assert home.call("store", stdin=json.dumps(given).encode()).code == 0
    docker_login(home, docker, guarded.name)
    run(home, docker, "logout")
    assert home.logins() == {guarded.name: USER}


# podman and skopeo


@pytest.fixture(params=["podman", "skopeo", "buildah"])
def program(request: pytest.FixtureRequest) -> str:
    return need(request.param)


@pytest.fixture
def auth_file(home: Home, guarded: Guarded) -> Path:
    """auth.json as its user writes it: this registry's passwords are ecr-py's business."""
    config = json.dumps({"credHelpers": {guarded.name: "ecr-py"}})
    file = home.write(home.path / "auth.json", config)
    home.environment["REGISTRY_AUTH_FILE"] = str(file)
    return file


def log_in(home: Home, program: str, registry: str, *, stdin: str = PASSWORD) -> Done:
    login = (program, "login", "--tls-verify=false", "--username", USER, "--password-stdin")
    return run(home, *login, registry, stdin=stdin, fails=stdin != PASSWORD)


def list_tags(home: Home, registry: str, *, fails: bool = False) -> Done:
    tags = ("list-tags", "--tls-verify=false", f"docker://{registry}/{IMAGE}")
    return run(home, need("skopeo"), *tags, fails=fails)


def test_by_cred_helpers_they_log_in_ask_and_log_out(
    home: Home, program: str, guarded: Guarded, auth_file: Path
) -> None:
    list_tags(home, guarded.name, fails=True)
    assert "Login Succeeded" in log_in(home, program, guarded.name).said
    is_kept_sealed(home, guarded.name)
    assert secrets_in(auth_file) == []
    guarded.asked.clear()
    assert json.loads(list_tags(home, guarded.name).stdout)["Tags"] == [TAG]
    assert set(guarded.let_in) == {USER}
    get_login = (program, "login", "--tls-verify=false", "--get-login", guarded.name)
    assert run(home, *get_login).stdout == f"{USER}\n"

    assert "Removed login credentials" in run(home, program, "logout", guarded.name).said
    assert home.logins() == {}
    list_tags(home, guarded.name, fails=True)


def test_what_one_logged_in_to_the_others_open(
    home: Home, guarded: Guarded, auth_file: Path, docker: str
) -> None:
    docker_login(home, docker, guarded.name)
    assert json.loads(list_tags(home, guarded.name).stdout)["Tags"] == [TAG]
    run(home, need("podman"), "logout", guarded.name)
    run(home, docker, "login", guarded.name, fails=True)


def test_by_cred_helpers_in_dockers_config_they_read_what_docker_logged_in_to(
    home: Home, guarded: Guarded, docker: str
) -> None:
    config = {"credsStore": "ecr-py", "credHelpers": {guarded.name: "ecr-py"}}
    home.write(docker_config(home), json.dumps(config))
    docker_login(home, docker, guarded.name)
    assert json.loads(list_tags(home, guarded.name).stdout)["Tags"] == [TAG]


def test_a_login_that_cannot_be_sealed_fails_in_podman_too(
    home: Home, guarded: Guarded, auth_file: Path, keyring: Keyring
) -> None:
    keyring.lock()
    login = ("login", "--tls-verify=false", "--username", USER, "--password-stdin", guarded.name)
    done = run(home, need("podman"), *login, stdin=PASSWORD, fails=True)
    assert "keyring" in done.said
    assert secrets_in(auth_file) == []
    assert readable(home, PASSWORD) == []


def test_podman_keeps_all_its_logins_with_us_by_registries_conf(
    home: Home, guarded: Guarded
) -> None:
    conf = home.write(home.path / "registries.conf", 'credential-helpers = ["ecr-py"]\n')
    home.environment["CONTAINERS_REGISTRIES_CONF"] = str(conf)
    podman = need("podman")
    assert "Login Succeeded" in log_in(home, podman, guarded.name).said
    is_kept_sealed(home, guarded.name)
    tags = (podman, "search", "--tls-verify=false", "--list-tags", f"{guarded.name}/{IMAGE}")
    assert f"{guarded.name}/{IMAGE}  {TAG}" in run(home, *tags).stdout
    run(home, podman, "logout", "--all")
    assert home.logins() == {}
