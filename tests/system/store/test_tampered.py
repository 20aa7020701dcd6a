"""An entry that somebody changed, moved or kept past its time does not open."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.sealed_backend import SEALED
from tests.standin.aws import Aws
from tests.support.daemon import Daemon, daemon_of
from tests.support.home import DEV, STAGE, Home, registry
from tests.support.records import files, only, write_sealed
from tests.support.secret_service import Keyring
from tests.support.stores import right, sealed_fields
from tests.support.user import eventually

KEY, ISSUED, RENEW_AT, SPENT_AT, EXPIRES, TEXT = range(1, 7)
NONCE, TAG = 12, 16


@dataclass
class Entry:
    """A sealed entry, and what it says."""

    path: Path

    @property
    def fields(self) -> list[bytes]:
        found = sealed_fields(self.path)
        assert found
        return found

    def change(self, field: int, value: bytes) -> None:
        """As somebody who knows how the fingerprint is made."""
        fields = self.fields
        assert fields[field] != value
        fields[field] = value
        write_sealed(self.path, fields)
        assert self.fields == fields

    def change_bytes(self, change: Callable[[bytes], bytes]) -> None:
        self.change(TEXT, base64.b64encode(change(base64.b64decode(self.fields[TEXT]))))


@dataclass
class Two:
    """The entries of two accounts, and the password of the one that is tampered with."""

    home: Home
    dev: Entry
    password: str

    @cached_property
    def stage(self) -> Entry:
        """Made when it is first looked at: many tests here need no other."""
        assert self.home.get(registry(STAGE)).code == 0
        (stage,) = set(files(self.home, "credentials")) - {self.dev.path}
        return Entry(stage)


@pytest.fixture
def two(home: Home, aws: Aws, keyring: Keyring) -> Two:
    password = right(aws, home.get(registry(DEV)))
    return Two(home, Entry(only(home, "credentials")), password)


def moved(two: Two) -> None:
    shutil.copy2(two.stage.path, two.dev.path)


def renamed(two: Two) -> None:
    shutil.copy2(two.stage.path, two.dev.path)
    two.dev.change(KEY, two.dev.path.name.encode())


def swapped(two: Two) -> None:
    two.dev.change(TEXT, two.stage.fields[TEXT])


def prolonged(two: Two) -> None:
    for field in (SPENT_AT, EXPIRES):
        two.dev.change(field, b"%d" % (int(two.dev.fields[field]) + 3600))


def fresh_for_longer(two: Two) -> None:
    two.dev.change(RENEW_AT, two.dev.fields[SPENT_AT])


def issued_earlier(two: Two) -> None:
    two.dev.change(ISSUED, b"%d" % (int(two.dev.fields[ISSUED]) - 1))


def times_written_otherwise(two: Two) -> None:
    two.dev.change(EXPIRES, b"0" + two.dev.fields[EXPIRES])


def cut_by_a_byte(two: Two) -> None:
    two.dev.change_bytes(lambda text: text[:-1])


def cut_to_the_nonce(two: Two) -> None:
    two.dev.change_bytes(lambda text: text[:NONCE])


def cut_to_less(two: Two) -> None:
    two.dev.change_bytes(lambda text: text[: NONCE - 5])


def emptied(two: Two) -> None:
    two.dev.change(TEXT, b"")


def no_base64(two: Two) -> None:
    two.dev.change(TEXT, b"\xff not base64 \xe2\x98\x83")


def lengthened(two: Two) -> None:
    two.dev.change_bytes(lambda text: text + b"\0")


def without_the_seal(two: Two) -> None:
    write_sealed(two.dev.path, two.dev.fields[:TEXT])


def cut_in_half(two: Two) -> None:
    whole = two.dev.path.read_bytes()
    two.dev.path.write_bytes(whole[: len(whole) // 2])


def sealed_by_another_key(two: Two) -> None:
    nonce, about = os.urandom(NONCE), b"\0".join(two.dev.fields[:TEXT])
    text = b'"AWS"\0"a password of theirs"'
    sealed = nonce + AESGCM(os.urandom(32)).encrypt(nonce, text, about)
    two.dev.change(TEXT, base64.b64encode(sealed))


CHANGES = [
    moved,
    renamed,
    swapped,
    prolonged,
    fresh_for_longer,
    issued_earlier,
    times_written_otherwise,
    cut_by_a_byte,
    cut_to_the_nonce,
    cut_to_less,
    emptied,
    no_base64,
    lengthened,
    without_the_seal,
    cut_in_half,
    sealed_by_another_key,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_fetched_anew(
    home: Home, aws: Aws, two: Two, change: Callable[[Two], None]
) -> None:
    change(two)
    aws.reset_calls()
    assert right(aws, home.get(registry(DEV))) != two.password
    assert aws.count("GetAuthorizationToken") == 1
    assert sealed_fields(two.dev.path)


@pytest.mark.parametrize("change", [renamed, prolonged, cut_in_half])
def test_what_was_changed_under_a_running_daemon_is_fetched_anew(
    home: Home, aws: Aws, two: Two, change: Callable[[Two], None]
) -> None:
    assert two.stage
    with daemon_of(home) as daemon:
        eventually(lambda: len(daemon.credentials) == 2)
        aws.reset_calls()
        change(two)
        second = right(aws, home.get(registry(DEV)))
        assert second != two.password
        assert right(aws, home.get(registry(DEV))) == second
        assert aws.count("GetAuthorizationToken") == 1


@pytest.mark.parametrize(("place", "bit"), [("nonce", 0), ("text", 7), ("tag", 3)])
def test_a_flipped_bit(home: Home, aws: Aws, two: Two, place: str, bit: int) -> None:
    def flipped(text: bytes) -> bytes:
        at = {"nonce": 3, "text": NONCE + 100, "tag": len(text) - TAG}[place]
        return text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :]

    two.dev.change_bytes(flipped)
    assert right(aws, home.get(registry(DEV))) != two.password


def test_one_that_is_spent_cannot_be_made_young(home: Home, aws: Aws, keyring: Keyring) -> None:
    """A password that ended, say, which somebody wants to be used on and on."""
    aws.token_lifetime = 200  # spent at once
    first = right(aws, home.get(registry(DEV)))
    dev = Entry(only(home, "credentials"))
    now = int(time.time())
    for field, moment in ((RENEW_AT, 20000), (SPENT_AT, 40000), (EXPIRES, 43000)):
        dev.change(field, b"%d" % (now + moment))
    assert right(aws, home.get(registry(DEV))) != first


def test_an_entry_from_the_home_of_somebody_else_does_not_open(
    home: Home, aws: Aws, two: Two, keyring: Keyring
) -> None:
    keyring.delete_key()
    second = right(aws, home.get(registry(DEV)))
    assert second != two.password
    assert right(aws, home.get(registry(DEV))) == second
    assert right(aws, home.get(registry(STAGE)), STAGE)


def test_a_daemon_does_not_take_in_what_does_not_open(home: Home, aws: Aws, two: Two) -> None:
    renamed(two)
    with daemon_of(home) as daemon:
        eventually(lambda: daemon.credentials)
        eventually(daemon.is_idle)
        assert daemon.credentials == [b"credentials/" + two.stage.path.name.encode()]


def test_what_is_put_back_after_an_erase_opens_for_its_name_alone(
    home: Home, aws: Aws, two: Two
) -> None:
    """Nobody can tell an old entry from a new one; but it stays whose it was."""
    kept = two.dev.path.read_bytes()
    home.call("erase", stdin=registry(DEV).encode())
    assert not two.dev.path.exists()
    two.stage.path.write_bytes(kept)
    assert right(aws, home.get(registry(STAGE)), STAGE) != two.password


def test_a_link_where_a_sealed_entry_belongs(
    home: Home, aws: Aws, two: Two, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(two.dev.path, elsewhere)
    two.dev.path.symlink_to(elsewhere)
    assert right(aws, home.get(registry(DEV))) != two.password
    assert record.read(os.fsencode(elsewhere), SEALED)
    assert not two.dev.path.is_symlink()


def test_a_sealed_entry_open_to_others_is_fetched_anew(
    home: Home, aws: Aws, two: Two, daemon: Daemon
) -> None:
    two.dev.path.chmod(0o644)
    assert right(aws, home.get(registry(DEV))) != two.password
    assert two.dev.path.stat().st_mode & 0o077 == 0
