"""What the daemon makes of what a client says of itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.store import record

CONFIG = """
[default]
[profile dev]
sso_start_url = https://dev.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Administrator
[profile "our stage"]
sso_session = mine
[sso-session mine]
sso_start_url = https://mine.awsapps.com/start
sso_region = eu-north-1
sso_registration_scopes = sso:account:access
"""
OURS = {
    "HOME": "/home/me",
    "PATH": "/bin",
    "AWS_PROFILE": "dev",
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_SESSION_TOKEN": "t",
    "AWS_ENDPOINT_URL_STS": "https://sts.example.com",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "c",
}
# What is left of it for a worker that acts for a client.
FOR_CLIENTS = {name: OURS[name] for name in ("HOME", "PATH", "AWS_ENDPOINT_URL_STS")}
THEIRS = {name: OURS[name] for name in ("HOME", "AWS_ENDPOINT_URL_STS")}


def context(environ: Mapping[str, str]) -> bytes:
    return record.context({os.fsencode(k): os.fsencode(v) for k, v in environ.items()})


@pytest.fixture
def boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boundary:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    (tmp_path / ".aws" / "credentials").write_text("[keys]\naws_access_key_id = AKIAX\n")
    return Boundary(OURS, b"/cache")


# Environments


def test_a_worker_has_the_daemons_environment_without_its_keys(boundary: Boundary) -> None:
    assert boundary.environment(context(THEIRS)) == FOR_CLIENTS
    assert boundary.own_environment == FOR_CLIENTS | {"AWS_PROFILE": "dev"}


@pytest.mark.parametrize("profile", ["dev", "our stage", "default", "keys", ""])
@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_context_adds_a_profile_of_the_aws_config(
    boundary: Boundary, variable: str, profile: str
) -> None:
    here = context(THEIRS | {variable: profile})
    assert boundary.environment(here) == FOR_CLIENTS | {variable: profile}
    assert boundary.differing(here) == []


@pytest.mark.parametrize(
    "profile", ["other", "dev ", "../dev", "dev\nHOME=/tmp", "\udcff", "\x1b[2J"]
)
def test_no_profile_of_another_config(boundary: Boundary, profile: str) -> None:
    here = context(THEIRS | {"AWS_PROFILE": profile})
    assert boundary.environment(here) is None
    assert "AWS_PROFILE" in boundary.differing(here) or "HOME" in boundary.differing(here)


@pytest.mark.parametrize("name", [name.decode() for name in (*record.CONTEXT, *record.SECRETS)])
def test_nothing_but_the_profile_may_differ(boundary: Boundary, name: str) -> None:
    here = context(THEIRS | {name: "/tmp/hostile"})
    assert boundary.environment(here) is None
    assert boundary.differing(here) == [name]
    there = {variable: value for variable, value in THEIRS.items() if variable != name}
    if name in THEIRS:
        assert boundary.environment(context(there)) is None
        assert boundary.differing(context(there)) == [name]


@pytest.mark.parametrize(
    "here",
    [
        b"",
        b"\xff\x00",
        b"HOME=/home/me",
        b"AWS_ENDPOINT_URL_STS=https://sts.example.com\nHOME=/home/me",
        b"HOME=/home/me\nAWS_ENDPOINT_URL_STS=https://sts.example.com\nPATH=/tmp",
        b"HOME=/home/me\nAWS_ENDPOINT_URL_STS=https://sts.example.com\n",
        b"HOME=/home/me\nHOME=/home/me\nAWS_ENDPOINT_URL_STS=https://sts.example.com",
        b"HOME=/home/me\nAWS_PROFILE=dev\nAWS_PROFILE=default\nAWS_ENDPOINT_URL_STS="
        b"https://sts.example.com",
        b"HOME=/home/me\nAWS_PROFILE=dev\0x\nAWS_ENDPOINT_URL_STS=https://sts.example.com",
    ],
)
def test_a_context_that_no_process_of_ours_would_have(boundary: Boundary, here: bytes) -> None:
    assert boundary.environment(here) is None
    assert boundary.differing(here)


def test_the_token_of_container_credentials_goes_where_they_are_used(
    boundary: Boundary,
) -> None:
    uri = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/x"}
    ours = Boundary(OURS | uri, None)
    found = ours.environment(context(THEIRS | uri))
    assert found == FOR_CLIENTS | uri | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "c"}


def test_a_profile_that_came_later_is_known(boundary: Boundary, tmp_path: Path) -> None:
    here = context(THEIRS | {"AWS_PROFILE": "later"})
    assert boundary.environment(here) is None
    (tmp_path / ".aws" / "config").write_text(f"{CONFIG}[profile later]\n")
    assert boundary.environment(here) is not None


@pytest.mark.parametrize("kind", ["absent", "broken", "fifo", "device", "endless"])
def test_an_aws_config_that_cannot_be_read_has_no_profiles(
    boundary: Boundary, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / ".aws" / "config"
    file.unlink()
    match kind:
        case "broken":
            file.write_text("no section")
        case "fifo":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "endless":
            with file.open("wb") as writer:
                writer.truncate(2**40)
    assert not boundary.has_profile("dev")
    assert boundary.environment(context(THEIRS)) == FOR_CLIENTS


# Keys, paths


def test_what_docker_login_gave_is_not_renewed(boundary: Boundary) -> None:
    here = context(THEIRS)
    assert boundary.renews("0" * 32, here)
    assert not boundary.renews("login-" + "0" * 32, here)
    assert not boundary.renews("", here)
    assert not boundary.renews("0" * 32, context(THEIRS | {"AWS_CONFIG_FILE": "/x"}))


def test_its_own_files_are_the_only_ones(boundary: Boundary, tmp_path: Path) -> None:
    home = os.fsencode(tmp_path)
    cache = home + b"/.aws/sso/cache/"
    own = [home + b"/.aws/config", home + b"/.aws/credentials", b"/cache/credentials/0a"]
    own += [home + b"/.config/ecr-py/config.toml", cache + b"0" * 40 + b".json"]
    assert [path for path in own if not boundary.owns(path)] == []
    others = [b"", b"/", b"/etc/passwd", b"/cache/credentials/", b"/cache/credentials/../../x"]
    others += [cache, cache + b"x.json", cache + b"../" + b"0" * 40 + b".json", b"0" * 40]
    others += [home + b"/.aws/./config", b"/cache/credentials/a/b", b"/proc/self/environ"]
    assert [path for path in others if boundary.owns(path)] == []
