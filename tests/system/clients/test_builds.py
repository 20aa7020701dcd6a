"""docker's legacy builder and docker-py send the credentials of every registry with a build.

With a credsStore they call `list` first, and `get` for what it named.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.support.docker_user import HELPER_NAME, image
from tests.support.home import ACCOUNTS, DEV, NOT_FOUND, PROD, REGISTRIES, STAGE, registry
from tests.support.user import Done, User

STORE = {"credsStore": HELPER_NAME}
HELPERS = {"credHelpers": dict.fromkeys(REGISTRIES, HELPER_NAME)}
DOCKER_PY = """\
import sys, docker
image, _ = docker.from_env().images.build(path=sys.argv[1])
print(image.id)
"""


def build(user: User, client: str, base: str, *, fails: bool = False) -> Done:
    """Build an image FROM `base` by docker's legacy builder or docker-py."""
    folder = user.home.path / "context"
    user.home.write(folder / "Dockerfile", f"FROM {base}\n")
    if client == "docker-py":
        return user.run(sys.executable, "-c", DOCKER_PY, str(folder), fails=fails)
    return user.run(client, "build", str(folder), fails=fails, DOCKER_BUILDKIT="0")


@pytest.fixture(params=["docker", "docker-py"])
def client(request: pytest.FixtureRequest) -> str:
    if request.param == "docker":
        return str(request.getfixturevalue("docker"))
    return str(request.param)


def passwords(engine: Engine) -> dict[str, str]:
    """Return the password for each registry that came with the last build."""
    [sent] = [asked.auth for asked in engine.asked if asked.action == "build"]
    return {url: (auth or {}).get("password", "") for url, auth in sent.items()}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("config", [STORE, HELPERS], ids=["credsStore", "credHelpers"])
@pytest.mark.parametrize("cached", [False, True], ids=["cold", "warm"])
def test_a_build_on_a_private_image(
    docker_user: User,
    client: str,
    engine: Engine,
    aws: Aws,
    config: Mapping[str, Any],
    cached: bool,
) -> None:
    docker_user.write_docker_config(config)
    for host in REGISTRIES if cached else ():
        docker_user.home.get(host)
    done = build(docker_user, client, image(DEV))
    assert "ecr-py: " not in done.stderr
    sent = passwords(engine)
    for account in ACCOUNTS:
        [password, *_] = [sent[url] for url in sent if registry(account) in url]
        assert aws.issued[password].account == account
    assert aws.count("GetAuthorizationToken") == 3


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("config", [STORE, HELPERS], ids=["credsStore", "credHelpers"])
def test_a_registry_that_fails_stops_no_build_on_another(
    docker_user: User, client: str, engine: Engine, aws: Aws, config: Mapping[str, Any]
) -> None:
    """docker-py ended the build, and docker went on without the credentials of any registry."""
    docker_user.write_docker_config(config)
    aws.deny_ecr(f"arn:aws:sts::{PROD}:*")
    assert access_denied(build(docker_user, client, "scratch"))
    engine.asked.clear()
    assert access_denied(build(docker_user, client, image(DEV)))
    sent = passwords(engine)
    assert {aws.issued[sent[url]].account for url in sent if sent[url]} == {DEV, STAGE}
    assert "no basic auth credentials" in build(docker_user, client, image(PROD), fails=True).said


def access_denied(done: Done) -> bool:
    """Return whether the user saw why there is no credential for account PROD."""
    return any(
        line.startswith("ecr-py: ") and registry(PROD) in line and "profile prod" in line
        for line in done.stderr.splitlines()
    )


@pytest.mark.parametrize("url", [registry(PROD), f"https://{registry(PROD)}/v2/"])
def test_what_a_failed_get_answers(docker_user: User, aws: Aws, url: str) -> None:
    aws.deny_ecr(f"arn:aws:sts::{PROD}:*")
    answer = docker_user.home.get(url)
    assert answer.stdout == answer.stderr
    assert answer.stdout.decode() == f"{answer.line} ({NOT_FOUND})\n"


def test_what_a_failed_get_of_a_listed_url_answers(docker_user: User, aws: Aws) -> None:
    aws.deny_ecr(f"arn:aws:sts::{PROD}:*")
    answer = docker_user.home.get(f"https://{registry(PROD)}")
    assert answer.stdout.decode() == f"{NOT_FOUND}\n"
    assert answer.stderr.decode() == f"{docker_user.home.get(registry(PROD)).line}\n"


# What `list` names


def listed(user: User, **environment: str) -> list[str]:
    answer = user.home.call("list", environment=environment)
    assert answer.stderr == b""
    assert set(answer.json.values()) <= {"AWS"}
    return [url.removeprefix("https://") for url in answer.json]


def test_list_names_what_profiles_settings_and_docker_name(docker_user: User, aws: Aws) -> None:
    settings = (
        f'[registries."{registry(DEV, "us-east-1")}"]\nprofile = "dev"\n'
        f'[registries."ecr.example.com"]\nalias = "{registry(DEV)}"\n'
        '[registries."602401143452.*"]\nprofile = "stage"\n'
    )
    docker_user.home.write(docker_user.home.settings, settings)
    addon, by_login = registry("602401143452"), registry(DEV, "eu-north-1")
    unknown = registry("111122223333")
    helpers = {addon: HELPER_NAME, unknown: HELPER_NAME, "ghcr.io": HELPER_NAME}
    helpers[registry("602401143452", "eu-west-3")] = "another"
    auths: dict[str, Any] = {f"https://{by_login}/v2/": {}, "quay.io": {}, "a b": {}}
    docker_user.write_docker_config({**STORE, "credHelpers": helpers, "auths": auths})
    assert listed(docker_user) == [
        *REGISTRIES,
        registry(DEV, "us-east-1"),
        "ecr.example.com",
        addon,
        by_login,
    ]
    assert aws.calls == []
    for host in listed(docker_user):
        assert docker_user.home.get(f"https://{host}").code == 0


def test_list_names_a_registry_that_was_used(docker_user: User) -> None:
    """No profile is for it: AWS_PROFILE led to it."""
    other = registry("602401143452")
    docker_user.home.get(other, AWS_PROFILE="dev")
    assert other in listed(docker_user, AWS_PROFILE="dev")
    assert other not in listed(docker_user)


def test_list_names_a_registry_whose_session_has_ended(docker_user: User, aws: Aws) -> None:
    docker_user.end_session()
    assert listed(docker_user) == REGISTRIES
    assert aws.calls == []


@pytest.mark.parametrize("broken", ["docker", "aws"])
def test_a_file_that_cannot_be_read_hides_no_more_than_it_names(
    docker_user: User, broken: str
) -> None:
    docker_user.home.get(REGISTRIES[0])
    if broken == "docker":
        docker_user.docker_config.write_text("{")
        assert listed(docker_user) == REGISTRIES
    else:
        docker_user.home.aws_config.write_text("nonsense")
        assert listed(docker_user) == []
