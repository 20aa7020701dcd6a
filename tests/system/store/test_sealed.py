"""`store = "keyring"`: what is cached can be read by whoever has the key, and by nobody else."""

from __future__ import annotations

import base64
import json

from tests.standin.aws import Aws
from tests.support.daemon import Daemon, daemon_of
from tests.support.home import ACCOUNTS, DEV, LAUNCHER, PROD, STAGE, Home, registry
from tests.support.imports import MODULES, imported
from tests.support.records import files, only
from tests.support.secret_service import Keyring
from tests.support.stores import (
    clear_records,
    docker_logs_in,
    handed_out,
    passwords_of_all,
    readable,
    right,
    sealed_fields,
)
from tests.support.user import eventually

HEAVY = {"keyring", "cryptography", "secretstorage", "jeepney", "boto3", "botocore"}


# Without the daemon.


def test_a_second_get_asks_nobody_at_aws(home: Home, aws: Aws, keyring: Keyring) -> None:
    first = right(aws, home.get(registry(DEV)))
    aws.reset_calls()
    assert right(aws, home.get(registry(DEV))) == first
    assert aws.calls == []


def test_the_keyring_holds_one_key_and_nothing_else(home: Home, aws: Aws, keyring: Keyring) -> None:
    for account in ACCOUNTS:
        right(aws, home.get(registry(account)), account)
    assert keyring.everything == keyring.keys
    [key] = keyring.keys
    assert len(base64.b64decode(key, validate=True)) == 32
    assert len(files(home, "credentials")) == 3


def test_nothing_readable_lies_on_disk(home: Home, aws: Aws, keyring: Keyring) -> None:
    home.environment["ECR_PY_LOG"] = "debug"
    for account in (*ACCOUNTS, DEV):
        right(aws, home.get(registry(account)), account)
    docker_logs_in(home)
    right(aws, home.get(registry(DEV)))
    home.call("list")
    [key] = keyring.keys
    assert readable(home, *handed_out(aws), key.decode()) == []


def test_the_search_would_find_it(home: Home, aws: Aws) -> None:
    home.settings.unlink()
    password = right(aws, home.get(registry(DEV)))
    found = only(home, "credentials")
    assert readable(home, password) == [str(found)]
    for encoded in (
        base64.b64encode(f"AWS:{password}".encode()),
        base64.urlsafe_b64encode(f"x{password}".encode()),
        password.encode().hex().encode(),
        b"..." + password[500:600].encode(),
    ):
        found.write_bytes(encoded)
        assert readable(home, password) == [str(found)]
    found.write_bytes(b"")
    assert readable(home, password) == []


def test_two_seals_of_one_credential_have_nothing_in_common(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    """Or else whoever sees two of them learns from their difference."""
    password = docker_logs_in(home)
    before = sealed_fields(only(home, "credentials"))
    home.call(
        "store",
        stdin=b'{"ServerURL":"%b","Username":"AWS","Secret":"%b"}'
        % (registry(DEV).encode(), password.encode()),
    )
    after = sealed_fields(only(home, "credentials"))
    assert before and after
    assert before[6][:16] != after[6][:16]
    assert before[6][-32:] != after[6][-32:]


def test_cache_ls_opens_what_is_sealed(home: Home, aws: Aws, keyring: Keyring) -> None:
    home.get(registry(DEV))
    assert home.cached() == [registry(DEV)]


def test_what_docker_login_gave_is_sealed_and_answered(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    password = docker_logs_in(home)
    aws.reset_calls()
    assert right(aws, home.get(registry(DEV))) == password
    assert aws.calls == []
    assert readable(home, password) == []


def test_the_key_outlives_the_keyring_process(home: Home, aws: Aws, keyring: Keyring) -> None:
    """As the next login of the user at their machine."""
    first = right(aws, home.get(registry(DEV)))
    keyring.stop()
    keyring.start()
    aws.reset_calls()
    assert right(aws, home.get(registry(DEV))) == first
    assert aws.calls == []


def test_nothing_is_open_to_others(home: Home, aws: Aws, keyring: Keyring) -> None:
    process = home.start("get", umask=0)
    process.communicate(registry(DEV).encode())
    ours = list(home.cache.rglob("*"))
    assert only(home, "credentials") in ours
    assert [path for path in ours if path.stat().st_mode & 0o077] == []


def test_a_sealed_entry_does_not_keep_others_from_theirs(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    """What is spent is fetched anew, and sealed in its place."""
    aws.token_lifetime = 200  # spent at once
    first = right(aws, home.get(registry(DEV)))
    second = right(aws, home.get(registry(DEV)))
    assert second != first
    assert len(files(home, "credentials")) == 1
    assert clear_records(home) == []


# With the daemon.


def test_a_second_get_is_answered_by_the_daemon(home: Home, aws: Aws, daemon: Daemon) -> None:
    right(aws, home.get(registry(DEV)))
    seen = imported(home, "-c", "pass")
    loaded = imported(home, LAUNCHER, "get", registry(DEV)) - seen
    assert loaded & HEAVY == set()
    assert loaded == MODULES | {"docker_credential_ecr_py.store.daemon_client", "_socket"}


def test_without_the_daemon_it_would_load_a_keyring(home: Home, aws: Aws, keyring: Keyring) -> None:
    """Or else the test above would see nothing."""
    right(aws, home.get(registry(DEV)))
    assert imported(home, LAUNCHER, "get", registry(DEV)) > {"keyring", "cryptography"}


def test_with_the_daemon_nothing_readable_lies_on_disk(
    home: Home, aws: Aws, daemon: Daemon, keyring: Keyring
) -> None:
    home.environment["ECR_PY_LOG"] = "debug"
    docker_logs_in(home, PROD)
    for account in (*ACCOUNTS, DEV):
        right(aws, home.get(registry(account)), account)
    eventually(daemon.is_idle)
    [key] = keyring.keys
    assert readable(home, *handed_out(aws), key.decode()) == []
    said = daemon.ask(b"status") or b""
    assert not any(secret.encode() in said for secret in handed_out(aws))


def test_with_the_daemon_a_get_needs_no_keyring_any_more(
    home: Home, aws: Aws, daemon: Daemon, keyring: Keyring
) -> None:
    passwords = passwords_of_all(home, aws)
    keyring.stop()
    aws.reset_calls()
    assert passwords_of_all(home, aws) == passwords
    assert aws.calls == []


def test_a_daemon_that_is_started_later_opens_what_is_sealed(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    passwords = passwords_of_all(home, aws)
    aws.reset_calls()
    with daemon_of(home) as daemon:
        eventually(lambda: len(daemon.credentials) == 3)
        keyring.stop()
        again = passwords_of_all(home, aws)
    assert again == passwords
    assert aws.calls == []


def test_a_daemon_that_found_the_keyring_locked_tells_why(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    right(aws, home.get(registry(DEV)))
    keyring.lock()
    with daemon_of(home) as daemon:
        assert "keyring" in eventually(daemon.unseal_failure)
        assert daemon.credentials == []


def test_a_daemon_opens_what_is_sealed_once_the_keyring_is_unlocked(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    first = right(aws, home.get(registry(DEV)))
    keyring.lock()
    with daemon_of(home) as daemon:
        eventually(daemon.unseal_failure)
        keyring.stop()
        keyring.start()
        aws.reset_calls()
        # Whoever gets it first may open it for all.
        assert right(aws, home.get(registry(DEV))) == first
        eventually(lambda: len(daemon.credentials) == 1)
        keyring.stop()
        assert right(aws, home.get(registry(DEV))) == first
    assert aws.calls == []


def test_erased_is_erased_in_the_daemon_too(home: Home, aws: Aws, daemon: Daemon) -> None:
    first = right(aws, home.get(registry(DEV)))
    assert home.call("erase", stdin=registry(DEV).encode()).code == 0
    assert daemon.credentials == []
    assert right(aws, home.get(registry(DEV))) != first


def test_a_credential_whose_file_was_removed_is_not_answered(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    """Whoever removes the cache means it."""
    first = right(aws, home.get(registry(DEV)))
    only(home, "credentials").unlink()
    second = right(aws, home.get(registry(DEV)))
    assert second != first
    assert right(aws, home.get(registry(DEV))) == second


def test_a_daemon_seals_what_it_fetches_itself(home: Home, aws: Aws, keyring: Keyring) -> None:
    """It keeps alive what docker's config names, before anybody asks."""
    docker = {"credHelpers": {registry(STAGE): "ecr-py"}}
    home.write(home.path / ".docker" / "config.json", json.dumps(docker))
    with daemon_of(home) as daemon:
        eventually(lambda: len(daemon.credentials) == 1)
        keyring.stop()
        aws.reset_calls()
        right(aws, home.get(registry(STAGE)), STAGE)
    assert aws.calls == []
    assert sealed_fields(only(home, "credentials"))
    assert readable(home, *handed_out(aws)) == []
