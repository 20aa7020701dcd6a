"""/metrics, /healthz and /readyz."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from docker_credential_ecr_py.controller import metrics
from docker_credential_ecr_py.controller.metrics import Metrics, MetricsServer
from docker_credential_ecr_py.errors import CannotRun


@contextmanager
def serving(
    counted: Metrics | None = None, ill: str = "", unready: str = ""
) -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1:0", counted or Metrics(), lambda: ill, lambda: unready)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask(server: MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def sample(text: str, name: str) -> float:
    families = text_string_to_metric_families(text)
    return next(one.value for family in families for one in family.samples if one.name == name)


def test_prometheus_can_read_the_metrics() -> None:
    counted = Metrics(lambda: 1000.0)
    counted.set_first_expiry(4600.0)
    counted.writes.labels("ok").inc()
    with serving(counted) as server:
        status, text = ask(server, "/metrics")
    assert status == 200
    assert sample(text, "ecr_py_controller_first_expiry_seconds") == 3600
    assert sample(text, "ecr_py_controller_writes_total") == 1
    assert sample(text, "process_resident_memory_bytes") > 0


def test_without_secrets_nothing_expires() -> None:
    expiry = sample(Metrics().text().decode(), "ecr_py_controller_first_expiry_seconds")
    assert expiry != expiry  # NaN


@pytest.mark.parametrize(
    ("path", "ill", "unready", "answer"),
    [
        ("/healthz", "", "not listed yet", (200, "ok\n")),
        ("/readyz", "", "not listed yet", (503, "not listed yet\n")),
        ("/healthz", "the loop hangs", "", (503, "the loop hangs\n")),
        ("/readyz?verbose", "", "", (200, "ok\n")),
        ("/", "", "", (404, "see /metrics, /healthz and /readyz\n")),
    ],
)
def test_health(path: str, ill: str, unready: str, answer: tuple[int, str]) -> None:
    with serving(ill=ill, unready=unready) as server:
        assert ask(server, path) == answer


@pytest.mark.parametrize("address", ["x", "8080:x", ":x", ":99999", "256.1.1.1:80", "[::1:80", ""])
def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(CannotRun, match=re.escape(address) or "address"):
        MetricsServer(address, Metrics(), str, str)


def test_a_port_that_is_taken() -> None:
    with serving() as server, pytest.raises(CannotRun, match=r"cannot listen at .*: \w"):
        MetricsServer(f"127.0.0.1:{server.port}", Metrics(), str, str)


def test_connections_that_say_little_keep_no_probe_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_MOST_CONNECTIONS", 2)
    with serving() as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for each in slow:
            each.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        with slow[0] as oldest:
            assert oldest.recv(1) == b""
        assert ask(server, "/healthz") == (200, "ok\n")
        for each in slow[1:]:
            each.close()
