"""A keyring that prompts, refuses or hangs: one process asks, and the others share the result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from docker_credential_ecr_py.store import seal
from tests.standin.aws import Aws
from tests.support import keyring_backends as backends
from tests.support.home import DEV, PROD, STAGE, Home, registry
from tests.support.processes import at_once
from tests.support.records import files
from tests.support.stores import clear_records, right, set_store
from tests.support.user import eventually
from tests.system.store.test_no_keyring import kept_nowhere, lines_about_it

ACCOUNTS = [DEV, STAGE, PROD] * 3
# Each notes that it was asked, and then does what a keyring may do.
_ASKED = """\
    def get_password(self, service, name):
        with open(Path(os.environ["HOME"], "asked"), "a") as file:
            file.write(f"{os.getpid()}\\n")
"""
HANGS = _ASKED + "        time.sleep(3600)\n"
REFUSES = _ASKED + "        raise KeyringLocked('Failed to unlock the collection!')\n"
# A user who looks at the prompt for a moment, and says no.
DISMISSED = _ASKED + "        time.sleep(2)\n        raise KeyringLocked('Prompt dismissed')\n"
# One who types the password: what is asked after that is answered at once.
UNLOCKED = """\
    def get_password(self, service, name):
        unlocked = Path(os.environ["HOME"], "unlocked")
        if not unlocked.exists():
            with open(Path(os.environ["HOME"], "asked"), "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(2)
            unlocked.touch()
        return self.kept.read_text() if self.kept.exists() else None
"""


def asked(home: Home) -> list[str]:
    """The processes that the keyring was asked by."""
    file = home.path / "asked"
    return file.read_text().split() if file.exists() else []


def later(home: Home) -> None:
    """As if a minute and more had passed since the keyring was asked."""
    then = time.time() - 120
    os.utime(home.cache / "locks" / ".keyring", (then, then))


@pytest.mark.parametrize(
    "behaves", [HANGS, REFUSES, DISMISSED], ids=["hangs", "refuses", "prompts"]
)
def test_many_at_once_ask_once_and_share_the_failure(home: Home, aws: Aws, behaves: str) -> None:
    backends.use_backend(home, behaves)
    gets = at_once(home, [registry(account) for account in ACCOUNTS])
    for get, account in zip(gets, ACCOUNTS, strict=True):
        right(aws, get.answer, account)
    assert len(asked(home)) == 1
    assert kept_nowhere(home, aws)
    # Each says why, and all the same.
    lines = lines_about_it(home)
    assert len(lines) == len(ACCOUNTS)
    assert len({line.partition("ecr-py: ")[2] for line in lines}) == 1


def test_many_at_once_prompt_once_and_share_the_unlocked_keyring(home: Home, aws: Aws) -> None:
    backends.use_backend(home, UNLOCKED)
    gets = at_once(home, [registry(account) for account in ACCOUNTS])
    passwords = {
        account: right(aws, get.answer, account)
        for get, account in zip(gets, ACCOUNTS, strict=True)
    }
    assert len(asked(home)) == 1
    assert len(files(home, "credentials")) == 3
    assert clear_records(home) == []
    assert {a: home.get(registry(a)).password for a in passwords} == passwords


def test_one_after_another_share_a_refusal_for_a_short_time(home: Home, aws: Aws) -> None:
    """A build asks for each registry in turn."""
    backends.use_backend(home, DISMISSED)
    for account in (DEV, STAGE, PROD):
        right(aws, home.get(registry(account)), account)
    assert len(asked(home)) == 1
    later(home)
    right(aws, home.get(registry(DEV)))
    assert len(asked(home)) == 2


def test_where_the_one_that_asks_is_killed_another_asks(home: Home, aws: Aws) -> None:
    backends.use_backend(home, HANGS)
    first = home.start("get", registry(DEV))
    eventually(lambda: asked(home))
    backends.use_backend(home, REFUSES)
    second = home.start("get", registry(STAGE))
    lock = str(home.cache / "locks" / ".keyring")
    eventually(lambda: lock in [_target(fd) for fd in _open_files(second.pid)])
    first.kill()
    first.communicate()
    _, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (0, b"")
    assert asked(home) == [str(first.pid), str(second.pid)]


def _open_files(process: int) -> list[str]:
    folder = f"/proc/{process}/fd"
    return [f"{folder}/{number}" for number in os.listdir(folder)]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"at": "x"}', '{"at": 1e400}', '{"at": null, "holds": 10}', "\0" * 99]
)
def test_a_note_that_is_none_is_not_believed(home: Home, aws: Aws, note: str) -> None:
    backends.use_backend(home, "")
    locks = home.cache / "locks"
    locks.mkdir(parents=True, mode=0o700)
    for folder in (home.cache, home.cache.parent):
        folder.chmod(0o700)
    home.write(locks / ".keyring", note)
    first = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == first


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_something_else_in_the_place_of_the_note(
    home: Home, aws: Aws, plant: Callable[[str], None]
) -> None:
    backends.use_backend(home, "")
    set_store(home, "keyring")
    right(aws, home.get(registry(STAGE)), STAGE)
    note = home.cache / "locks" / ".keyring"
    note.unlink()
    plant(str(note))
    first = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == first


def test_when_this_process_began() -> None:
    began = seal.process_began()
    assert 0 <= time.time() - began < 86400
    assert abs(seal.process_began() - began) < 1
