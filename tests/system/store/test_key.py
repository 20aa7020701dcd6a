"""ecr-py key: another sealing key without losing anything, and no key any more."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.sealed_backend import SEALED
from tests.standin.aws import Aws
from tests.support import keyring_backends as backends
from tests.support.daemon import daemon_of
from tests.support.home import DEV, STAGE, Answer, Home, registry
from tests.support.programs import own_mounts, read_only
from tests.support.records import files
from tests.support.secret_service import Keyring
from tests.support.stores import readable, right, sealed_fields, set_store, store
from tests.support.user import ECR_PY, Done, User, eventually

GHCR, HUB = "ghcr.io", "https://index.docker.io/v1/"
LOGINS = {GHCR: "secret-of-octocat", HUB: "secret-of-moby"}
NOT_FOUND = Answer(1, b"credentials not found in native keychain\n", b"")
# More than a change asks the keyring for.
OPERATIONS = 16


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    return User(home, aws)


@pytest.fixture
def kept(home: Home, aws: Aws, keyring: Keyring) -> str:
    """Two logins and a credential are sealed. The credential's password."""
    return keeps(home, aws)


def keeps(home: Home, aws: Aws) -> str:
    set_store(home, "keyring", fallback="keyring")
    for server_url, secret in LOGINS.items():
        assert store(home, server_url, "me", secret) == Answer(0, b"", b"")
    password = right(aws, home.get(registry(DEV)))
    aws.reset_calls()
    return password


def folder(home: Home) -> Path:
    return home.path / ".local" / "share" / "ecr-py" / "logins"


def check_logins(home: Home) -> None:
    for server_url, secret in LOGINS.items():
        answer = home.get(server_url)
        assert answer.password == secret
        assert answer.stderr == b""


def opens(key: bytes, about: bytes, sealed: bytes) -> bool:
    data = base64.b64decode(sealed)
    try:
        AESGCM(base64.b64decode(key)).decrypt(data[:12], data[12:], about)
    except InvalidTag:
        return False
    return True


def opened_by(home: Home, key: bytes) -> list[Path]:
    """The files that a key opens."""
    found = [
        path for path in folder(home).iterdir() if opens(key, path.name.encode(), path.read_bytes())
    ]
    for path in files(home, "credentials"):
        fields = sealed_fields(path)
        assert fields
        if opens(key, b"\0".join(fields[:6]), fields[6]):
            found.append(path)
    return found


# Another key


def test_all_that_is_sealed_opens_with_the_new_key_and_not_with_the_old(
    home: Home, aws: Aws, keyring: Keyring, kept: str, user: User
) -> None:
    [old] = keyring.keys
    assert len(opened_by(home, old)) == 3
    done = user.ecr_py("key", "rotate")
    assert done == Done(
        0, "Changed the sealing key, and sealed 2 logins and 1 credential with it\n", ""
    )
    [new] = keyring.keys
    assert new != old
    assert keyring.everything == [new]
    assert opened_by(home, old) == []
    assert len(opened_by(home, new)) == 3
    check_logins(home)
    assert right(aws, home.get(registry(DEV))) == kept
    assert aws.calls == []
    assert readable(home, *LOGINS.values(), kept, old.decode(), new.decode()) == []


def test_a_daemon_answers_as_before(
    home: Home, aws: Aws, keyring: Keyring, kept: str, user: User
) -> None:
    with daemon_of(home) as daemon:
        eventually(lambda: daemon.credentials)
        assert user.ecr_py("key", "rotate").code == 0
        keyring.lock()
        assert right(aws, home.get(registry(DEV))) == kept
        assert aws.calls == []


def test_again_and_again(home: Home, keyring: Keyring, kept: str, user: User) -> None:
    seen = {keyring.keys[0]}
    for _ in range(3):
        assert user.ecr_py("key", "rotate").code == 0
        seen.add(keyring.keys[0])
    assert len(seen) == 4
    check_logins(home)


def test_a_login_that_does_not_open_is_said_and_stays(
    home: Home, keyring: Keyring, kept: str, user: User
) -> None:
    damaged = folder(home) / ("0" * 64)
    damaged.write_bytes(b"damaged")
    (folder(home) / "of-somebody-else").write_bytes(b"no login")
    done = user.ecr_py("key", "rotate")
    assert done.code == 0
    assert "sealed 2 logins" in done.stdout
    assert "1 login could not be decrypted and did not change: run `docker login`" in done.stderr
    assert damaged.read_bytes() == b"damaged"
    check_logins(home)


def test_a_credential_that_does_not_open_is_removed(
    home: Home, aws: Aws, keyring: Keyring, kept: str, user: User
) -> None:
    [file] = files(home, "credentials")
    fields = sealed_fields(file)
    assert fields
    file.write_bytes(record.record_of([*fields[:6], base64.b64encode(b"x" * 40)]))
    assert record.read(bytes(file), SEALED)
    assert "2 logins and 0 credentials" in user.ecr_py("key", "rotate").stdout
    assert files(home, "credentials") == []


def test_without_a_key_there_is_nothing_to_change(home: Home, keyring: Keyring, user: User) -> None:
    set_store(home, "keyring", fallback="keyring")
    assert "has no sealing key" in user.ecr_py("key", "rotate").line
    assert keyring.everything == []


def test_a_locked_keyring_loses_nothing(
    home: Home, keyring: Keyring, kept: str, user: User
) -> None:
    [key] = keyring.keys
    keyring.lock()
    assert "keyring" in user.ecr_py("key", "rotate").line
    assert "keyring" in user.ecr_py("key", "rm", "--yes").line
    keyring.stop()
    keyring.start()
    assert keyring.everything == [key]
    check_logins(home)


def test_a_keyring_that_keeps_one_text_for_all_names_loses_nothing(
    home: Home, aws: Aws, user: User
) -> None:
    backends.use_backend(home, "")
    keeps(home, aws)
    assert "cannot hold two keys" in user.ecr_py("key", "rotate").line
    check_logins(home)


# Cut off


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_that_dies_at_any_step_loses_nothing(
    home: Home, aws: Aws, user: User, when: str
) -> None:
    backends.use_backend(home, backends.NAMED)
    password = keeps(home, aws)
    died = 0
    for number in range(1, OPERATIONS):
        home.write(home.path / "dies-at", f"{number} {when}")
        died += user.ecr_py("key", "rotate").code == 9
        (home.path / "dies-at").unlink()
        check_logins(home)
    assert died > 5
    assert right(aws, home.get(registry(DEV))) == password
    assert user.ecr_py("key", "rotate").code == 0
    check_logins(home)
    assert list(json.loads((home.path / "kept").read_text())) == ["sealing key"]


def test_a_change_that_is_killed_at_any_moment_loses_nothing(
    home: Home, aws: Aws, keyring: Keyring, kept: str, user: User
) -> None:
    began = time.monotonic()
    assert user.ecr_py("key", "rotate").code == 0
    takes = time.monotonic() - began
    for moment in range(12):
        with subprocess.Popen(
            [ECR_PY, "key", "rotate"],
            env=home.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            time.sleep(takes * (0.4 + moment / 20))
            process.kill()
        check_logins(home)
    assert user.ecr_py("key", "rotate").code == 0
    assert keyring.next_keys == []
    check_logins(home)
    right(aws, home.get(registry(DEV)))


def test_a_full_disk_loses_nothing(home: Home, keyring: Keyring, kept: str, user: User) -> None:
    script = (
        'mount -t tmpfs -o size=16k,mode=700 none "$1" && cp -a "$2/." "$1" && '
        'head -c 100000 /dev/zero >"$1/filled" 2>/dev/null; "$0" key rotate; code=$?; '
        'rm "$1/filled"; cp -a "$1/." "$2"; exit $code'
    )
    aside = home.path / "aside"
    folder(home).rename(aside)
    folder(home).mkdir(mode=0o700)
    done = user.try_run(
        *own_mounts(home.path), "sh", "-c", script, str(ECR_PY), str(folder(home)), str(aside)
    )
    assert "No space left on device" in done.line
    folder(home).rmdir()
    aside.rename(folder(home))
    check_logins(home)
    [line] = [
        line for line in user.ecr_py("doctor").stdout.splitlines() if "was interrupted" in line
    ]
    assert "run `ecr-py key rotate`" in line
    assert user.ecr_py("key", "rotate").code == 0
    assert "was interrupted" not in user.ecr_py("doctor").stdout
    check_logins(home)


def test_a_disk_that_is_read_only_loses_nothing(
    home: Home, keyring: Keyring, kept: str, user: User
) -> None:
    done = user.try_run(*read_only(folder(home)), str(ECR_PY), "key", "rotate")
    assert "Read-only file system" in done.line
    done = user.try_run(*read_only(folder(home)), str(ECR_PY), "key", "rm", "--yes")
    assert (done.code, "Read-only file system" in done.stderr) == (1, True)
    check_logins(home)


# While others are at it


@contextmanager
def changing(user: User, times: int) -> Iterator[Event]:
    """Meanwhile the key is changed so many times; the event tells when that has been done."""
    ended = Event()

    def change() -> list[Done]:
        try:
            return [user.ecr_py("key", "rotate") for _ in range(times)]
        finally:
            ended.set()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(change)
        yield ended
        assert [one.code for one in done.result()] == [0] * times


def test_gets_go_on_meanwhile(home: Home, keyring: Keyring, kept: str, user: User) -> None:
    with changing(user, 4) as ended:
        while not ended.is_set():
            check_logins(home)


def test_a_get_reads_again_an_entry_that_is_deleted_as_it_is_read(
    home: Home, aws: Aws, user: User
) -> None:
    backends.use_backend(home, backends.NAMED)
    password = keeps(home, aws)
    home.write(home.path / "dies-at", "6 before")
    assert user.ecr_py("key", "rotate").code == 9
    assert len(json.loads((home.path / "kept").read_text())) == 2
    (home.path / "dies-at").unlink()
    backends.use_backend(home, backends.NAMED + backends.LOSES_AN_ENTRY)
    check_logins(home)
    assert right(aws, home.get(registry(DEV))) == password


def test_logins_that_come_meanwhile_are_not_lost(
    home: Home, keyring: Keyring, kept: str, user: User
) -> None:
    stored: dict[str, str] = {}
    with changing(user, 4) as ended:
        while not ended.is_set():
            name = f"registry-{len(stored)}.example.com"
            assert store(home, name, "me", f"secret {name}") == Answer(0, b"", b"")
            stored[name] = f"secret {name}"
    assert stored
    for name, secret in stored.items():
        assert home.get(name).password == secret
    check_logins(home)


def test_two_changes_at_once(home: Home, keyring: Keyring, kept: str, user: User) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: user.ecr_py("key", "rotate"), range(3)))
    assert [one.code for one in done] == [0] * 3
    assert len(keyring.everything) == 1
    check_logins(home)


# No key any more


def test_rm_says_what_is_lost_and_removes_it(
    home: Home, aws: Aws, keyring: Keyring, kept: str, user: User
) -> None:
    done = user.ecr_py("key", "rm", "--yes")
    assert done.code == 0
    assert done.stdout == "Removed the sealing key, 2 logins and 1 credential\n"
    assert "2 logins will be lost with the key: " in done.stderr
    for name in LOGINS:
        assert name in done.stderr
    assert "1 cached credential will be fetched from AWS again" in done.stderr
    assert keyring.everything == []
    assert list(folder(home).iterdir()) == []
    assert files(home, "credentials") == []
    assert home.get(GHCR) == NOT_FOUND
    assert right(aws, home.get(registry(DEV))) != kept
    assert store(home, GHCR, "me", "another") == Answer(0, b"", b"")
    assert home.get(GHCR).password == "another"


def test_what_the_daemon_had_is_gone_too(
    home: Home, aws: Aws, keyring: Keyring, kept: str, user: User
) -> None:
    with daemon_of(home) as daemon:
        eventually(lambda: daemon.credentials)
        assert user.ecr_py("key", "rm", "--yes").code == 0
        assert right(aws, home.get(registry(DEV))) != kept


@pytest.mark.parametrize("typed", ["n\r", "\r"])
def test_rm_asks_first(home: Home, keyring: Keyring, kept: str, user: User, typed: str) -> None:
    [key] = keyring.keys
    with user.at_terminal("ecr-py key rm") as terminal:
        terminal.wait_for(r"Remove the sealing key \[y/N\]")
        assert "2 logins will be lost" in terminal.shown
        terminal.type(typed)
        assert terminal.wait() == 1
        assert "nothing was removed" in terminal.shown
    assert keyring.everything == [key]
    check_logins(home)


def test_rm_removes_nothing_if_nobody_can_be_asked(
    home: Home, keyring: Keyring, kept: str, user: User
) -> None:
    assert user.ecr_py("key", "rm").code == 2
    check_logins(home)


def test_rm_of_no_key(home: Home, keyring: Keyring, user: User) -> None:
    done = user.ecr_py("key", "rm")  # it does not ask
    assert (done.code, done.stdout) == (0, "Removed nothing: there was no sealing key\n")


def test_rm_of_a_key_that_is_gone_removes_what_it_sealed(
    home: Home, keyring: Keyring, kept: str, user: User
) -> None:
    keyring.delete_key()
    done = user.ecr_py("key", "rm", "--yes")
    assert "ones that cannot be decrypted any more" in done.stderr
    assert list(folder(home).iterdir()) == []
    assert home.get(HUB) == NOT_FOUND


def test_rm_removes_the_key_of_a_change_that_was_cut_off(home: Home, aws: Aws, user: User) -> None:
    backends.use_backend(home, backends.NAMED)
    keeps(home, aws)
    home.write(home.path / "dies-at", "5 after")
    assert user.ecr_py("key", "rotate").code == 9
    (home.path / "dies-at").unlink()
    assert len(json.loads((home.path / "kept").read_text())) == 2
    assert user.ecr_py("key", "rm", "--yes").code == 0
    assert json.loads((home.path / "kept").read_text()) == {}


def test_a_key_of_what_is_kept_in_files_is_not_needed(
    home: Home, aws: Aws, keyring: Keyring, kept: str, user: User
) -> None:
    """Under another store, what is in clear is none of the key's."""
    set_store(home, "file")
    password = right(aws, home.get(registry(STAGE)), STAGE)
    assert user.ecr_py("key", "rm", "--yes").code == 0
    assert right(aws, home.get(registry(STAGE)), STAGE) == password
