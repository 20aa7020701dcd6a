"""/metrics for Prometheus, and /healthz and /readyz for the kubelet, over HTTP."""

import re
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.errors import CannotRun

# Seconds after which a connection that sends nothing is closed, and how many there may be.
_IDLE = 10
_MOST_CONNECTIONS = 50
_PREFIX = "ecr_py_controller"


class Metrics:
    """What the controller counts and measures. Names and units as Prometheus wants them."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._now = now
        self._first_expiry: float | None = None
        self._gauge("info", "Version of the controller.", "version").labels(__version__).set(1)
        self.leader = self._gauge("leader", "1 if this replica holds the lease.")
        self.namespaces = self._gauge("namespaces", "Namespaces with at least one grant.")
        self.secrets = self._gauge(
            "secrets",
            "Secrets by state: current, due, waiting for a token, left_alone (not ours), expired.",
            "state",
        )
        self.writes = self._counter(
            "writes", "Writes to the API server by result: ok, conflict, invalid, …", "result"
        )
        self.aws_calls = self._counter("aws_calls", "Tokens asked of AWS by result.", "result")
        self.grants_valid = self._gauge(
            "grants_valid", "1 if the grants file was valid when it was last read."
        )
        self.cluster_current = self._gauge(
            "cluster_current", "1 if all watches of the API server are current."
        )
        self.delay = self._histogram(
            "secret_delay_seconds",
            "Seconds from seeing a namespace that has no secret to writing its secret.",
        )
        self._gauge(
            "first_expiry_seconds",
            "Seconds until the first token in a secret expires; negative if one has. NaN if none.",
        ).set_function(self._seconds_to_expiry)

    def set_first_expiry(self, when: float | None) -> None:
        """Set when the first token in any secret expires, in seconds since the epoch."""
        self._first_expiry = when

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _seconds_to_expiry(self) -> float:
        return float("nan") if self._first_expiry is None else self._first_expiry - self._now()

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", help_text, labels, registry=self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", help_text, registry=self.registry)


def result_name(error: Exception) -> str:
    """Return an error as a label has it: too_many_requests."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


class MetricsServer:
    """Serves a process's metrics and health at `address`, such as ":8080", in threads.

    `ill` and `unready` return a line that says why the process should be restarted, or cannot work
    yet; "" if all is well.
    """

    def __init__(
        self,
        address: str,
        metrics: Metrics,
        ill: Callable[[], str],
        unready: Callable[[], str],
    ) -> None:
        host, port = _split(address)
        try:
            self._http = _Server((host, port), _handler(metrics, ill, unready))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise CannotRun(f"cannot listen at {address}: {why}") from None

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def start(self) -> None:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._connections: OrderedDict[socket.socket, None] = OrderedDict()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind, to both IPv6 and IPv4 if to "::". Ask no name server for our own name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection. If there are too many, end the oldest, as one that is slow may be.

        A probe of the kubelet must get its turn, or it restarts us.
        """
        if len(self._connections) >= _MOST_CONNECTIONS:
            with suppress(KeyError, OSError):  # it has ended meanwhile
                oldest, _ = self._connections.popitem(last=False)
                oldest.shutdown(socket.SHUT_RDWR)
        self._connections[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients may go away."""


def _handler(
    metrics: Metrics, ill: Callable[[], str], unready: Callable[[], str]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _IDLE
        server_version = "ecr-py"
        sys_version = ""

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._reply(200, metrics.text(), CONTENT_TYPE_LATEST)
                case "/healthz":
                    self._reply_health(ill())
                case "/readyz":
                    self._reply_health(unready())
                case _:
                    self._reply(404, b"see /metrics, /healthz and /readyz\n")

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def _reply_health(self, problem: str) -> None:
            self._reply(503 if problem else 200, f"{problem or 'ok'}\n".encode())

        def _reply(
            self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log no requests: there is one every few seconds."""

    return Handler


def _split(address: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT", ":PORT" or "[IPV6]:PORT". Raises CannotRun."""
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= 65535
    if not is_port or host.startswith("[") != host.endswith("]"):
        raise CannotRun(f"{address} is not an address such as :8080 or 127.0.0.1:8080")
    return host.strip("[]") or ("::" if socket.has_dualstack_ipv6() else ""), int(port)
