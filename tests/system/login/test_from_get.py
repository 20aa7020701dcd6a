"""A `get` that finds the session ended: it refreshes it, lets a user log in, or says who must."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, START_URL, Answer, registry
from tests.support.processes import renewals, running
from tests.support.records import HALF_LIFE, let_pass
from tests.support.terminal import Terminal
from tests.support.user import CODE, SESSION, User, eventually, leftovers, redirect_port, visit

HOST = registry(DEV)
ACCOUNTS = (DEV, STAGE, PROD)
GET = f"echo {HOST} | docker-credential-ecr-py get >out 2>err"


def gets(hosts: Sequence[str]) -> str:
    """A script that asks for all of them at once, as BuildKit does, and waits for them."""
    started = [
        f"(echo {host} | docker-credential-ecr-py get >out.{number} 2>err.{number}; "
        f"echo $? >code.{number}) &"
        for number, host in enumerate(hosts)
    ]
    return " ".join([*started, "wait"])


def answers(user: User, number: int) -> list[Answer]:
    home = user.home.path
    return [
        Answer(
            int((home / f"code.{n}").read_text()),
            (home / f"out.{n}").read_bytes(),
            (home / f"err.{n}").read_bytes(),
        )
        for n in range(number)
    ]


def answer_of(user: User, terminal: Terminal, *, seconds: float = 40) -> Answer:
    code = terminal.wait(seconds=seconds)
    home = user.home.path
    return Answer(code, (home / "out").read_bytes(), (home / "err").read_bytes())


def listeners() -> set[int]:
    """The ports of 127.0.0.1 that somebody listens on."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1][9:], 16) for row in rows if row[1].startswith("0100007F") and row[3] == "0A"}


def helpers(user: User) -> list[int]:
    """The processes of the helper that run in this home."""
    return running(user.home)


@pytest.fixture
def with_session(user: User) -> User:
    user.use_session_profiles()
    user.add_browser()
    return user


# A user is there


def test_with_a_terminal_alone_the_address_and_the_code_are_shown(user: User, aws: Aws) -> None:
    with user.at_terminal(GET) as terminal:
        code = terminal.wait_for(CODE)[1]
        shown = terminal.wait_for(r"log in to(.|\n)*Ctrl-C")[0]
        aws.approve(code)
        answer = answer_of(user, terminal)
        assert terminal.state == terminal.before
    assert START_URL in shown
    assert f"the code is {code}" in shown
    assert answer.password in aws.issued
    assert answer.stdout.count(b"\n") == 1
    assert answer.stderr == b""
    assert leftovers([user.home.path]) == []


def test_standard_error_that_is_the_terminal_is_used(user: User, aws: Aws) -> None:
    with user.at_terminal(f"echo {HOST} | docker-credential-ecr-py get >out") as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert terminal.wait() == 0
    assert Answer(0, (user.home.path / "out").read_bytes(), b"").password in aws.issued


def test_a_named_session_opens_the_browser_and_goes_on(with_session: User, aws: Aws) -> None:
    user = with_session
    with user.at_terminal(GET) as terminal:
        address = user.next_address()
        shown = terminal.wait_for("log in to(.|\n)*Ctrl-C")[0]
        port = redirect_port(address)
        assert port in listeners()
        _, page = visit(address, "allow")
        answer = answer_of(user, terminal)
        assert terminal.state == terminal.before
    assert SESSION in shown
    assert address in shown
    assert "You can close this page" in page
    assert answer.password in aws.issued
    assert answer.stderr == b""
    assert port not in listeners()
    assert aws.count("StartDeviceAuthorization") == 0


def test_a_desktop_without_a_terminal_will_do(with_session: User, aws: Aws) -> None:
    """As from an editor that was started by a click."""
    user = with_session
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(user.home.get, HOST)
        visit(user.next_address(), "allow")
        answer = got.result()
    assert answer.password in aws.issued
    assert answer.stderr == b""


def test_all_three_accounts_by_one_login(user: User, aws: Aws) -> None:
    with user.at_terminal(gets([registry(a) for a in ACCOUNTS])) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert terminal.wait() == 0
    for account, answer in zip(ACCOUNTS, answers(user, 3), strict=True):
        assert aws.issued[answer.password].account == account
    assert aws.count("StartDeviceAuthorization") == 1


def test_ten_gets_one_login_one_window_ten_answers(user: User, aws: Aws) -> None:
    user.add_browser()
    hosts = [registry(ACCOUNTS[n % 3]) for n in range(10)]
    with user.at_terminal(gets(hosts)) as terminal:
        address = user.next_address()
        time.sleep(1)  # lest others should still come
        visit(address, "allow")
        assert terminal.wait() == 0
        assert len(re.findall(CODE, terminal.shown)) == 1
    for host, answer in zip(hosts, answers(user, 10), strict=True):
        assert aws.issued[answer.password].account == host[:12]
        assert answer.stderr == b""
    assert user.addresses == [address]
    assert aws.count("RegisterClient") == aws.count("StartDeviceAuthorization") == 1
    assert aws.count("GetAuthorizationToken") == 3


def test_ten_gets_refused_are_ten_errors_at_once(user: User, aws: Aws) -> None:
    hosts = [registry(ACCOUNTS[n % 3]) for n in range(10)]
    with user.at_terminal(gets(hosts)) as terminal:
        code = terminal.wait_for(CODE)[1]
        time.sleep(1)
        aws.deny(code)
        began = time.monotonic()
        assert terminal.wait() == 0
        assert time.monotonic() - began < 30
    for host, answer in zip(hosts, answers(user, 10), strict=True):
        assert "the login was refused" in answer.line
        assert host in answer.line
    assert aws.count("StartDeviceAuthorization") == 1
    assert aws.count("GetAuthorizationToken") == 0


def test_the_portal_ended_the_session_before_its_time(user: User, aws: Aws) -> None:
    """The token file says it is good for hours; the portal says it is not."""
    aws.write_sso_token(user.home.path, START_URL)
    aws.end_session()
    with user.at_terminal(GET) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer_of(user, terminal).password in aws.issued


def test_denied_in_the_browser(with_session: User) -> None:
    user = with_session
    with user.at_terminal(GET) as terminal:
        _, page = visit(user.next_address(), "deny")
        answer = answer_of(user, terminal)
    assert "Not logged in" in page
    assert "the login was refused (access_denied)" in answer.line
    assert HOST in answer.line


def test_a_browser_that_does_not_start(user: User, aws: Aws) -> None:
    """The address stands on the terminal: the user opens it by hand."""
    user.use_session_profiles()
    with user.at_terminal(GET, BROWSER="/nonexistent/browser") as terminal:
        address = terminal.wait_for(r"http://127\.0\.0\.1:\S+")[0]
        visit(address, "allow")
        assert answer_of(user, terminal).password in aws.issued


# Nobody is there


@pytest.mark.parametrize(
    "environment",
    [{"ECR_PY_LOGIN": "never"}, {"CI": "true"}, {"CI": "1"}],
    ids=["ECR_PY_LOGIN", "CI=true", "CI=1"],
)
def test_nobody_is_asked_where_that_is_said(
    with_session: User, aws: Aws, environment: dict[str, str]
) -> None:
    user = with_session
    began = time.monotonic()
    with user.at_terminal(GET, **environment) as terminal:
        answer = answer_of(user, terminal)
        assert terminal.shown == ""
    assert time.monotonic() - began < 30
    assert answer.stderr == answer.stdout
    assert f"ecr-py login {SESSION}" in answer.line
    assert HOST in answer.line
    assert user.calls() == []
    assert user.addresses == []


def test_nobody_is_asked_where_the_settings_say_so(with_session: User, aws: Aws) -> None:
    user = with_session
    user.home.write(user.home.settings, '[defaults]\nlogin = "never"\n')
    with user.at_terminal(GET) as terminal:
        answer = answer_of(user, terminal)
    assert f"ecr-py login {SESSION}" in answer.line
    assert user.calls() == []
    # The environment outranks the settings.
    with user.at_terminal(GET, ECR_PY_LOGIN="auto") as terminal:
        visit(user.next_address(), "allow")
        assert answer_of(user, terminal).code == 0


def test_a_word_that_ecr_py_login_does_not_know(with_session: User) -> None:
    """A typing error must not open browsers in a build."""
    user = with_session
    with user.at_terminal(GET, ECR_PY_LOGIN="nevr") as terminal:
        answer = answer_of(user, terminal)
    assert "ECR_PY_LOGIN" in answer.line
    assert user.addresses == []


def test_without_terminal_and_browser_one_line_at_once(user: User, aws: Aws) -> None:
    began = time.monotonic()
    line = user.home.get(HOST).line
    assert time.monotonic() - began < 30
    assert "ecr-py login dev" in line
    assert user.calls() == []


def test_public_images_never_begin_a_login(user: User, aws: Aws) -> None:
    """Not even where the profile that would answer has a session."""
    user.add_browser()
    for environment in ({"AWS_PROFILE": "dev"}, {}):
        script = "echo public.ecr.aws | docker-credential-ecr-py get >out 2>err"
        with user.at_terminal(script, **environment) as terminal:
            answer = answer_of(user, terminal)
            assert terminal.shown == ""
        assert answer.line == "credentials not found in native keychain"
        assert answer.stderr == b""
    assert aws.count("StartDeviceAuthorization") == 0
    assert user.addresses == []


def test_renewal_in_the_background_never_begins_a_login(with_session: User, aws: Aws) -> None:
    """What is ageing is answered; that its renewal fails nobody notices, least of all by a page."""
    user = with_session
    aws.write_sso_token(user.home.path, START_URL, session=SESSION)
    password = user.home.get(HOST).password
    let_pass(user.home, HALF_LIFE + 60)
    aws.end_session()
    aws.reset_calls()
    with user.at_terminal(GET) as terminal:
        assert answer_of(user, terminal).password == password
        eventually(lambda: aws.count("GetRoleCredentials"))
        eventually(lambda: not renewals(user.home))
        assert terminal.shown == ""
    assert user.addresses == []
    assert user.calls() == ["GetRoleCredentials"]


# Silently


def soon_over(user: User, aws: Aws, lifetime: float = 120) -> Path:
    """A session whose access token is near its end, and can be refreshed."""
    return aws.write_sso_token(
        user.home.path, START_URL, session=SESSION, lifetime=lifetime, refresh=True
    )


@pytest.mark.parametrize("lifetime", [-3600, 30, 120, 14 * 60])
def test_a_session_is_refreshed_without_a_word(
    with_session: User, aws: Aws, lifetime: float
) -> None:
    user = with_session
    file = soon_over(user, aws, lifetime)
    before = json.loads(file.read_text())
    answer = user.home.get(HOST)
    assert answer.password in aws.issued
    assert answer.stderr == b""
    assert user.addresses == []
    assert user.calls() == ["CreateToken", "GetRoleCredentials", "GetAuthorizationToken"]
    after = json.loads(file.read_text())
    assert after["accessToken"] != before["accessToken"]
    assert after["refreshToken"] != before["refreshToken"]
    assert {key: after[key] for key in ("clientId", "startUrl", "registrationExpiresAt")} == {
        key: before[key] for key in ("clientId", "startUrl", "registrationExpiresAt")
    }


def test_a_session_that_has_long_to_go_is_not_refreshed(with_session: User, aws: Aws) -> None:
    soon_over(with_session, aws, lifetime=3000)
    assert with_session.home.get(HOST).code == 0
    assert aws.count("CreateToken") == 0


def test_ten_gets_refresh_once(with_session: User, aws: Aws) -> None:
    """A refresh token is good for one use: a second refresh would end the session."""
    user = with_session
    soon_over(user, aws, lifetime=-60)
    aws.fault("CreateToken", "delay", seconds=0.5)
    hosts = [registry(ACCOUNTS[n % 3]) for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        got = list(pool.map(user.home.get, hosts))
    for host, answer in zip(hosts, got, strict=True):
        assert aws.issued[answer.password].account == host[:12]
    assert aws.count("CreateToken") == 1


def test_a_refresh_token_that_is_refused_leads_to_a_login(with_session: User, aws: Aws) -> None:
    user = with_session
    soon_over(user, aws, lifetime=-60)
    aws.refresh_tokens.clear()
    with user.at_terminal(GET) as terminal:
        visit(user.next_address(), "allow")
        assert answer_of(user, terminal).password in aws.issued


def test_a_refresh_token_that_is_refused_where_nobody_is(user: User, aws: Aws) -> None:
    user.use_session_profiles()
    soon_over(user, aws, lifetime=-60)
    aws.refresh_tokens.clear()
    assert f"ecr-py login {SESSION}" in user.home.get(HOST).line


def test_a_refresh_that_is_refused_while_the_session_lives(user: User, aws: Aws) -> None:
    """Ten minutes are left: nobody needs to be troubled yet."""
    user.use_session_profiles()
    soon_over(user, aws, lifetime=600)
    aws.refresh_tokens.clear()
    assert user.home.get(HOST).password in aws.issued


def test_a_portal_that_answers_a_refresh_with_html(user: User, aws: Aws) -> None:
    user.use_session_profiles()
    file = soon_over(user, aws, lifetime=-60)
    before = file.read_text()
    aws.fault("CreateToken", "garbage", times=1)
    assert "cannot be read" in user.home.get(HOST).line
    assert file.read_text() == before
    assert user.home.get(HOST).password in aws.issued


def test_a_refresh_that_fails_while_the_session_lives(user: User, aws: Aws) -> None:
    user.use_session_profiles()
    soon_over(user, aws, lifetime=600)
    aws.fault("CreateToken", "garbage", times=1)
    assert user.home.get(HOST).password in aws.issued


# Given up


def test_the_time_limit_ends_the_wait_cleanly(with_session: User, aws: Aws) -> None:
    user = with_session
    user.home.write(user.home.settings, "[defaults]\nlogin_timeout = 10\n")
    began = time.monotonic()
    with user.at_terminal(GET) as terminal:
        port = redirect_port(user.next_address())
        answer = answer_of(user, terminal)
        assert terminal.state == terminal.before
    assert 9 < time.monotonic() - began < 60
    assert "the login was not approved within 10 seconds" in answer.line
    assert HOST in answer.line
    assert port not in listeners()
    assert user.token_files() == []


@pytest.mark.parametrize("grant", ["device", "code"])
@pytest.mark.parametrize("command", ["get", "login"])
def test_ctrl_c_leaves_nothing_behind(user: User, aws: Aws, grant: str, command: str) -> None:
    user.use_session_profiles()
    if grant == "code":
        user.add_browser()
    port = 0
    with user.at_terminal("ecr-py login" if command == "login" else GET) as terminal:
        if grant == "code":
            port = redirect_port(user.next_address())
            assert port in listeners()
        terminal.wait_for("Ctrl-C")
        time.sleep(0.3)
        terminal.type("\x03")
        began = time.monotonic()
        assert terminal.wait() in (1, 130)
        assert time.monotonic() - began < 30
        assert terminal.state == terminal.before
        assert "Traceback" not in terminal.shown
        if command == "login":
            # The cursor that a spinner hides is back.
            assert terminal.shown.rfind("\x1b[?25h") >= terminal.shown.rfind("\x1b[?25l")
            assert terminal.shown.rstrip().splitlines()[-1].endswith("ecr-py: cancelled")
        else:
            out, err = (user.home.path / name for name in ("out", "err"))
            assert b"Secret" not in out.read_bytes()
            assert b"Traceback" not in err.read_bytes()
    assert port not in listeners()
    assert leftovers([user.home.path]) == []
    assert user.token_files() == []
    # And whoever comes next is not kept waiting. A get would fail at once: see test_refused.
    if grant == "device":
        with user.at_terminal("ecr-py login && " + GET) as terminal:
            aws.approve(terminal.wait_for(CODE)[1])
            assert answer_of(user, terminal).password in aws.issued


def test_ctrl_c_in_a_crowd_ends_all(user: User, aws: Aws) -> None:
    """They wait for one login; the one key reaches them all."""
    # `sh` lets what it starts in the background ignore the key: env --default-signal undoes it.
    script = gets([HOST] * 3).replace(
        "docker-credential-ecr-py get", "env --default-signal=INT docker-credential-ecr-py get"
    )
    with user.at_terminal(script) as terminal:
        terminal.wait_for(CODE)
        time.sleep(0.5)
        terminal.type("\x03")
        eventually(lambda: not helpers(user))
    assert aws.count("GetAuthorizationToken") == 0
    assert aws.count("StartDeviceAuthorization") == 1


def test_a_terminal_that_is_closed_ends_the_wait(user: User) -> None:
    """The window is closed while the login waits: no process stays behind."""
    with user.at_terminal(GET) as terminal:
        terminal.wait_for(CODE)
        assert helpers(user)
    eventually(lambda: not helpers(user))


def test_the_lock_of_one_who_was_killed_is_free(user: User, aws: Aws) -> None:
    with user.at_terminal(GET) as terminal:
        terminal.wait_for(CODE)
        for process in helpers(user):
            os.kill(process, signal.SIGKILL)
        assert terminal.wait() != 0
    with user.at_terminal(GET) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer_of(user, terminal).code == 0
