"""Terminals that need the same session share one login: the first logs in, the others wait.

They share it by the session's lock, so it makes no difference whether the daemon runs. A login
that a click on the daemon's notification starts takes the same lock.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import Daemon, processes_of
from tests.support.home import DEV, PROD, STAGE, Answer, Home, registry
from tests.support.processes import holders_of
from tests.support.secrets import Secrets
from tests.support.terminal import Terminal
from tests.support.user import CODE, ECR_PY, User, eventually, redirect_port, visit
from tests.system.daemon.test_session_end import MINUTES, Desktop, legacy_session_ends_in

Start = Callable[..., Daemon]
DEVICE = "StartDeviceAuthorization"
WAITS = "waiting for the login that another process"
WITH_AND_WITHOUT_DAEMON = pytest.mark.parametrize("beside", [False, True], indirect=True)


@pytest.fixture
def beside(request: pytest.FixtureRequest) -> Daemon | None:
    """A daemon with the credentials in its memory, or none."""
    if not request.param:
        return None
    found: Daemon = request.getfixturevalue("daemon")
    return found


def get(name: str, account: str = DEV) -> str:
    """A script that asks for a credential and writes the output to files with that name."""
    return f"echo {registry(account)} | docker-credential-ecr-py get >out.{name} 2>err.{name}"


def answer(user: User, terminal: Terminal, name: str) -> Answer:
    code, folder = terminal.wait(), user.home.path
    return Answer(
        code, (folder / f"out.{name}").read_bytes(), (folder / f"err.{name}").read_bytes()
    )


def first_and_others(*terminals: Terminal) -> tuple[Terminal, list[Terminal]]:
    """The terminal that shows the login, and those that say that they wait for it."""

    def look() -> list[tuple[Terminal, list[Terminal]]]:
        first = [one for one in terminals if "log in to" in one.shown]
        others = [one for one in terminals if WAITS in one.shown]
        whole = len(first) == 1 and len(others) == len(terminals) - 1
        return [(first[0], others)] if whole else []

    [found] = eventually(look, seconds=40)
    return found


def the_one_that_logs_in(user: User) -> int:
    """The process that holds the session's lock."""
    [lock] = (user.home.cache / "locks").glob("sso-*")
    [process] = holders_of(lock)
    return process


@pytest.mark.parametrize("store", ["file", "memory"])
def test_beside_a_daemon_a_terminal_logs_in_by_itself(
    user: User, aws: Aws, start: Start, store: str
) -> None:
    daemon = start(store)
    with user.at_terminal(get("1")) as terminal:
        code = terminal.wait_for(CODE)[1]
        assert daemon.workers() == []
        aws.approve(code)
        found = answer(user, terminal, "1")
        assert terminal.state == terminal.before
    assert aws.issued[found.password].account == DEV
    assert found.stderr == b""
    assert aws.count(DEVICE) == 1


@WITH_AND_WITHOUT_DAEMON
def test_two_terminals_share_one_login(user: User, aws: Aws, beside: Daemon | None) -> None:
    with user.at_terminal(get("1")) as one, user.at_terminal(get("2", STAGE)) as two:
        first, _ = first_and_others(one, two)
        aws.approve(first.wait_for(CODE)[1])
        found = [answer(user, one, "1"), answer(user, two, "2")]
        assert [one.state, two.state] == [one.before, two.before]
    assert [aws.issued[one.password].account for one in found] == [DEV, STAGE]
    assert {one.stderr for one in found} == {b""}
    assert aws.count(DEVICE) == aws.count("RegisterClient") == 1


@WITH_AND_WITHOUT_DAEMON
def test_ecr_py_login_and_a_get_share_one_login(
    user: User, aws: Aws, beside: Daemon | None
) -> None:
    with (
        user.at_terminal(f"{ECR_PY} login dev --device") as one,
        user.at_terminal(get("2")) as two,
    ):
        first, _ = first_and_others(one, two)
        aws.approve(first.wait_for(CODE)[1])
        assert one.wait() == 0
        assert answer(user, two, "2").password in aws.issued
    assert aws.count(DEVICE) == 1


@WITH_AND_WITHOUT_DAEMON
def test_many_terminals_open_one_window(user: User, aws: Aws, beside: Daemon | None) -> None:
    user.use_session_profiles()
    user.add_browser()
    accounts = (DEV, STAGE, PROD, DEV, STAGE)
    with ExitStack() as stack:
        terminals = [
            stack.enter_context(user.at_terminal(get(str(number), account)))
            for number, account in enumerate(accounts)
        ]
        address = user.next_address()
        assert redirect_port(address)
        # The others of one identity wait for its credential, not for the session.
        eventually(lambda: sum(WAITS in one.shown for one in terminals) == 2, seconds=40)
        _, page = visit(address, "allow")
        found = [answer(user, one, str(number)) for number, one in enumerate(terminals)]
    assert "You can close this page" in page
    assert [aws.issued[one.password].account for one in found] == list(accounts)
    assert user.addresses == [address]
    assert aws.count(DEVICE) == 0


@WITH_AND_WITHOUT_DAEMON
def test_a_refusal_ends_the_wait_of_all(user: User, aws: Aws, beside: Daemon | None) -> None:
    with user.at_terminal(get("1")) as one, user.at_terminal(get("2", STAGE)) as two:
        first, _ = first_and_others(one, two)
        aws.deny(first.wait_for(CODE)[1])
        for name, terminal in (("1", one), ("2", two)):
            assert "the login was refused" in answer(user, terminal, name).line
    assert aws.count(DEVICE) == 1


def test_ctrl_c_in_one_ends_the_wait_of_the_other_beside_a_daemon(
    user: User, aws: Aws, daemon: Daemon
) -> None:
    """As without one, see test_refused: it counts as a refusal for a minute."""
    with user.at_terminal(get("1")) as one, user.at_terminal(get("2", STAGE)) as two:
        first, (second,) = first_and_others(one, two)
        first.wait_for("Ctrl-C")
        first.type("\x03")
        assert first.wait() != 0
        assert first.state == first.before
        assert "the login was cancelled" in answer(user, second, "1" if first is two else "2").line
    assert aws.count(DEVICE) == 1


@WITH_AND_WITHOUT_DAEMON
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_if_the_one_that_logs_in_is_killed_another_logs_in(
    user: User, aws: Aws, beside: Daemon | None, number: signal.Signals
) -> None:
    with (
        user.at_terminal(get("1")) as one,
        user.at_terminal(get("2", STAGE)) as two,
        user.at_terminal(get("3", PROD)) as three,
    ):
        first, others = first_and_others(one, two, three)
        old = first.wait_for(CODE)[1]
        os.kill(the_one_that_logs_in(user), number)
        assert first.wait() != 0
        second = eventually(lambda: [o for o in others if re.search(CODE, o.shown)], seconds=40)[0]
        new = second.wait_for(CODE)[1]
        assert new != old
        aws.approve(new)
        for name, terminal in (("1", one), ("2", two), ("3", three)):
            if terminal is not first:
                assert answer(user, terminal, name).password in aws.issued
    assert aws.count(DEVICE) == 2


@WITH_AND_WITHOUT_DAEMON
def test_if_its_terminal_is_closed_another_logs_in(
    user: User, aws: Aws, beside: Daemon | None
) -> None:
    with ExitStack() as closed:
        one = closed.enter_context(user.at_terminal(get("1")))
        one.wait_for(CODE)
        with user.at_terminal(get("2", STAGE)) as two:
            two.wait_for(WAITS)
            closed.close()
            aws.approve(two.wait_for(CODE, seconds=40)[1])
            assert answer(user, two, "2").password in aws.issued


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_login_goes_on_when_the_daemon_ends(
    user: User, aws: Aws, daemon: Daemon, number: signal.Signals
) -> None:
    with user.at_terminal(get("1")) as one, user.at_terminal(get("2", STAGE)) as two:
        first, _ = first_and_others(one, two)
        daemon.process.send_signal(number)
        daemon.process.wait(20)
        aws.approve(first.wait_for(CODE)[1])
        for name, terminal in (("1", one), ("2", two)):
            assert answer(user, terminal, name).password in aws.issued
    assert aws.count(DEVICE) == 1


def test_a_daemon_that_is_stopped_does_not_keep_others_from_logging_in(
    user: User, aws: Aws, daemon: Daemon
) -> None:
    with daemon.stopped(), user.at_terminal(get("1")) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer(user, terminal, "1").password in aws.issued


# A click on the daemon's notification


@pytest.fixture
def desktop(home: Home, aws: Aws) -> Desktop:
    """A session that has ended; a notification of it is clicked at once."""
    found = Desktop(User(home, aws))
    legacy_session_ends_in(found, aws, -5 * MINUTES)
    found.clicks()
    return found


def test_a_get_waits_for_the_login_that_a_click_began(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    user = desktop.user
    start("file")
    address = user.next_address()
    with user.at_terminal(get("1", PROD)) as terminal:
        terminal.wait_for(WAITS)
        assert Secrets(aws).within(command_lines(user)) == []
        visit(address, "allow")
        assert answer(user, terminal, "1").password in aws.issued
    assert user.addresses == [address]
    assert aws.count(DEVICE) == 1


def command_lines(user: User) -> bytes:
    """The command lines of all processes of this home, the daemon's worker among them."""
    shown = b""
    for process in processes_of(user.home):
        with suppress(OSError):  # it has ended
            shown += Path(f"/proc/{process}/cmdline").read_bytes()
    assert b"daemon.worker" in shown
    return shown


def test_a_click_waits_for_the_login_of_a_terminal(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    """And is content with what it brings, though it asks for a new login."""
    user = desktop.user
    with user.at_terminal(get("1", PROD)) as terminal:
        address = user.next_address()
        start("file")
        eventually(lambda: "waiting for the login" in user.home.log.read_text(), seconds=40)
        visit(address, "allow")
        assert answer(user, terminal, "1").password in aws.issued
        done = "login from the notification: {'result': None}"
        eventually(lambda: done in user.home.log.read_text(), seconds=40)
    assert user.addresses == [address]
    assert aws.count(DEVICE) == 1


def test_if_the_worker_of_a_click_is_killed_the_get_that_waits_logs_in(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    user = desktop.user
    daemon = start("file")
    user.next_address()
    with user.at_terminal(get("1", PROD)) as terminal:
        terminal.wait_for(WAITS)
        worker = the_one_that_logs_in(user)
        assert worker in daemon.workers()
        os.kill(worker, signal.SIGKILL)
        visit(user.next_address(after=1), "allow")
        assert answer(user, terminal, "1").password in aws.issued
    eventually(lambda: "login from the notification: {'died'" in user.home.log.read_text())


def test_the_login_of_a_click_ends_with_the_daemon(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    daemon = start("file")
    desktop.user.next_address()
    assert daemon.workers()
    daemon.process.terminate()
    assert daemon.process.wait(20) == 0
    eventually(lambda: processes_of(desktop.home) == [])
