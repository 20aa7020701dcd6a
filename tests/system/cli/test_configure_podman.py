"""ecr-py configure --for podman: registries.conf, by which podman, buildah and skopeo ask us."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker_user import HELPER_NAME, IMAGE, POLICY, TAG, image
from tests.support.home import DEV, HELPER, PROD, REGISTRIES, STAGE, registry
from tests.support.programs import need
from tests.support.user import User

THEIRS = """\
# mine
unqualified-search-registries = ["quay.io"]  # so

[[registry]]
location = "example.com"
insecure = true
"""


@pytest.fixture
def docker_user(docker_user: User) -> User:
    """Docker's config does not exist."""
    docker_user.docker_config.unlink()
    docker_user.home.write(containers(docker_user) / "policy.json", POLICY)
    return docker_user


def containers(user: User) -> Path:
    return user.home.path / ".config" / "containers"


def main_file(user: User) -> Path:
    return containers(user) / "registries.conf"


def drop_in(user: User) -> Path:
    return containers(user) / "registries.conf.d" / "ecr-py.conf"


def tags(user: User, host: str, *, fails: bool = False, **environment: str) -> str:
    list_tags = (need("skopeo"), "list-tags", f"docker://{host}/{IMAGE}")
    return user.run(*list_tags, fails=fails, **environment).said


def without_helpers(text: str) -> list[str]:
    """Return the lines of registries.conf that are not blank, nor name credential helpers."""
    lines = text.splitlines(keepends=True)
    return [line for line in lines if line.strip() and "credential-helpers" not in line]


def install(user: User, name: str) -> None:
    """Put a program on the user's PATH."""
    folder = user.home.path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).symlink_to(need(name))
    user.environment["PATH"] = f"{folder}:{user.environment['PATH']}"


@pytest.fixture
def storage() -> Iterator[tuple[str, ...]]:
    """Podman refuses a path over 50 characters."""
    with tempfile.TemporaryDirectory(prefix="c-") as root:
        yield ("--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "vfs")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    "before",
    [
        None,
        "",
        THEIRS,
        THEIRS.replace("\n", "\r\n"),
        'credential-helpers = ["containers-auth.json"]\n' + THEIRS,
    ],
    ids=["absent", "empty", "theirs", "CRLF", "helpers"],
)
def test_skopeo_uses_us_for_every_registry_until_undo(
    docker_user: User, before: str | None
) -> None:
    user = docker_user
    if before is not None:
        main_file(user).write_bytes(before.encode())
    tags(user, REGISTRIES[0], fails=True)
    user.invoke_ok("configure", "--for", "podman")
    for host in REGISTRIES:
        assert TAG in tags(user, host)
    assert not (containers(user) / "auth.json").exists()
    assert not user.docker_config.exists()
    if before is not None:
        after = main_file(user).read_bytes().decode()
        assert without_helpers(after) == without_helpers(before)
    assert "nothing to change" in user.invoke_ok("configure", "--for", "podman").stdout

    user.invoke_ok("configure", "--undo")
    assert not drop_in(user).exists()
    assert main_file(user).exists() == (before is not None)
    assert before is None or main_file(user).read_bytes() == before.encode()
    tags(user, REGISTRIES[0], fails=True)


def test_the_files_of_the_system_still_count(docker_user: User, storage: tuple[str, ...]) -> None:
    """A main file of the user's would hide the short names of images that Debian has in /etc."""
    if not list(Path("/etc/containers/registries.conf.d").glob("*.conf")):
        pytest.skip("no short names here")
    docker_user.invoke_ok("configure", "--for", "podman")
    assert not main_file(docker_user).exists()
    said = docker_user.try_run(need("podman"), *storage, "pull", "alpine").said
    assert "docker.io/library/alpine" in said
    assert "short-name" not in said


def test_what_was_edited_since_stays(docker_user: User) -> None:
    main_file(docker_user).write_text(THEIRS)
    docker_user.invoke_ok("configure", "--for", "podman")
    text = main_file(docker_user).read_text()
    assert '"ecr-py"]' in text
    edited = text.replace('"ecr-py"]', '"ecr-py", "other"]')
    main_file(docker_user).write_text(edited)
    docker_user.invoke_ok("configure", "--undo", "--for", "podman")
    assert main_file(docker_user).read_text() == edited.replace('"ecr-py", ', "")


def test_dry_run_shows_it_and_writes_nothing(docker_user: User) -> None:
    said = docker_user.invoke_ok("configure", "--for", "podman", "--dry-run").said
    assert 'credential-helpers = ["containers-auth.json", "ecr-py"]' in said
    assert not drop_in(docker_user).exists()


def test_another_helper_stays_or_is_replaced(docker_user: User) -> None:
    main_file(docker_user).write_text('credential-helpers = ["ecr-login", "pass"]\n')
    docker_user.invoke_ok("configure", "--for", "podman")
    assert '["ecr-login", "pass", "ecr-py"]' in main_file(docker_user).read_text()
    docker_user.invoke_ok("configure", "--for", "podman", "--replace", "ecr-login")
    assert '["ecr-py", "pass"]' in main_file(docker_user).read_text()
    docker_user.invoke_ok("configure", "--undo")
    assert main_file(docker_user).read_text() == 'credential-helpers = ["ecr-login", "pass"]\n'


@pytest.mark.parametrize("option", [["--cred-helpers"], ["--registry", registry(STAGE)]])
def test_entries_by_name_go_to_auth_json(docker_user: User, option: list[str]) -> None:
    docker_user.invoke_ok("configure", "--for", "podman", *option)
    auth = json.loads((containers(docker_user) / "auth.json").read_text())
    assert set(auth["credHelpers"]) == set(REGISTRIES if len(option) == 1 else option[1:])
    assert not drop_in(docker_user).exists()


@pytest.mark.usefixtures("images")
def test_a_file_of_the_old_format_is_left_alone(docker_user: User) -> None:
    old = '[registries.search]\nregistries = ["quay.io"]\n'
    main_file(docker_user).write_text(old)
    docker_user.invoke_ok("configure", "--for", "podman")
    assert main_file(docker_user).read_text() == old
    assert TAG in tags(docker_user, REGISTRIES[0])


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("variable", ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"])
def test_a_file_that_the_environment_names(
    docker_user: User, storage: tuple[str, ...], variable: str
) -> None:
    """podman and buildah read it, and skopeo does not; all read the drop-in."""
    named = docker_user.home.write(docker_user.home.path / "elsewhere.conf", THEIRS)
    docker_user.environment[variable] = str(named)
    main_file(docker_user).write_text(THEIRS)
    docker_user.invoke_ok("configure", "--for", "podman")
    assert named.read_text() == main_file(docker_user).read_text() == THEIRS
    assert TAG in tags(docker_user, REGISTRIES[0])
    docker_user.run(need("buildah"), *storage, "pull", image(PROD))


@pytest.mark.parametrize(
    "text", ["credential-helpers = 1", "credential-helpers = [1]", "= nonsense", "\0"]
)
def test_a_file_that_cannot_be_read_is_one_line(docker_user: User, text: str) -> None:
    main_file(docker_user).write_text(text)
    done = docker_user.invoke("configure", "--for", "podman")
    assert str(main_file(docker_user)) in done.line
    assert main_file(docker_user).read_text() == text
    # Docker's file has nothing to do with it.
    install(docker_user, "skopeo")
    docker_user.invoke_ok("configure")
    said = docker_user.invoke_ok("configure", "--creds-store", "--yes").stderr
    assert str(main_file(docker_user)) in said
    docker_user.invoke_ok("configure", "--undo")


# --creds-store


def test_creds_store_says_what_it_does_not_serve_and_how_to(docker_user: User) -> None:
    install(docker_user, "skopeo")
    said = docker_user.invoke_ok("configure", "--creds-store").stderr
    [line] = [line for line in said.splitlines() if "credsStore" in line]
    assert "skopeo" in line
    assert "`ecr-py configure --for podman`" in line
    assert not drop_in(docker_user).exists()
    docker_user.invoke_ok("configure", "--for", "podman")
    again = docker_user.invoke_ok("configure", "--creds-store", "--dry-run").stderr
    assert "--for podman" not in again


@pytest.mark.usefixtures("images")
def test_creds_store_sets_it_up_if_the_answer_is_yes(docker_user: User) -> None:
    install(docker_user, "skopeo")
    docker_user.invoke_ok("configure", "--creds-store", "--yes")
    assert drop_in(docker_user).exists()
    assert TAG in tags(docker_user, registry(DEV))
    docker_user.invoke_ok("configure", "--undo")
    assert not drop_in(docker_user).exists()
    assert not docker_user.docker_config.exists()


def test_creds_store_asks_on_a_terminal(docker_user: User) -> None:
    install(docker_user, "skopeo")
    with docker_user.at_terminal("ecr-py configure --creds-store") as terminal:
        terminal.wait_for("Set them up too")
        terminal.type("y\n")
        assert terminal.wait() == 0
    assert HELPER_NAME in drop_in(docker_user).read_text()


# doctor


def podman_finding(user: User) -> list[str]:
    """Return the state, the words and the hint of doctor's check of podman's config."""
    checks = json.loads(user.invoke("doctor", "--json").stdout)["checks"]
    found = [list(check.values())[1:] for check in checks if check["name"] == "podman config"]
    return found[0] if found else []


@pytest.mark.usefixtures("images")
def test_doctor_names_the_command_that_sets_podman_up(docker_user: User) -> None:
    docker_user.write_docker_config({"credsStore": "ecr-py"})
    assert podman_finding(docker_user) == []  # none of them is installed
    install(docker_user, "skopeo")
    state, words, hint = podman_finding(docker_user)
    assert (state, words.split(" for ")[0]) == ("note", "skopeo does not use ecr-py")
    tags(docker_user, registry(DEV), fails=True)
    [command] = re.findall("`(.*)`", hint)
    docker_user.run(*command.split())
    assert TAG in tags(docker_user, registry(DEV))
    assert podman_finding(docker_user)[0] == "ok"


def test_doctor_is_content_with_entries_in_dockers_file(docker_user: User) -> None:
    install(docker_user, "skopeo")
    docker_user.invoke_ok("configure")
    assert podman_finding(docker_user) == []


def test_doctor_asks_for_no_docker_where_podman_is_set_up(docker_user: User) -> None:
    docker_user.environment["PATH"] = str(HELPER.parent)
    assert docker_user.invoke("doctor").code == 1
    docker_user.invoke_ok("configure", "--for", "podman")
    assert docker_user.invoke("doctor").code == 0
