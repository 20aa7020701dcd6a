"""What the stand-ins share: a threaded HTTP server on loopback, and a request handler."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """An HTTP request, read to its end."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        with contextlib.suppress(ValueError):
            document = json.loads(self.body)
            if isinstance(document, dict):
                return document
        return {}

    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode("latin-1")))


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; `body` is sent as it is."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, document: object, status: int = 200, headers: Mapping[str, str] = {}) -> Reply:
        body = json.dumps(document).encode()
        return cls(status, body, {"Content-Type": "application/json", **headers})

    @classmethod
    def html(cls, page: str, status: int = 200) -> Reply:
        return cls(status, page.encode(), {"Content-Type": "text/html; charset=utf-8"})


class Handler(BaseHTTPRequestHandler):
    """A quiet HTTP/1.1 handler that writes head and body in one go; subclasses `answer`."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # unbuffered, head and body would go out apart and wait for each other's ACK
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Answer the request whose head has been read, whatever its method."""
        raise NotImplementedError

    def _dispatch(self) -> None:
        self.answer()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = _dispatch  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def read_request(self) -> Request:
        """The whole request; its body must have a length."""
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return Request(self.command, path, dict(parse_qsl(query)), self.headers, body)

    def reply(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def reset(self) -> NoReturn:
        """Break the connection off: the client sees a reset, not an end."""
        no_time = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_time)
        for end in (self.rfile, self.wfile, self.connection):  # each holds the socket open
            end.close()
        raise ConnectionResetError

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the peer, or we, have gone already
            super().finish()

    @property
    def scheme(self) -> str:
        return "https" if isinstance(self.connection, ssl.SSLSocket) else "http"

    @property
    def host(self) -> str:
        """The host that the client asked for, in lower case, without a port."""
        return (self.headers.get("Host") or "").lower().partition(":")[0]


class Server:
    """A threaded HTTP server on a free port of 127.0.0.1, as a context manager."""

    handler: type[Handler]

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.http = _Quiet(("127.0.0.1", 0), self.handler, bind_and_activate=False)
        self.http.owner = self

    @property
    def port(self) -> int:
        return int(self.http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.http.server_bind()
        self.http.server_activate()
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    owner: Any

    def server_bind(self) -> None:
        # Without HTTPServer's look-up of the host's name, which can ask a name server.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # clients may go away whenever they like
            super().handle_error(request, client_address)  # type: ignore[arg-type]
