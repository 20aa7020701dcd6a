"""From one store to another, by a line in config.toml: moved or wiped, and never left in clear."""

from __future__ import annotations

import os

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import Daemon, daemon_of
from tests.support.home import DEV, PROD, STAGE, Home, registry
from tests.support.records import files, only
from tests.support.secret_service import Keyring
from tests.support.stores import (
    clear_records,
    docker_logs_in,
    erase,
    readable,
    right,
    sealed_fields,
    set_store,
)
from tests.support.user import eventually


def kept(home: Home) -> list[str]:
    return [str(path) for folder in ("credentials", "selections") for path in files(home, folder)]


@pytest.fixture
def two(home: Home, aws: Aws) -> tuple[str, str]:
    """In files, in clear: the passwords of two accounts."""
    set_store(home, "file")
    dev = right(aws, home.get(registry(DEV)))
    stage = right(aws, home.get(registry(STAGE)), STAGE)
    assert len(clear_records(home)) == 2
    return dev, stage


# From files to the keyring.


@pytest.mark.usefixtures("keyring")
def test_from_file_to_keyring_the_same_is_answered(
    home: Home, aws: Aws, two: tuple[str, str]
) -> None:
    aws.reset_calls()
    set_store(home, "keyring")
    again = right(aws, home.get(registry(DEV))), right(aws, home.get(registry(STAGE)), STAGE)
    assert again == two
    assert aws.calls == []


@pytest.mark.usefixtures("keyring")
def test_from_file_to_keyring_the_first_get_seals_all(
    home: Home, aws: Aws, two: tuple[str, str]
) -> None:
    set_store(home, "keyring")
    right(aws, home.get(registry(DEV)))
    assert all(sealed_fields(path) for path in files(home, "credentials"))
    assert readable(home, *two) == []


@pytest.mark.usefixtures("keyring", "two")
def test_from_file_to_keyring_what_is_damaged_goes_too(home: Home, aws: Aws) -> None:
    for path in files(home, "credentials"):
        path.write_bytes(path.read_bytes()[:-9])
    before = {path: path.read_bytes() for path in files(home, "credentials")}
    set_store(home, "keyring")
    right(aws, home.get(registry(PROD)), PROD)
    still = [path for path, was in before.items() if path.exists() and path.read_bytes() == was]
    assert still == []


@pytest.mark.usefixtures("keyring")
def test_from_file_to_keyring_with_what_docker_login_kept(home: Home, aws: Aws) -> None:
    set_store(home, "file")
    password = docker_logs_in(home)
    assert right(aws, home.get(registry(DEV))) == password
    aws.reset_calls()
    set_store(home, "keyring")
    assert right(aws, home.get(registry(DEV))) == password
    assert aws.calls == []
    assert readable(home, password) == []


def test_from_file_to_keyring_under_a_running_daemon(
    home: Home, aws: Aws, two: tuple[str, str], daemon: Daemon, keyring: Keyring
) -> None:
    aws.reset_calls()
    set_store(home, "keyring")
    daemon.reload()
    assert right(aws, home.get(registry(DEV))) == two[0]
    eventually(daemon.is_idle)
    keyring.stop()
    assert right(aws, home.get(registry(DEV))) == two[0]
    assert right(aws, home.get(registry(STAGE)), STAGE) == two[1]
    assert aws.calls == []
    assert readable(home, *two) == []


def test_the_daemon_itself_seals_what_is_clear(
    home: Home, aws: Aws, two: tuple[str, str], daemon: Daemon
) -> None:
    """Nobody has to ask first: the line in config.toml is the wish."""
    set_store(home, "keyring")
    daemon.reload()
    eventually(lambda: not clear_records(home))
    assert readable(home, *two) == []


@pytest.mark.usefixtures("keyring")
def test_from_memory_to_keyring(home: Home, aws: Aws) -> None:
    set_store(home, "memory")
    with daemon_of(home) as daemon:
        password = right(aws, home.get(registry(DEV)))
        set_store(home, "keyring")
        daemon.reload()
        second = right(aws, home.get(registry(DEV)))
        assert right(aws, home.get(registry(DEV))) == second
    assert sealed_fields(only(home, "credentials"))
    assert readable(home, password, second) == []


@pytest.mark.usefixtures("keyring")
@pytest.mark.parametrize("other", ["keyring", "memory", "none"])
def test_what_another_process_is_writing_is_left_to_it(home: Home, aws: Aws, other: str) -> None:
    """But not what a process left that was killed: it may be in clear."""
    set_store(home, "file")
    right(aws, home.get(registry(DEV)))
    set_store(home, other)
    folder = home.cache / "credentials"
    at_work, killed = folder / "a.0123.new", folder / "b.0123.new"
    for path in (at_work, killed):
        path.touch(mode=0o600)
    os.utime(killed, (1, 1))
    right(aws, home.get(registry(STAGE)), STAGE)
    assert (at_work.exists(), killed.exists()) == (True, False)


# From the keyring.


@pytest.fixture
def sealed(home: Home, aws: Aws, keyring: Keyring) -> str:
    return right(aws, home.get(registry(DEV)))


@pytest.mark.usefixtures("sealed")
def test_from_keyring_to_file(home: Home, aws: Aws) -> None:
    set_store(home, "file")
    second = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == second
    assert clear_records(home) == [only(home, "credentials")]


@pytest.mark.usefixtures("sealed")
def test_there_and_back_again(home: Home, aws: Aws) -> None:
    for store in ("file", "keyring", "file", "keyring"):
        set_store(home, store)
        password = right(aws, home.get(registry(DEV)))
        assert right(aws, home.get(registry(DEV))) == password
    assert readable(home, password) == []
    assert aws.count("GetAuthorizationToken") <= 3


@pytest.mark.usefixtures("keyring")
def test_from_keyring_to_file_with_what_docker_login_kept(home: Home, aws: Aws) -> None:
    password = docker_logs_in(home)
    set_store(home, "file")
    second = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == second
    assert erase(home, registry(DEV)).code == 0
    assert right(aws, home.get(registry(DEV))) not in (password, second)


def test_from_keyring_to_memory_without_a_daemon(home: Home, aws: Aws, sealed: str) -> None:
    set_store(home, "memory")
    second = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) not in (sealed, second)
    assert kept(home) == []


def test_from_keyring_to_memory_with_a_daemon(
    home: Home, aws: Aws, keyring: Keyring, sealed: str
) -> None:
    with daemon_of(home) as daemon:
        eventually(lambda: daemon.credentials)
        set_store(home, "memory")
        daemon.reload()
        second = right(aws, home.get(registry(DEV)))
        assert kept(home) == []
        keyring.stop()
        assert right(aws, home.get(registry(DEV))) == second
        assert kept(home) == []


def test_from_keyring_to_memory_before_the_daemon_knows(home: Home, aws: Aws, sealed: str) -> None:
    """It looks at its settings once a minute."""
    with daemon_of(home) as daemon:
        eventually(lambda: daemon.credentials)
        set_store(home, "memory")
        second = right(aws, home.get(registry(DEV)))
        assert kept(home) == []
        assert right(aws, home.get(registry(DEV))) == second
        daemon.reload()
        third = right(aws, home.get(registry(DEV)))
        assert right(aws, home.get(registry(DEV))) == third


@pytest.mark.parametrize("other", ["file", "memory"])
@pytest.mark.usefixtures("keyring")
def test_a_daemon_answers_at_once_again_after_a_move(home: Home, aws: Aws, other: str) -> None:
    """What moved is a hit like any other: it takes neither AWS's libraries nor a keyring."""
    right(aws, home.get(registry(DEV)))
    with daemon_of(home) as daemon:
        eventually(lambda: daemon.credentials)
        set_store(home, other)
        daemon.reload()
        password = right(aws, home.get(registry(DEV)))
        before = home.log.stat().st_mtime_ns
        home.environment["ECR_PY_LOG"] = "debug"  # whatever is no hit says something
        assert right(aws, home.get(registry(DEV))) == password
        assert home.log.stat().st_mtime_ns == before


# To nothing.


@pytest.mark.usefixtures("keyring")
@pytest.mark.parametrize("store", ["file", "keyring"])
def test_none_wipes(home: Home, aws: Aws, store: str) -> None:
    set_store(home, store)
    first = right(aws, home.get(registry(DEV)))
    right(aws, home.get(registry(STAGE)), STAGE)
    set_store(home, "none")
    second = right(aws, home.get(registry(DEV)))
    assert second != first
    assert right(aws, home.get(registry(DEV))) != second
    assert kept(home) == []


@pytest.mark.usefixtures("keyring")
@pytest.mark.parametrize("store", ["file", "keyring"])
def test_none_wipes_what_docker_login_kept(home: Home, aws: Aws, store: str) -> None:
    set_store(home, store)
    password = docker_logs_in(home)
    assert right(aws, home.get(registry(DEV))) == password
    set_store(home, "none")
    assert right(aws, home.get(registry(DEV))) != password
    assert kept(home) == []


@pytest.mark.parametrize("store", ["keyring", "memory"])
def test_none_wipes_the_daemon_too(home: Home, aws: Aws, keyring: Keyring, store: str) -> None:
    set_store(home, store)
    with daemon_of(home) as daemon:
        password = docker_logs_in(home)
        right(aws, home.get(registry(STAGE)), STAGE)
        assert right(aws, home.get(registry(DEV))) == password
        set_store(home, "none")
        daemon.reload()
        assert right(aws, home.get(registry(DEV))) != password
        assert daemon.credentials == []
        assert kept(home) == []


@pytest.mark.parametrize("store", ["keyring", "memory"])
def test_none_holds_before_the_daemon_knows(
    home: Home, aws: Aws, keyring: Keyring, store: str
) -> None:
    set_store(home, store)
    with daemon_of(home):
        password = docker_logs_in(home)
        assert right(aws, home.get(registry(DEV))) == password
        set_store(home, "none")
        assert right(aws, home.get(registry(DEV))) != password
        assert kept(home) == []
