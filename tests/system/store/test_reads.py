"""A read changes nothing: what another store kept stays until the setting changes, or a write."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import daemon_of
from tests.support.home import DEV, STAGE, Answer, Home, registry
from tests.support.records import files
from tests.support.secret_service import Keyring
from tests.support.stores import clear_records, readable, right, sealed_fields, set_store
from tests.support.user import ECR_PY, User

READS = (
    "status", "status --json", "explain dev", "cache ls", "config show", "doctor", "daemon status",
    "configure --dry-run", "version", "config set store file --dry-run",
)  # fmt: skip
OTHERS = ("none", "memory", "keyring")


def cached(home: Home) -> dict[str, bytes]:
    """Everything under the cache folder, the time of the last look aside."""
    found = home.cache.rglob("*")
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in found}


def types(home: Home, *words: str) -> None:
    done = subprocess.run(
        [ECR_PY, *words],
        env=home.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done


@pytest.fixture
def first(home: Home, aws: Aws) -> str:
    """A password of dev's, in a file in clear."""
    set_store(home, "file")
    password = right(aws, home.get(registry(DEV)))
    assert len(clear_records(home)) == 1
    return password


# Reads


@pytest.mark.usefixtures("first", "bus")
@pytest.mark.parametrize("store", OTHERS)
def test_no_read_takes_anything_away(home: Home, aws: Aws, store: str) -> None:
    set_store(home, store)
    before = cached(home)
    for words in READS:
        types(home, *words.split())
        assert cached(home) == before, words
    home.call("list")
    completing = {"_ECR_PY_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    done = subprocess.run(
        [ECR_PY],
        env=home.environment | completing | {"COMP_WORDS": "ecr-py token "},
        capture_output=True,
        check=False,
    )
    assert b"dev" in done.stdout
    assert cached(home) == before


@pytest.mark.parametrize("store", OTHERS)
def test_trying_a_setting_out_costs_nothing(home: Home, aws: Aws, first: str, store: str) -> None:
    """By ECR_PY_CONFIG, or a line that is taken back before the next pull."""
    set_store(home, store)
    types(home, "status")
    types(home, "doctor")
    set_store(home, "file")
    aws.reset_calls()
    assert right(aws, home.get(registry(DEV))) == first
    assert aws.calls == []


@pytest.mark.usefixtures("bus")
@pytest.mark.parametrize("store", ["file", *OTHERS])
def test_a_read_makes_no_folder(home: Home, aws: Aws, store: str) -> None:
    set_store(home, store, fallback="keyring")
    for words in READS:
        types(home, *words.split())
    assert home.get("ghcr.io").code == 1
    home.call("list")
    assert not home.cache.exists()


@pytest.mark.usefixtures("keyring")
def test_status_shows_what_the_next_pull_will_answer(home: Home, aws: Aws, first: str) -> None:
    """Also while it still lies where another store kept it."""
    set_store(home, "keyring")
    [row] = [
        row
        for row in json.loads(User(home, aws).ecr_py("status", "--json").stdout)["registries"]
        if row["registry"] == registry(DEV)
    ]
    assert row["token"]["state"] == "fresh"
    aws.reset_calls()
    assert right(aws, home.get(registry(DEV))) == first
    assert aws.calls == []


# The setting changes


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("command", ["config set store {}", "config set defaults.store {}"])
@pytest.mark.parametrize("store", OTHERS)
def test_to_set_it_leaves_nothing_that_can_be_read(
    home: Home, keyring: Keyring, aws: Aws, first: str, store: str, command: str
) -> None:
    types(home, *command.format(store).split())
    assert clear_records(home) == []
    assert readable(home, first) == []
    if store == "keyring":
        assert [bool(sealed_fields(path)) for path in files(home, "credentials")] == [True]
        aws.reset_calls()
        assert right(aws, home.get(registry(DEV))) == first
        assert aws.calls == []
    else:
        assert files(home, "credentials") == []


@pytest.mark.parametrize("store", OTHERS)
def test_to_set_it_again_cleans_up_after_an_edit_by_hand(
    home: Home, keyring: Keyring, first: str, store: str
) -> None:
    set_store(home, store)
    types(home, "config", "set", "store", store)
    assert readable(home, first) == []


def test_to_set_it_moves_what_is_kept_into_the_daemon(home: Home, aws: Aws, first: str) -> None:
    with daemon_of(home) as daemon:
        types(home, "config", "set", "store", "memory")
        assert readable(home, first) == []
        daemon.reload()
        aws.reset_calls()
        assert right(aws, home.get(registry(DEV))) == first
        assert aws.calls == []


def test_without_a_keyring_nothing_that_can_be_read_stays(home: Home, first: str) -> None:
    types(home, "config", "set", "store", "keyring")
    assert readable(home, first) == []


def test_to_unset_it_keeps_what_the_default_keeps(home: Home, aws: Aws, first: str) -> None:
    types(home, "config", "unset", "store")
    aws.reset_calls()
    assert right(aws, home.get(registry(DEV))) == first
    assert aws.calls == []


# The next write


@pytest.mark.parametrize("store", OTHERS)
def test_the_next_write_leaves_nothing_that_can_be_read(
    home: Home, keyring: Keyring, aws: Aws, first: str, store: str
) -> None:
    set_store(home, store)
    right(aws, home.get(registry(STAGE)), STAGE)
    assert readable(home, first) == []
    assert clear_records(home) == []


@pytest.mark.parametrize("store", OTHERS)
@pytest.mark.parametrize("words", ["erase", "cache rm --all", "logout dev"])
def test_what_is_to_be_forgotten_is_gone(
    home: Home, keyring: Keyring, first: str, store: str, words: str
) -> None:
    set_store(home, store)
    if words == "erase":
        assert home.call("erase", stdin=registry(DEV).encode()) == Answer(0, b"", b"")
    else:
        types(home, *words.split())
    assert readable(home, first) == []
    assert files(home, "credentials") == []


@pytest.mark.parametrize("store", OTHERS)
def test_doctor_says_what_another_store_left(
    home: Home, keyring: Keyring, aws: Aws, first: str, store: str
) -> None:
    set_store(home, store)
    user = User(home, aws)

    def lines() -> list[str]:
        said = user.ecr_py("doctor").stdout.splitlines()
        return [line for line in said if line.split()[1] == "leftovers"]

    [line] = lines()
    assert line.startswith("note")
    assert f'1 credential of another store than "{store}"' in line
    assert f"run `ecr-py config set store {store}`" in line
    types(home, "config", "set", "store", store)
    assert lines() == []
    assert readable(home, first) == []


@pytest.mark.usefixtures("first")
def test_a_store_that_is_not_used_changes_nothing(home: Home, aws: Aws) -> None:
    """AWS_ECR_DISABLE_CACHE: nothing is read from the cache, or written to it."""
    before = cached(home)
    right(aws, home.get(registry(STAGE), AWS_ECR_DISABLE_CACHE="1"), STAGE)
    types(home, "cache", "ls")
    assert {path for path in cached(home) if os.path.isfile(path)} == {
        path for path in before if os.path.isfile(path)
    }
