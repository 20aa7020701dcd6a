"""What is said of a connection that failed: the cause and a command, and no Python object."""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from unittest import mock

import pytest
import trustme
from botocore.awsrequest import AWSRequest

from docker_credential_ecr_py import shell
from docker_credential_ecr_py.aws.connection import HttpSession
from docker_credential_ecr_py.aws.connection_errors import cause_of
from docker_credential_ecr_py.aws.session import network_error
from tests.support.surroundings import KEPT_ON_WINDOWS

AWS = "https://api.ecr.eu-west-1.amazonaws.com/"
Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[str]:
    """A server on loopback that does this to each connection, and then closes it: host and port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        serve(connection)

        Thread(target=run, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):  # Windows refuses, and ends the accept when it is closed
            listener.shutdown(socket.SHUT_RDWR)


def closes(connection: socket.socket) -> None:
    connection.recv(4096)


def resets(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    )


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def answers(text: str) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(text.encode())

    return serve


def speaks_tls(authority: trustme.CA, *names: str) -> Serve:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)

    def serve(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    return serve


@pytest.fixture(autouse=True)
def environment() -> Iterator[dict[str, str]]:
    kept = {name: os.environ[name] for name in KEPT_ON_WINDOWS if name in os.environ}
    with mock.patch.dict(os.environ, kept | {"PATH": "/usr/bin"}, clear=True):
        yield kept


def said_of(url: str, bundle: Path | str = "", proxy: str = "", seconds: float = 10) -> str:
    """The line for a request that fails, which must be fit to be shown."""
    if proxy:
        os.environ["HTTPS_PROXY"] = proxy
    verify = str(bundle) if bundle else True
    proxies = {"https": proxy} if proxy else {}
    with pytest.raises(Exception) as raised:
        HttpSession(verify, proxies, seconds).send(AWSRequest("GET", f"{url}?role=x").prepare())
    line = str(network_error(raised.value))
    assert line.startswith("ecr-py: AWS cannot be reached"), line
    assert not re.search(r"Error|object at|Pool|urllib|Errno|\?role|hunter2", line), line
    assert line.endswith("`"), line
    return line


@pytest.mark.parametrize(
    ("serve", "scheme", "words"),
    [
        (closes, "http", "the connection was reset"),
        (resets, "http", "the connection was reset"),
        pytest.param(
            *(resets, "https", "the connection was reset"),
            marks=pytest.mark.posix_only("wine reports a reset in the TLS handshake as an end"),
        ),
        (closes, "https", "the connection was closed in the TLS handshake"),
        (answers("SSH-2.0\r\n"), "http", "the server does not speak HTTP"),
        (answers("SSH-2.0\r\n"), "https", "the server does not speak TLS"),
    ],
)
def test_a_server_that_is_not_aws(serve: Serve, scheme: str, words: str) -> None:
    with server(serve) as address:
        line = said_of(f"{scheme}://{address}/")
    assert f"AWS cannot be reached at {scheme}://{address}: {words}: " in line


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_says_nothing(scheme: str) -> None:
    with server(says_nothing) as address:
        line = said_of(f"{scheme}://{address}/", seconds=0.3)
    assert ": no answer in time: check your network or VPN, then run `ecr-py doctor`" in line


def test_a_server_that_cannot_be_connected_to() -> None:
    """Its queue is full, so that packets get lost."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        assert ": no connection in time: " in said_of(f"https://127.0.0.1:{port}/", seconds=0.3)


def test_a_port_that_is_closed_and_a_name_that_is_not_known() -> None:
    line = said_of("http://127.0.0.1:1/path")
    assert "AWS cannot be reached at http://127.0.0.1:1: connection refused: " in line
    assert "DNS does not know its name" in said_of("https://nowhere.invalid/") or (
        "DNS gave no answer" in said_of("https://nowhere.invalid/")
    )


def test_an_endpoint_of_the_environment_is_named() -> None:
    os.environ["AWS_ENDPOINT_URL_ECR"] = "http://127.0.0.1:1"
    assert f"run `{shell.unset('AWS_ENDPOINT_URL_ECR')}`" in said_of("http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("status", "user", "words", "command"),
    [
        (407, "", "wants a user and password", ""),
        (407, "bob:hunter2@", "rejects the user and password", ""),
        (502, "", "refuses the connection (status 502)", shell.unset("HTTPS_PROXY")),
    ],
)
def test_a_proxy_that_refuses(status: int, user: str, words: str, command: str) -> None:
    with server(answers(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")) as address:
        line = said_of(AWS, proxy=f"http://{user}{address}")
    assert f"the proxy {address} {words}" in line
    command = command or shell.export("HTTPS_PROXY", f"http://USER:PASSWORD@{address}")
    assert f"run `{command}`" in line


def test_a_proxy_that_cannot_be_reached() -> None:
    line = said_of(AWS, proxy="http://bob:hunter2@127.0.0.1:1")
    assert "the proxy 127.0.0.1:1 cannot be reached (connection refused)" in line
    # The one in lower case is used: both have to go.
    os.environ["https_proxy"] = "http://127.0.0.1:1"
    line = said_of(AWS, proxy="http://127.0.0.1:1")
    # On Windows they are one.
    named = ["HTTPS_PROXY"] if os.name == "nt" else ["https_proxy", "HTTPS_PROXY"]
    assert line.endswith(f"correct {named[0]}, or run `{shell.unset(*named)}`")


def test_a_proxy_that_is_none() -> None:
    with server(answers("SSH-2.0\r\n")) as address:
        line = said_of(AWS, proxy=f"http://{address}")
        assert "the server or the proxy does not speak HTTP" in line
        assert line.endswith(f"`{shell.unset('HTTPS_PROXY')}`")
        assert "does not speak TLS" in said_of(AWS, proxy=f"https://{address}")
    assert "cannot use a SOCKS proxy" in said_of(AWS, proxy="socks5://127.0.0.1:1")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x800B0101, "is not valid now (no): check the clock"),
        (0x800B0109, "is not trusted (no): add its CA to this machine's certificates"),
        (0x800B010A, "is not trusted (no): add its CA to this machine's certificates"),
        (0x80092010, "is not valid (no): check your network"),
    ],
)
def test_a_certificate_that_windows_refuses(code: int, words: str) -> None:
    """As truststore raises it, with the code and the words of Windows."""
    error = ssl.SSLCertVerificationError("no")
    error.verify_code, error.verify_message = code, "no"
    cause = cause_of(error, AWS)
    assert words in f"{cause.words}: {cause.hint}"


# OpenSSL's words. Windows has its own, and wine's do not tell an untrusted certificate from one for
# another address.
@pytest.mark.posix_only("Windows verifies certificates itself")
def test_certificates(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    ours, theirs, empty = (tmp_path / name for name in ("ours.pem", "theirs.pem", "empty.pem"))
    authority.cert_pem.write_to_path(ours)
    other.cert_pem.write_to_path(theirs)
    empty.write_text("none\n")
    with server(speaks_tls(authority, "127.0.0.1")) as address:
        url = f"https://{address}/"
        assert "its certificate is not trusted (unable to get local issuer" in said_of(url)
        line = said_of(url, theirs)
        assert f"ca_bundle names {theirs}, which lacks its CA" in line
        assert line.endswith("correct ca_bundle, or run `export AWS_CA_BUNDLE=FILE`")
        os.environ["AWS_CA_BUNDLE"] = str(theirs)
        assert "correct AWS_CA_BUNDLE, or run `unset AWS_CA_BUNDLE`" in said_of(url, theirs)
        del os.environ["AWS_CA_BUNDLE"]
        for file, problem in (
            (empty, "holds no certificates"),
            (tmp_path / "no.pem", "does not exist"),
            (tmp_path, "cannot be read (is a directory)"),
        ):
            assert f"ca_bundle names {file}, which {problem}" in said_of(url, file)
    with server(speaks_tls(authority, "elsewhere.example")) as address:
        assert "its certificate is for another host" in said_of(f"https://{address}/", ours)
    with server(speaks_tls(authority, "127.0.0.1")) as address:
        # A proxy that speaks TLS itself: the operating system's store counts for it, too.
        line = said_of(AWS, proxy=f"https://{address}")
        assert f"the proxy {address} cannot be reached (its certificate is not trusted" in line
        os.environ["SSL_CERT_FILE"] = str(ours)
        line = said_of(AWS, proxy=f"https://{address}")
        assert "its certificate" not in line
