"""The listener that a browser login ends at: one redirect, on the loopback, and gone afterwards."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlencode

import pytest

from docker_credential_ecr_py.sso.redirect import Redirect, listening
from tests.support.user import User, visit

STATE = "state-of-this-login"


@pytest.fixture
def redirect() -> Iterator[Redirect]:
    with listening(STATE) as redirect:
        yield redirect


def ask(redirect: Redirect, path: str, method: str = "GET") -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", redirect.port, timeout=10)
    connection.request(method, path)
    return connection.getresponse()


def callback(**query: str) -> str:
    return f"/oauth/callback?{urlencode(query)}"


def brought(redirect: Redirect, **query: str) -> tuple[HTTPResponse, str]:
    """What the browser gets, where the login then succeeds."""
    with ThreadPoolExecutor(1) as pool:
        page = pool.submit(ask, redirect, callback(**query))
        assert redirect.arrived.wait(20)
        redirect.finish()
        answer = page.result()
        return answer, answer.read().decode()


def test_one_redirect_is_answered(redirect: Redirect) -> None:
    answer, text = brought(redirect, state=STATE, code="the-code")
    assert answer.status == 200
    assert "You can close this page" in text
    assert (redirect.code, redirect.error) == ("the-code", "")


def test_a_second_redirect_is_not(redirect: Redirect) -> None:
    brought(redirect, state=STATE, code="the-code")
    assert ask(redirect, callback(state=STATE, code="another")).status == 404
    assert redirect.code == "the-code"


def test_of_many_redirects_at_once_one_is_answered(redirect: Redirect) -> None:
    with ThreadPoolExecutor(8) as pool:
        pages = [
            pool.submit(ask, redirect, callback(state=STATE, code=f"code-{n}")) for n in range(8)
        ]
        assert redirect.arrived.wait(20)
        redirect.finish()
        assert sorted(page.result().status for page in pages) == [200] + [404] * 7


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/favicon.ico",
        f"/oauth/callback/?state={STATE}&code=x",
        f"/OAuth/Callback?state={STATE}&code=x",
        f"/oauth/callback;x?state={STATE}&code=x",
        "/oauth/callback",
        f"/oauth/callback?state={STATE}",
        f"/oauth/callback?state={STATE}&code=",
        "/oauth/callback?code=x",
        "/oauth/callback?state=&code=x",
        f"/oauth/callback?state={STATE}x&code=x",
        f"/oauth/callback?state={STATE[:-1]}&code=x",
        f"/oauth/callback?state=other&state={STATE}&code=x",
        "/oauth/callback?state=%FF%FE&code=x",
        "/oauth/callback?state=%E2%82%AC&code=x",
        "/oauth/callback?state=other&error=access_denied",
    ],
)
def test_anything_else_is_not_found_and_waited_past(redirect: Redirect, path: str) -> None:
    answer = ask(redirect, path)
    assert answer.status == 404
    assert STATE not in answer.read().decode()
    assert not redirect.arrived.is_set()
    assert brought(redirect, state=STATE, code="the-code")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_no_other_method_brings_a_code(redirect: Redirect, method: str) -> None:
    assert ask(redirect, callback(state=STATE, code="x"), method).status == 404
    assert not redirect.arrived.is_set()


@pytest.mark.parametrize("path", ["/", "/oauth/callback?state=%3Cscript%3E&code=x", "/<script>"])
def test_what_is_not_found_tells_nothing(redirect: Redirect, path: str) -> None:
    """Neither what it was asked, nor what serves here; and it may run nothing."""
    answer = ask(redirect, path)
    text = answer.read().decode()
    assert "script" not in text
    assert "Python" not in (answer.headers["Server"] or "")
    assert "default-src 'none'" in (answer.headers["Content-Security-Policy"] or "")


def test_it_listens_on_the_loopback_alone(redirect: Redirect) -> None:
    with open("/proc/net/tcp") as four, open("/proc/net/tcp6") as six:
        rows = [row.split() for row in [*four.readlines()[1:], *six.readlines()[1:]]]
    port = f"{redirect.port:04X}"
    assert [row[1] for row in rows if row[1].endswith(f":{port}") and row[3] == "0A"] == [
        f"0100007F:{port}"
    ]


def test_it_is_gone_afterwards() -> None:
    with listening(STATE) as redirect:
        port = redirect.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)
    assert not [t for t in threading.enumerate() if "serve_forever" in t.name]


def test_connections_that_say_nothing_do_not_keep_it(redirect: Redirect) -> None:
    """Browsers open some in advance."""
    with ExitStack() as idle:
        for _ in range(12):
            idle.enter_context(socket.create_connection(("127.0.0.1", redirect.port)))
        began = time.monotonic()
        assert brought(redirect, state=STATE, code="the-code")[0].status == 200
        assert time.monotonic() - began < 20


def test_nor_do_they_keep_it_from_ending() -> None:
    with ExitStack() as idle:
        with listening(STATE) as redirect:
            for _ in range(3):
                idle.enter_context(socket.create_connection(("127.0.0.1", redirect.port)))
            half = idle.enter_context(socket.create_connection(("127.0.0.1", redirect.port)))
            half.sendall(b"GET /oauth/callback?state=")
            began = time.monotonic()
        assert time.monotonic() - began < 20


def test_a_browser_that_goes_away_does_not_stop_the_login(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its code came: the login goes on without the page, soon, and without a word about it."""
    with listening(STATE) as redirect:
        gone = socket.create_connection(("127.0.0.1", redirect.port))
        gone.sendall(f"GET {callback(state=STATE, code='the-code')} HTTP/1.1\r\n\r\n".encode())
        assert redirect.arrived.wait(20)
        # Not an end but a reset: what is written then fails.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        began = time.monotonic()
        redirect.finish()
    assert time.monotonic() - began < 20
    assert redirect.code == "the-code"
    assert capfd.readouterr().err == ""


def test_the_page_waits_for_the_outcome(redirect: Redirect) -> None:
    with ThreadPoolExecutor(1) as pool:
        page: Future[HTTPResponse] = pool.submit(
            ask, redirect, callback(state=STATE, error="access_denied")
        )
        assert redirect.arrived.wait(20)
        assert redirect.error == "access_denied"
        time.sleep(0.2)
        assert not page.done()
        redirect.finish("The login was <refused> & more")
        text = page.result().read().decode()
    assert "Not logged in" in text
    assert "&lt;refused&gt; &amp; more" in text
    assert "close this page" not in text


def test_neither_code_nor_state_is_shown(redirect: Redirect) -> None:
    assert "the-code" not in repr(redirect)
    assert STATE not in repr(redirect)
    _, text = brought(redirect, state=STATE, code="the-code")
    assert "the-code" not in text
    assert STATE not in text


def test_a_login_outlives_strangers_on_its_port(user: User) -> None:
    """The whole of it: a wrong state, a wrong path, then the right one."""
    user.use_session_profiles()
    user.add_browser()
    with user.at_terminal("ecr-py login") as terminal:
        address = user.next_address()
        port = int(address.partition("127.0.0.1%3A")[2].partition("%2F")[0])
        assert visit(f"http://127.0.0.1:{port}/oauth/callback?state=x&code=y")[0] == 404
        assert visit(f"http://127.0.0.1:{port}/")[0] == 404
        assert visit(address, "allow")[0] == 200
        assert terminal.wait() == 0


def test_a_code_that_is_not_the_portals_is_refused(user: User) -> None:
    """The right state, which only the portal was told, but a code that it did not issue."""
    user.use_session_profiles()
    user.add_browser()
    with user.at_terminal("ecr-py login 2>err") as terminal:
        address = user.next_address()
        port = int(address.partition("127.0.0.1%3A")[2].partition("%2F")[0])
        state = address.partition("&state=")[2].partition("&")[0]
        status, text = visit(f"http://127.0.0.1:{port}/oauth/callback?state={state}&code=y")
        assert terminal.wait() == 1
    assert status == 200
    assert "did not accept" in text
    said = (user.home.path / "err").read_text().splitlines()[-1]
    assert "refused" in said
    assert user.token_files() == []
