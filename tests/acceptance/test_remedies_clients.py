"""What doctor and configure say about clients: the command in the message works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.docker_user import IMAGE, POLICY, TAG
from tests.support.home import DEV, REGISTRIES, registry
from tests.support.programs import need
from tests.support.user import User


def command_in(text: str) -> str:
    """Return the one command that a message names."""
    [command] = re.findall("`([^`]+)`", text)
    return str(command)


def hints(user: User, name: str) -> list[str]:
    """Return what doctor says to do about a check that is not ok."""
    checks = json.loads(user.invoke("doctor", "--json").stdout)["checks"]
    return [check["hint"] for check in checks if check["name"] == name and check["state"] != "ok"]


def install(user: User, name: str) -> None:
    """Put a program on the user's PATH."""
    folder = user.home.path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).symlink_to(need(name))
    user.environment["PATH"] = f"{folder}:{user.environment['PATH']}"


def list_tags(user: User, *, fails: bool = False) -> str:
    user.home.write(user.home.path / ".config" / "containers" / "policy.json", POLICY)
    return user.run("skopeo", "list-tags", f"docker://{registry(DEV)}/{IMAGE}", fails=fails).said


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("said_by", ["doctor", "configure"])
def test_podman_and_a_creds_store(docker_user: User, said_by: str) -> None:
    install(docker_user, "skopeo")
    docker_user.write_docker_config({})
    said = docker_user.invoke_ok("configure", "--creds-store").stderr
    list_tags(docker_user, fails=True)
    if said_by == "doctor":
        [said] = hints(docker_user, "podman config")
    docker_user.run(*command_in(said).split())
    assert TAG in list_tags(docker_user)
    assert hints(docker_user, "podman config") == []


def test_what_awslabs_helper_leaves(docker_user: User) -> None:
    left = docker_user.home.write(docker_user.home.path / ".ecr" / "cache.json", "{}")
    [hint] = hints(docker_user, "ecr-login")
    docker_user.run("sh", "-c", command_in(hint))
    assert not left.parent.exists()
    assert hints(docker_user, "ecr-login") == []
    assert docker_user.home.get(registry(DEV)).code == 0


def test_the_folder_of_awslabs_helper_stays_while_it_is_used(docker_user: User) -> None:
    docker_user.home.write(docker_user.home.path / ".ecr" / "cache.json", "{}")
    helpers = {**dict.fromkeys(REGISTRIES, "ecr-py"), "public.ecr.aws": "ecr-login"}
    docker_user.write_docker_config({"credHelpers": helpers})
    assert hints(docker_user, "ecr-login") == []


def test_the_cache_folder_of_awslabs_helper(docker_user: User, tmp_path: Path) -> None:
    docker_user.environment["AWS_ECR_CACHE_DIR"] = str(tmp_path / "theirs")
    [hint] = hints(docker_user, "ecr-login")
    script = f"{command_in(hint)}; ecr-py doctor --json"
    checks = json.loads(docker_user.run("sh", "-c", script).stdout)["checks"]
    assert [check for check in checks if check["name"] == "ecr-login"] == []
    assert docker_user.home.get(registry(DEV)).code == 0
    assert not (tmp_path / "theirs").exists()
