"""A listener on the loopback for the one redirect that ends a login in a browser.

It answers that redirect once, and all else with 404; it is closed afterwards. If the browser is
another user's, the page says so: the login would be that user's.
"""

import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.sso.login_page import HEADERS, page
from docker_credential_ecr_py.sso.peer import is_same_user

PATH = "/oauth/callback"
_ANOTHER_USER = "This browser runs as another user than ecr-py: use `ecr-py login --device`"
# Seconds: an idle connection of the browser's, and how long its tab waits for the token.
_IDLE, _LONGEST_EXCHANGE = 10, 40


@dataclass
class Redirect:
    """The redirect that a login waits for, and its page."""

    port: int
    state: str = field(repr=False)
    code: str = field(default="", repr=False)
    error: str = ""
    arrived: threading.Event = field(default_factory=threading.Event)
    _finished: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _taken: bool = False
    _shown: threading.Event = field(default_factory=threading.Event)
    _failure: str = ""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def finish(self, failure: str = "") -> None:
        """Let the browser show the page, with a `failure` or "", and wait until it has it."""
        self._failure = failure
        self._finished.set()
        if self._taken:
            self._shown.wait(2)

    def take(self, query: str) -> bytes | None:
        """Return the page for a redirect; None if it is not the one that the login waits for."""
        given = parse_qs(query)
        state, code, error = (given.get(key, [""])[0] for key in ("state", "code", "error"))
        if not hmac.compare_digest(state.encode(), self.state.encode()) or not (code or error):
            return None
        with self._lock:
            if self._taken:
                return None
            self._taken = True
        self.code, self.error = code, error
        self.arrived.set()
        self._finished.wait(_LONGEST_EXCHANGE)
        return page(self._failure)

    def shown(self) -> None:
        self._shown.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # browsers open more connections than they use

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it: a browser that goes away does not affect the login."""


@contextmanager
def listening(state: str) -> Iterator[Redirect]:
    """Listen on a free port of 127.0.0.1 as long as the context lasts. Raises OSError."""
    redirect = Redirect(0, state)
    with serving(PATH, redirect.take, redirect.shown) as redirect.port:
        try:
            yield redirect
        finally:
            redirect.finish(redirect._failure or "The login was cancelled")


@contextmanager
def serving(
    path: str, answer: Callable[[str], bytes | None], sent: Callable[[], None] = lambda: None
) -> Iterator[int]:
    """Serve one path to the browser of this user, on a free port of 127.0.0.1. Yield the port.

    `answer` makes the page from the query, or returns None if nothing is there; `sent` is called
    once the page has been sent. Raises OSError.
    """

    warned = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        timeout = _IDLE

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path != path:
                self.send_error(404)
                return
            if not is_same_user(self.connection):
                if not warned.is_set():
                    warned.set()
                    log.warning(
                        "a request from another user's browser, or one that had exited, was refused"
                    )
                self._send(403, page(_ANOTHER_USER))
                return
            body = answer(url.query)
            if body is None:
                self.send_error(404)
                return
            try:
                self._send(200, body)
            finally:
                sent()

        def send_error(
            self, code: int, message: str | None = None, explain: str | None = None
        ) -> None:
            """Answer 404 to every wrong method, path or request."""
            self.close_connection = True
            self._send(404, b"")

        def version_string(self) -> str:
            return "ecr-py"

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: the request line holds the code."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
