"""ecr-py logout: the session ends at the portal and here, with all that came from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, START_URL, registry
from tests.support.user import SESSION, User
from tests.system.login.test_login import SECOND, SECOND_URL, add_second_session

ACCOUNTS = (DEV, STAGE, PROD)
OTHER = "112233445566"


@pytest.fixture
def logged_in(user: User, aws: Aws) -> User:
    """With a credential in the cache."""
    aws.write_sso_token(user.home.path, START_URL)
    assert user.home.get(registry(DEV)).code == 0
    aws.reset_calls()
    return user


def test_all_that_came_from_the_session_goes(logged_in: User, aws: Aws) -> None:
    user = logged_in
    for account in (STAGE, PROD):
        assert user.home.get(registry(account)).code == 0
    aws.reset_calls()
    [file] = user.token_files()
    done = user.ecr_py("logout")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    for wanted in (START_URL, "removed the session", *map(registry, ACCOUNTS)):
        assert wanted in done.stdout
    assert user.calls() == ["Logout"]
    assert aws.access_tokens == {}
    assert not file.exists()
    assert user.home.cached() == []
    for account in ACCOUNTS:
        assert "ecr-py login" in user.home.get(registry(account)).line
    assert not any("Secret" in f.read_text() for f in _files(user.home.cache))


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def test_no_credential_stays_on_disk(logged_in: User, aws: Aws) -> None:
    passwords = [password.encode() for password in aws.issued]
    assert logged_in.invoke("logout").code == 0
    for file in _files(logged_in.home.path):
        content = file.read_bytes()
        assert not any(password in content for password in passwords), file


def test_what_a_command_that_named_a_profile_brought_goes_too(user: User, aws: Aws) -> None:
    aws.write_sso_token(user.home.path, START_URL)
    assert user.try_run("ecr-py", "token", "dev").code == 0
    assert user.try_run("ecr-py", "token", registry(STAGE), "--profile", "prod").code == 0
    test_no_credential_stays_on_disk(user, aws)


@pytest.mark.parametrize("name", ["prod", registry(STAGE), STAGE, "images.example.com"])
def test_by_profile_or_registry(logged_in: User, name: str) -> None:
    alias = f'[registries."images.example.com"]\nalias = "{registry(STAGE)}"\n'
    logged_in.home.write(logged_in.home.settings, alias)
    assert "removed the session" in logged_in.invoke("logout", name).stdout
    assert logged_in.token_files() == []


def test_twice(logged_in: User) -> None:
    logged_in.invoke("logout")
    done = logged_in.invoke("logout")
    assert done.code == 0
    assert "not logged in" in done.stdout


def test_another_session_is_left_alone(logged_in: User, aws: Aws) -> None:
    user = logged_in
    add_second_session(user)
    aws.assign(OTHER, "Administrator")
    aws.write_sso_token(user.home.path, SECOND_URL, session="second")
    password = user.home.get(registry(OTHER)).password
    done = user.invoke("logout", "dev")
    assert OTHER not in done.stdout
    assert len(user.token_files()) == 1
    aws.reset_calls()
    assert user.home.get(registry(OTHER)).password == password
    assert user.calls() == []


def test_all(logged_in: User, aws: Aws) -> None:
    user = logged_in
    add_second_session(user)
    aws.write_sso_token(user.home.path, SECOND_URL, session="second")
    done = user.invoke("logout", "--all")
    assert done.code == 0
    assert done.stdout.count("removed the session") == 2
    assert user.token_files() == []
    assert aws.count("Logout") == 2


def test_which_of_several_has_to_be_said(logged_in: User) -> None:
    user = logged_in
    user.home.aws_config.write_text(user.home.aws_config.read_text() + SECOND)
    done = user.invoke("logout")
    assert done.code != 0
    assert "--all" in done.stderr
    assert len(user.token_files()) == 1


def test_a_session_that_ended_already(logged_in: User, aws: Aws) -> None:
    aws.end_session()
    done = logged_in.invoke("logout")
    assert done.code == 0
    assert "removed the session" in done.stdout
    assert logged_in.token_files() == []


def test_an_access_token_that_has_run_out_ends_at_the_portal_too(user: User, aws: Aws) -> None:
    """Its refresh token would bring the session back: the portal must hear of it."""
    user.use_session_profiles()
    aws.write_sso_token(user.home.path, START_URL, session=SESSION, lifetime=-60, refresh=True)
    assert user.invoke("logout").code == 0
    assert user.token_files() == []
    assert aws.count("Logout") == 1


def test_a_portal_that_is_not_there(logged_in: User) -> None:
    """Here it is over, whatever the portal thinks; and that is said."""
    done = logged_in.invoke("logout", AWS_ENDPOINT_URL_SSO="http://127.0.0.1:1")
    assert done.code == 1
    assert logged_in.token_files() == []
    assert "cannot be reached" in done.stderr
    assert "removed the session" in done.said
    assert done.stderr.count("\n") == 1
    assert logged_in.home.get(registry(DEV)).code == 1


def test_a_damaged_token_is_removed(logged_in: User) -> None:
    [file] = logged_in.token_files()
    file.write_text("{")
    assert logged_in.invoke("logout").code == 0
    assert not file.exists()


def test_a_password_of_docker_login_stays(logged_in: User, aws: Aws) -> None:
    """It came from somewhere else."""
    user = logged_in
    password = user.home.get(registry(DEV), AWS_ECR_DISABLE_CACHE="1").password
    document = f'{{"ServerURL":"{registry(DEV)}","Username":"AWS","Secret":"{password}"}}'
    assert user.home.call("store", stdin=document.encode()).code == 0
    assert user.invoke("logout").code == 0
    assert user.home.get(registry(DEV)).password == password


@pytest.mark.parametrize("command", ["login", "logout"])
def test_all_and_a_name_contradict_each_other(logged_in: User, command: str) -> None:
    done = logged_in.invoke(command, "--all", "dev")
    assert (done.code, done.stdout) == (2, "")
    assert "name sessions, or --all" in done.stderr
    assert logged_in.token_files()
