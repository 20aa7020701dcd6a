"""No keyring, a locked one, one that hangs or keeps things in clear: the credential is answered.

What cannot be sealed is not kept. One line says why: to a user, and to the log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext

import pytest

from docker_credential_ecr_py.store import record
from tests.standin.aws import Aws
from tests.support import keyring_backends as backends
from tests.support.daemon import daemon_of
from tests.support.home import DEV, STAGE, Home, registry
from tests.support.processes import at_once, timed_get
from tests.support.records import HALF_LIFE, LIFE, files, write_sealed
from tests.support.secret_service import Bus, Keyring, dumb_service
from tests.support.stores import (
    clear_records,
    docker_logs_in,
    handed_out,
    readable,
    right,
    sealed_fields,
    set_store,
)
from tests.support.user import User, eventually

LIMIT = 15  # seconds that a keyring may take
NOT_HUNG = 55  # that with all the rest of a get, on a machine that has much to do

Trouble = Callable[[Home, ExitStack], None]


def no_bus(home: Home, until: ExitStack) -> None:
    home.environment.pop("DBUS_SESSION_BUS_ADDRESS", None)


def dead_bus(home: Home, until: ExitStack) -> None:
    home.environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={home.path}/no-socket"


def odd_bus(home: Home, until: ExitStack) -> None:
    home.environment["DBUS_SESSION_BUS_ADDRESS"] = "rubbish"


def empty_bus(home: Home, until: ExitStack) -> None:
    bus = until.enter_context(Bus())
    home.environment["DBUS_SESSION_BUS_ADDRESS"] = bus.address


def locked(home: Home, until: ExitStack) -> None:
    """With nobody on the bus who could ask for the password: as if the prompt were refused."""
    keyring = real(home, until)
    keyring.lock()


def rubbish(home: Home, until: ExitStack) -> None:
    real(home, until).change_key(b"no key of ours")


def short_key(home: Home, until: ExitStack) -> None:
    real(home, until).change_key(b"c2hvcnQ=")


def binary_key(home: Home, until: ExitStack) -> None:
    real(home, until).change_key(b"\xff\x00\xfe" * 11)


def empty_key(home: Home, until: ExitStack) -> None:
    real(home, until).change_key(b"")


def null(home: Home, until: ExitStack) -> None:
    backends.use_named(home, "keyring.backends.null.Keyring")


def null_by_environment(home: Home, until: ExitStack) -> None:
    home.environment["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"


def fail(home: Home, until: ExitStack) -> None:
    backends.use_named(home, "keyring.backends.fail.Keyring")


def plaintext(home: Home, until: ExitStack) -> None:
    backends.install_plaintext(home, chained=False)


def several_in_plaintext(home: Home, until: ExitStack) -> None:
    backends.install_plaintext(home, chained=True)


def absent(home: Home, until: ExitStack) -> None:
    backends.use_named(home, "not_installed.Keyring")


def absent_class(home: Home, until: ExitStack) -> None:
    backends.use_named(home, "keyring.backends.null.NoSuchKeyring")


def broken_configuration(home: Home, until: ExitStack) -> None:
    backends.use_named(home, "x")
    file = home.path / ".config" / "python_keyring" / "keyringrc.cfg"
    file.write_text("this is no INI file\n")


def half_configured(home: Home, until: ExitStack) -> None:
    backends.name_none(home)


def of_theirs(more: str) -> Trouble:
    def trouble(home: Home, until: ExitStack) -> None:
        backends.use_backend(home, more)

    return trouble


def real(home: Home, until: ExitStack) -> Keyring:
    bus = until.enter_context(Bus())
    home.environment["DBUS_SESSION_BUS_ADDRESS"] = bus.address
    return until.enter_context(Keyring(home, bus))


TROUBLES: dict[str, Trouble] = {
    trouble.__name__: trouble
    for trouble in (
        no_bus,
        dead_bus,
        odd_bus,
        empty_bus,
        locked,
        rubbish,
        short_key,
        binary_key,
        empty_key,
        null,
        null_by_environment,
        fail,
        plaintext,
        several_in_plaintext,
        absent,
        absent_class,
        broken_configuration,
        half_configured,
    )
} | {
    "refuses": of_theirs(backends.REFUSES),
    "forgets": of_theirs(backends.FORGETS),
    "breaks": of_theirs(backends.BREAKS),
    "exits": of_theirs(backends.EXITS),
    "no_text": of_theirs(backends.NO_TEXT),
    "cannot_be_made": of_theirs(backends.CANNOT_BE_MADE),
    "cannot_be_loaded": of_theirs(backends.CANNOT_BE_LOADED),
    "does_not_fit": of_theirs(backends.DOES_NOT_FIT),
}


@pytest.fixture
def until() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=list(TROUBLES))
def troubled(request: pytest.FixtureRequest, home: Home, until: ExitStack) -> Home:
    """A home whose keyring is of no use."""
    TROUBLES[request.param](home, until)
    return home


def kept_nowhere(home: Home, aws: Aws) -> bool:
    return not files(home, "credentials") and readable(home, *handed_out(aws)) == []


def lines_about_it(home: Home) -> list[str]:
    log = home.log.read_text()
    assert "Traceback" not in log
    assert "unexpected" not in log
    return [line for line in log.splitlines() if "keyring" in line]


def test_the_credential_is_answered_and_not_kept(troubled: Home, aws: Aws) -> None:
    home = troubled
    right(aws, home.get(registry(DEV)))
    assert len(lines_about_it(home)) == 1
    assert kept_nowhere(home, aws)
    assert not (home.path / "in-clear").exists()


@pytest.mark.parametrize("seconds", [0, HALF_LIFE + 60, LIFE - 240, LIFE + 60])
@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "with a daemon"])
def test_a_keyring_that_is_locked_after_it_sealed(
    home: Home, aws: Aws, keyring: Keyring, seconds: int, daemon: bool
) -> None:
    """What lies sealed then is of any age, and cannot be opened."""
    first = right(aws, home.get(registry(DEV)))
    keyring.lock()
    make_sealed_older(home, seconds)
    with daemon_of(home) if daemon else nullcontext():
        for _ in range(2):
            assert right(aws, home.get(registry(DEV))) != first
        assert clear_records(home) == []
    keyring.stop()
    keyring.start()
    kept = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == kept


def make_sealed_older(home: Home, seconds: int) -> None:
    """Its times are in clear. They are authenticated, so it cannot be opened afterwards."""
    for path in files(home, "credentials"):
        fields = sealed_fields(path)
        assert fields
        fields[2:6] = [b"%d" % (int(moment) - seconds) for moment in fields[2:6]]
        write_sealed(path, fields)


@pytest.mark.parametrize(
    "trouble", ["no_bus", "locked", "rubbish", "several_in_plaintext", "half_configured", "refuses"]
)
def test_the_person_reads_one_line(home: Home, aws: Aws, until: ExitStack, trouble: str) -> None:
    TROUBLES[trouble](home, until)
    with User(home, aws).at_terminal(f"docker-credential-ecr-py get {registry(DEV)}") as terminal:
        assert terminal.wait() == 0
        said = terminal.shown.splitlines()
    about = [line for line in said if "keyring" in line]
    assert len(about) == 1, said
    assert about[0].startswith("ecr-py: ")
    assert len([line for line in said if line]) == 2  # that, and docker's document


@pytest.mark.parametrize("trouble", ["no_bus", "locked", "plaintext"])
def test_nothing_in_the_way_of_ecr_py(home: Home, aws: Aws, until: ExitStack, trouble: str) -> None:
    TROUBLES[trouble](home, until)
    home.get(registry(DEV))
    assert home.cached() == []
    assert home.call("erase", stdin=registry(DEV).encode()).code == 0
    user = User(home, aws)
    assert user.ecr_py("explain", registry(DEV)).code == 0
    assert user.ecr_py("logout", "dev").code == 0


def test_what_docker_login_gave_is_not_kept_in_clear(home: Home, aws: Aws) -> None:
    password = docker_logs_in(home)
    assert right(aws, home.get(registry(DEV))) != password
    assert kept_nowhere(home, aws)


def test_a_person_who_refuses_to_unlock_it_is_asked_once_a_get(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    right(aws, home.get(registry(DEV)))  # so that there is something to open
    backends.use_backend(home, backends.ASKS)
    for account in (DEV, STAGE):
        later(home)
        right(aws, home.get(registry(account)), account)
    assert (home.path / "kept").read_text().count("asked") == 2


def later(home: Home) -> None:
    """What the keyring said to one get holds for others no more."""
    for file in (home.cache / "locks").iterdir():
        os.utime(file, (time.time() - 120,) * 2)


def test_a_keyring_that_is_there_again_is_used_again(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    keyring.lock()
    right(aws, home.get(registry(DEV)))
    keyring.stop()
    keyring.start()
    later(home)
    second = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == second


def test_a_key_that_was_deleted_is_made_anew(home: Home, aws: Aws, keyring: Keyring) -> None:
    first = right(aws, home.get(registry(DEV)))
    [key] = keyring.keys
    keyring.delete_key()
    second = right(aws, home.get(registry(DEV)))
    assert second != first
    assert right(aws, home.get(registry(DEV))) == second
    assert len(keyring.keys) == 1
    assert keyring.keys != [key]


def test_a_real_keyring_is_used_where_a_plaintext_one_is_installed_too(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    backends.install_plaintext(home, chained=True)
    first = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == first
    assert len(keyring.keys) == 1
    assert not (home.path / "in-clear").exists()


def test_a_locked_keyring_beside_a_plaintext_one_gives_the_key_to_neither(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    backends.install_plaintext(home, chained=True)
    keyring.lock()
    right(aws, home.get(registry(DEV)))
    assert kept_nowhere(home, aws)
    assert not (home.path / "in-clear").exists()


def test_a_keyring_that_prints_does_not_spoil_the_answer(home: Home, aws: Aws) -> None:
    prints = (
        "    def set_password(self, service, name, secret):\n        print('hello', flush=True)\n"
    )
    backends.use_backend(home, prints)
    right(aws, home.get(registry(DEV)))


def test_a_daemon_without_a_keyring_changes_nothing(home: Home, aws: Aws) -> None:
    with daemon_of(home) as daemon:
        right(aws, home.get(registry(DEV)))
        right(aws, home.get(registry(DEV)))
        eventually(daemon.is_idle)
        assert daemon.credentials == []
        assert kept_nowhere(home, aws)


def test_a_renewal_with_a_locked_keyring_loses_nothing(home: Home, aws: Aws) -> None:
    """The daemon has a credential that is good for hours still, and nothing new can be sealed."""
    backends.use_backend(home, "")
    first = right(aws, home.get(registry(DEV)))
    with daemon_of(home) as daemon:
        (name,) = eventually(lambda: daemon.credentials)
        backends.use_backend(home, backends.ASKS)
        fields = record.fields_of(daemon.ask(b"read " + name) or b"", record.CREDENTIAL)
        assert fields
        fields[2:6] = [b"%d" % (int(moment) - HALF_LIFE - 60) for moment in fields[2:6]]
        assert daemon.ask(b"write " + name, record.record_of(fields)) == b"ok\n"
        daemon.ask(b"reload")
        (failure,) = eventually(lambda: daemon.failures)
        assert "the keyring cannot be used" in failure["what"]
        assert right(aws, home.get(registry(DEV))) == first
    assert len(files(home, "credentials")) == 1
    assert aws.count("GetAuthorizationToken") == 1


def test_moving_to_a_locked_keyring_wipes_what_is_clear(
    home: Home, aws: Aws, keyring: Keyring
) -> None:
    set_store(home, "file")
    right(aws, home.get(registry(DEV)))
    right(aws, home.get(registry(STAGE)), STAGE)
    keyring.lock()
    set_store(home, "keyring")
    right(aws, home.get(registry(DEV)))
    assert clear_records(home) == []
    assert kept_nowhere(home, aws)


# What hangs. These take as long as we wait for a keyring.


def test_one_that_hangs_is_waited_for_once(home: Home, aws: Aws, bus: Bus) -> None:
    """Here the Secret Service itself; the user reads one line, and why."""
    with dumb_service(bus):
        command = f"docker-credential-ecr-py get {registry(DEV)}"
        with User(home, aws).at_terminal(command) as terminal:
            assert terminal.wait(seconds=NOT_HUNG) == 0
            assert terminal.shown.count("keyring") == 1
            assert f"{LIMIT} seconds" in terminal.shown
        for account in (DEV, STAGE):
            timed = timed_get(home, registry(account))
            right(aws, timed.answer, account)
            assert timed.seconds < LIMIT
    assert kept_nowhere(home, aws)
    assert len(lines_about_it(home)) == 3


def test_one_that_hangs_is_tried_again_later(home: Home, aws: Aws) -> None:
    backends.use_backend(home, backends.HANGS)
    assert kept_after_a_get(home, aws) == 0
    backends.use_backend(home, "")
    assert kept_after_a_get(home, aws) == 0
    later(home)
    assert kept_after_a_get(home, aws) == 1


def kept_after_a_get(home: Home, aws: Aws) -> int:
    right(aws, home.get(registry(DEV)))
    return len(files(home, "credentials"))


def test_many_at_once_do_not_wait_in_turn_for_one_that_hangs(home: Home, aws: Aws) -> None:
    backends.use_backend(home, backends.HANGS_AS_IT_LOADS)
    accounts = [DEV] * 4 + [STAGE] * 2
    gets = at_once(home, [registry(account) for account in accounts])
    for get, account in zip(gets, accounts, strict=True):
        right(aws, get.answer, account)
        assert get.seconds < NOT_HUNG
    assert kept_nowhere(home, aws)


def test_one_that_hangs_where_nobody_can_note_it(home: Home, aws: Aws) -> None:
    """The note that spares the next get the wait is of use, and no more than that."""
    right(aws, home.get(registry(STAGE)), STAGE)
    (home.cache / "locks" / ".keyring").unlink(missing_ok=True)
    (home.cache / "locks" / ".keyring").symlink_to("/nowhere/at/all")
    backends.use_backend(home, backends.HANGS)
    right(aws, home.get(registry(DEV)))


def test_ecr_py_still_speaks_after_one_that_hangs(home: Home, aws: Aws) -> None:
    backends.use_backend(home, backends.HANGS_AS_IT_KEEPS)
    done = User(home, aws).ecr_py("token", registry(DEV))
    assert done.code == 0
    assert aws.issued[done.stdout.strip()].account == DEV


def test_a_daemon_does_not_hang_with_it(home: Home, aws: Aws, keyring: Keyring) -> None:
    right(aws, home.get(registry(DEV)))
    backends.use_backend(home, backends.HANGS)
    with daemon_of(home) as daemon:
        eventually(lambda: daemon.status()["busy"])
        assert daemon.status()["pid"] == daemon.process.pid
        assert f"{LIMIT} seconds" in eventually(daemon.unseal_failure, seconds=NOT_HUNG)
