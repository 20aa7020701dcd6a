"""Terminals that need the same login share one through the daemon, and need no daemon to go on."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.store import record
from tests.standin.aws import Aws
from tests.support.daemon import Daemon, as_bytes, processes_of, socket_path
from tests.support.home import DEV, PROD, STAGE, START_URL, Answer, registry
from tests.support.secrets import Secrets
from tests.support.terminal import Terminal
from tests.support.user import CODE, ECR_PY, User, eventually, redirect_port, visit
from tests.system.daemon.test_without import in_its_place, nonsense

Start = Callable[..., Daemon]
DEVICE = "StartDeviceAuthorization"


def get(name: str, account: str = DEV) -> str:
    """A script that asks, and leaves what it was told in files of that name."""
    return f"echo {registry(account)} | docker-credential-ecr-py get >out.{name} 2>err.{name}"


def answer(user: User, terminal: Terminal, name: str) -> Answer:
    code, home = terminal.wait(), user.home.path
    return Answer(code, (home / f"out.{name}").read_bytes(), (home / f"err.{name}").read_bytes())


def elsewhere(user: User, name: str = "other") -> dict[str, str]:
    """The environment of a helper with a cache of its own: only the daemon is shared."""
    return {"XDG_CACHE_HOME": str(user.home.path / name)}


@pytest.mark.parametrize("store", ["file", "memory"])
def test_one_terminal_logs_in_by_the_daemon(user: User, aws: Aws, start: Start, store: str) -> None:
    daemon = start(store)
    with user.at_terminal(get("1")) as terminal:
        code = terminal.wait_for(CODE)[1]
        assert len(daemon.workers()) == 1
        aws.approve(code)
        found = answer(user, terminal, "1")
        assert terminal.state == terminal.before
    assert aws.issued[found.password].account == DEV
    assert found.stderr == b""
    assert aws.count(DEVICE) == 1
    eventually(lambda: daemon.workers() == [])


@pytest.mark.parametrize("own_cache", [False, True])
def test_two_terminals_share_one_login(
    user: User, aws: Aws, daemon: Daemon, own_cache: bool
) -> None:
    environment = elsewhere(user) if own_cache else {}
    with (
        user.at_terminal(get("1")) as one,
        user.at_terminal(get("2", STAGE), **environment) as two,
    ):
        code = one.wait_for(CODE)[1] if own_cache else first_code(one, two)
        if own_cache:
            assert two.wait_for(CODE)[1] == code
        aws.approve(code)
        found = [answer(user, one, "1"), answer(user, two, "2")]
    assert [aws.issued[one.password].account for one in found] == [DEV, STAGE]
    assert {one.stderr for one in found} == {b""}
    assert aws.count(DEVICE) == 1
    assert aws.count("RegisterClient") == 1


def first_code(*terminals: Terminal) -> str:
    """The code that one of them shows."""
    return eventually(lambda: codes(*terminals))[0]


def test_ecr_py_login_and_a_get_share_one_login(user: User, aws: Aws, daemon: Daemon) -> None:
    with (
        user.at_terminal(f"{ECR_PY} login dev --device") as one,
        user.at_terminal(get("2"), **elsewhere(user)) as two,
    ):
        aws.approve(two.wait_for(CODE)[1])
        assert one.wait() == 0
        assert answer(user, two, "2").password in aws.issued
    assert aws.count(DEVICE) == 1


def test_five_terminals_one_window(user: User, aws: Aws, daemon: Daemon) -> None:
    user.use_session_profiles()
    user.add_browser()
    with (
        user.at_terminal(get("1")) as one,
        user.at_terminal(get("2", STAGE), **elsewhere(user, "b")) as two,
        user.at_terminal(get("3", PROD), **elsewhere(user, "c")) as three,
    ):
        terminals = (one, two, three)
        address = user.next_address()
        for terminal in terminals:
            terminal.wait_for("log in to")
        assert redirect_port(address)
        _, page = visit(address, "allow")
        found = [answer(user, terminal, str(n)) for n, terminal in enumerate(terminals, 1)]
    assert "You can close this page" in page
    assert [aws.issued[one.password].account for one in found] == [DEV, STAGE, PROD]
    assert user.addresses == [address]
    assert aws.count(DEVICE) == 0


def test_a_refusal_is_told_to_all(user: User, aws: Aws, daemon: Daemon) -> None:
    with (
        user.at_terminal(get("1")) as one,
        user.at_terminal(get("2", STAGE), **elsewhere(user)) as two,
    ):
        code = one.wait_for(CODE)[1]
        two.wait_for(CODE)
        aws.deny(code)
        for name, terminal in (("1", one), ("2", two)):
            assert "the login was refused" in answer(user, terminal, name).line
    assert aws.count(DEVICE) == 1


@pytest.mark.parametrize("own_cache", [False, True])
def test_ctrl_c_in_the_first_leaves_the_second_going(
    user: User, aws: Aws, daemon: Daemon, own_cache: bool
) -> None:
    environment = elsewhere(user) if own_cache else {}
    with user.at_terminal(get("1")) as one:
        code = one.wait_for(CODE)[1]
        with user.at_terminal(get("2", STAGE), **environment) as two:
            two.wait_for("waiting for the login" if not own_cache else CODE)
            one.type("\x03")
            assert one.wait() != 0
            assert one.state == one.before
            assert two.wait_for(CODE)[1] == code
            aws.approve(code)
            found = answer(user, two, "2")
    assert found.password in aws.issued
    assert aws.count(DEVICE) == 1


def test_who_left_before_the_daemon_looked_is_not_the_one_to_open_a_browser(
    user: User, aws: Aws, daemon: Daemon
) -> None:
    session = asdict(SsoSession(START_URL, "eu-west-1", "", "dev"))
    job = {"session": session, "device": False, "browser": True, "limit": 300}
    here = record.context(as_bytes(user.home)).hex()
    order = f"ecr-py/1 login {here} {json.dumps(job).encode().hex()}\n".encode()
    with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as stays:
        with daemon.stopped():
            for wire in (left, stays):
                wire.connect(str(socket_path(user.home)))
                wire.sendall(order)
            left.close()
        stays.settimeout(40)
        with stays.makefile("rb") as told:
            report = next(one for one in map(json.loads, told) if "prompt" in one)
        assert report["opens"] is True


def test_a_login_that_everybody_has_left_ends(user: User, aws: Aws, daemon: Daemon) -> None:
    with user.at_terminal(get("1")) as terminal:
        terminal.wait_for(CODE)
        assert len(daemon.workers()) == 1
        terminal.type("\x03")
        assert terminal.wait() != 0
    eventually(lambda: daemon.workers() == [], seconds=40)
    with user.at_terminal(get("2")) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer(user, terminal, "2").password in aws.issued
    assert aws.count(DEVICE) == 2


def test_a_daemon_killed_while_they_wait(user: User, aws: Aws, daemon: Daemon) -> None:
    with (
        user.at_terminal(get("1")) as one,
        user.at_terminal(get("2", STAGE)) as two,
    ):
        old = first_code(one, two)
        daemon.kill()
        eventually(lambda: aws.count(DEVICE) == 2)
        new = eventually(lambda: [c for c in codes(one, two) if c != old])[0]
        aws.approve(new)
        found = [answer(user, one, "1"), answer(user, two, "2")]
        assert (one.state, two.state) == (one.before, two.before)
    for one_found in found:
        assert one_found.password in aws.issued
        assert one_found.stderr == b""


def codes(*terminals: Terminal) -> list[str]:
    return [code for one in terminals for code in re.findall(CODE, one.shown)]


def test_a_daemon_ended_while_they_wait(user: User, aws: Aws, daemon: Daemon) -> None:
    with user.at_terminal(get("1")) as terminal:
        old = terminal.wait_for(CODE)[1]
        daemon.process.terminate()
        assert daemon.process.wait(10) == 0
        new = eventually(lambda: [code for code in codes(terminal) if code != old])[0]
        aws.approve(new)
        assert answer(user, terminal, "1").password in aws.issued


def test_a_worker_killed_in_the_middle_of_a_login(user: User, aws: Aws, daemon: Daemon) -> None:
    with user.at_terminal(get("1")) as terminal:
        terminal.wait_for(CODE)
        (worker,) = daemon.workers()
        os.kill(worker, 9)
        # Told so, or asked anew: either is better than to wait for nothing.
        found = eventually(lambda: aws.count(DEVICE) == 2 or (user.home.path / "out.1").read_text())
        if found is True:
            aws.approve(codes(terminal)[-1])
            assert answer(user, terminal, "1").password in aws.issued
        else:
            assert "the login broke off" in answer(user, terminal, "1").line


def test_a_daemon_that_is_stopped_keeps_nobody_from_logging_in(
    user: User, aws: Aws, daemon: Daemon
) -> None:
    with daemon.stopped(), user.at_terminal(get("1")) as terminal:
        aws.approve(terminal.wait_for(CODE, seconds=15)[1])
        assert answer(user, terminal, "1").password in aws.issued


def line(text: bytes) -> Callable[[socket.socket], None]:
    def behave(wire: socket.socket) -> None:
        wire.recv(65536)
        wire.sendall(text + b"\n")

    return behave


PROMPT = {"session": "x", "address": "https://x.invalid", "code": "", "seconds": 1}


@pytest.mark.parametrize(
    "behave",
    [
        nonsense,
        line(b""),
        line(b"7"),
        line(b"[]"),
        line(b'{"prompt": 7, "opens": true}'),
        line(b'{"prompt": {"seconds": "x"}, "opens": true}'),
        line(b'{"result": 7}'),
        line(b'{"result": null}'),
        line(b"[" * 5000),
        line(json.dumps({"prompt": PROMPT, "opens": False}).encode()),
    ],
    ids=map(str, range(10)),
)
def test_a_login_goes_on_without_a_daemon_that_talks_nonsense(
    user: User, aws: Aws, behave: Callable[[socket.socket], None]
) -> None:
    with in_its_place(user.home, behave), user.at_terminal(get("1")) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer(user, terminal, "1").password in aws.issued


def test_a_login_shows_no_secret_to_whoever_lists_processes(
    user: User, aws: Aws, daemon: Daemon
) -> None:
    user.use_session_profiles()
    user.add_browser()
    with user.at_terminal(get("1")) as terminal:
        address = user.next_address()
        shown = b""
        for pid in processes_of(user.home):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                shown += Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"daemon.worker" in shown
        assert Secrets(aws).within(shown) == []
        visit(address, "allow")
        assert answer(user, terminal, "1").password in aws.issued
