"""Many at once with an empty keyring: one key, one call, and none wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.standin.aws import Aws
from tests.support.home import ACCOUNTS, DEV, Answer, Home, registry
from tests.support.processes import at_once
from tests.support.records import files
from tests.support.secret_service import Keyring
from tests.support.stores import (
    clear_records,
    erase,
    passwords_of_all,
    readable,
    right,
    set_store,
    store,
)

HUB = "https://index.docker.io/v1/"


# More would wait longer for the keyring than we give it, where the machine is slow.
MOST_AT_ONCE = 12


def all_at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        return list(pool.map(lambda call: call(), calls))


def test_ten_cold_gets_make_one_key_and_one_call(home: Home, aws: Aws, keyring: Keyring) -> None:
    passwords = {right(aws, get.answer) for get in at_once(home, [registry(DEV)] * 10)}
    assert len(passwords) == 1
    assert aws.count("GetAuthorizationToken") == 1
    assert len(keyring.keys) == 1
    assert {right(aws, home.get(registry(DEV)))} == passwords


def test_three_identities_at_once_make_one_key(home: Home, aws: Aws, keyring: Keyring) -> None:
    """Each has a lock of its own; the key is one for all."""
    accounts = list(ACCOUNTS) * 2
    gets = at_once(home, [registry(account) for account in accounts])
    passwords = [
        right(aws, get.answer, account) for get, account in zip(gets, accounts, strict=True)
    ]
    assert len(set(passwords)) == 3
    assert aws.count("GetAuthorizationToken") == 3
    assert len(keyring.keys) == 1
    aws.reset_calls()
    again = passwords_of_all(home, aws)
    assert again == passwords[:3]
    assert aws.calls == []


@pytest.mark.usefixtures("daemon")
def test_ten_cold_gets_beside_a_daemon(home: Home, aws: Aws, keyring: Keyring) -> None:
    passwords = {right(aws, get.answer) for get in at_once(home, [registry(DEV)] * 10)}
    assert len(passwords) == 1
    assert aws.count("GetAuthorizationToken") == 1
    assert len(keyring.keys) == 1
    keyring.stop()
    assert {right(aws, home.get(registry(DEV)))} == passwords


def test_many_move_from_file_to_keyring_at_once(home: Home, aws: Aws, keyring: Keyring) -> None:
    set_store(home, "file")
    first = passwords_of_all(home, aws)
    aws.reset_calls()
    set_store(home, "keyring")
    gets = at_once(home, [registry(account) for account in ACCOUNTS] * 4)
    passwords = [
        right(aws, get.answer, account) for get, account in zip(gets, ACCOUNTS * 4, strict=True)
    ]
    assert passwords == first * 4
    assert aws.calls == []
    assert len(keyring.keys) == 1
    assert clear_records(home) == []


def test_gets_and_erases_at_once(home: Home, aws: Aws, keyring: Keyring) -> None:
    gets = [partial(home.get, registry(DEV))] * 8
    erases = [partial(erase, home, registry(DEV))] * 4
    answers = all_at_once([*gets, *erases])
    assert all(answer == Answer(0, b"", b"") for answer in answers[8:])
    passwords = [right(aws, answer) for answer in answers[:8]]
    assert clear_records(home) == []
    assert readable(home, *passwords) == []
    assert [path for path in files(home, "credentials") if path.suffix == ".new"] == []


def test_fifty_logins_are_all_kept(home: Home, keyring: Keyring) -> None:
    set_store(home, "keyring", fallback="keyring")
    secrets = {f"registry-{number}.example.com": f"secret of {number}" for number in range(50)}
    calls = [partial(store, home, host, "somebody", secret) for host, secret in secrets.items()]
    assert set(map(str, all_at_once(calls))) == {str(Answer(0, b"", b""))}
    assert len(keyring.keys) == 1
    assert home.logins() == dict.fromkeys(secrets, "somebody")
    for host in list(secrets)[::10]:
        assert home.get(host).password == secrets[host]


def test_logins_to_one_registry_at_once_leave_one_of_them(home: Home, keyring: Keyring) -> None:
    set_store(home, "keyring", fallback="keyring")
    secrets = [f"secret {number} " + "x" * 10000 for number in range(8)]
    calls = [partial(store, home, HUB, "somebody", secret) for secret in secrets]
    assert set(map(str, all_at_once(calls))) == {str(Answer(0, b"", b""))}
    assert json.loads(home.get(HUB).stdout)["Secret"] in secrets
    folder = home.path / ".local" / "share" / "ecr-py" / "logins"
    assert len(list(folder.iterdir())) == 1
