"""Time to the error line for each network fault: `python -m benchmarks.network [TIMES]`.

Each fault begins when the caches have been filled. Then TIMES (5) helpers meet it with nothing
cached, and as many with a token in its last five minutes; each has a home of its own. They start a
second apart and wait side by side, because most of them only wait. At the end, hits of a fresh
token are timed with and without the fault, in turn. The faults of DNS need root on Linux.
"""

import os
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import trustme

from benchmarks.measure import Wrong
from tests.standin.aws import Aws
from tests.support.home import DEV, Answer, Home, access_key_id, new_home, registry
from tests.support.records import LIFE, let_pass

# Seconds.
_APART = 1.0
_LEFT = 240
_HITS = 50
_NAME = "aws.example"
_NAME_SERVER = "127.0.0.7"


class Front:
    """An address that leads to AWS until it breaks, then to `fault`.

    `fault` gets each connection. Without one, none is accepted: see `refuse` and `ignore`.
    """

    def __init__(
        self, aws: Aws, fault: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self._aws, self._fault, self._tls = aws, fault, tls
        self.broken = False
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.broken = True
        for held in (self._listener, *self._held):
            held.close()

    def fail(self) -> None:
        self.broken = True

    def refuse(self) -> None:
        """Keep the port, so that no other program gets it, and do not listen."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))

    def ignore(self) -> None:
        """Leave connections without an answer, as if packets were lost: the queue is full."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=0)
        for _ in range(4):
            waits = socket.socket()
            waits.setblocking(False)
            waits.connect_ex(("127.0.0.1", self.port))
            self._held.append(waits)

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                wire, _ = listener.accept()
                threading.Thread(target=self._answer, args=(wire,), daemon=True).start()

    def _answer(self, wire: socket.socket) -> None:
        with suppress(OSError):
            if self.broken and self._fault is not never_answer:
                self._held.append(wire)
                self._fault(wire)
                return
            if self._tls is not None:
                wire = self._tls.wrap_socket(wire, server_side=True)
            if self.broken:
                self._held.append(wire)
                return
            with socket.create_connection(("127.0.0.1", self._aws.server.port)) as aws:
                threading.Thread(target=_pass_on, args=(wire, aws), daemon=True).start()
                _pass_on(aws, wire)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


def say_nothing(wire: socket.socket) -> None:
    """Leave the connection open, with whatever was sent in the kernel's buffer."""


def never_answer(wire: socket.socket) -> None:
    """As `say_nothing`, after the TLS handshake."""


def reset(wire: socket.socket) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


class NameServer:
    """Answers each name with 127.0.0.1, until `answers` is False: then NXDOMAIN, or nothing."""

    def __init__(self, silent: bool, address: str) -> None:
        self.answers, self.silent = True, silent
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((address, 53))

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                asked, client = self._socket.recvfrom(512)
                if self.answers or not self.silent:
                    self._socket.sendto(self._answer(asked), client)

    def _answer(self, asked: bytes) -> bytes:
        end = asked.index(0, 12) + 5
        is_ipv4 = asked[end - 4 : end - 2] == b"\0\1"
        found = self.answers and is_ipv4
        flags = 0x8180 if self.answers else 0x8183
        head = asked[:2] + struct.pack("!HHHHH", flags, 1, found, 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + bytes([127, 0, 0, 1])
        return head + asked[12:end] + (record if found else b"")


@dataclass(frozen=True)
class Way:
    """How the helpers of a fault reach AWS, and what begins the fault."""

    environment: Mapping[str, str]
    begin: Callable[[], None]
    by: tuple[str, ...] = ()  # a command that runs the helper


Fault = Callable[[Aws, Path], AbstractContextManager[Way]]


def _endpoints(aws: Aws, url: str) -> dict[str, str]:
    return dict.fromkeys(aws.environment(), url)


@contextmanager
def _plain(aws: Aws, fault: Callable[[socket.socket], None], begin: str = "fail") -> Iterator[Way]:
    with Front(aws, fault) as front:
        yield Way(_endpoints(aws, f"http://127.0.0.1:{front.port}"), getattr(front, begin))


@contextmanager
def _tls(aws: Aws, folder: Path, fault: Callable[[socket.socket], None]) -> Iterator[Way]:
    authority = trustme.CA()
    bundle = folder / f"{fault.__name__}.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Front(aws, fault, context) as front:
        endpoints = _endpoints(aws, f"https://127.0.0.1:{front.port}")
        yield Way({**endpoints, "AWS_CA_BUNDLE": str(bundle)}, front.fail)


@contextmanager
def _names(aws: Aws, folder: Path, silent: bool) -> Iterator[Way]:
    """A name server of our own, by a resolv.conf that the helper alone sees."""
    address = f"{_NAME_SERVER}{int(silent)}"
    resolv = folder / f"resolv-{silent}.conf"
    resolv.write_text(f"nameserver {address}\n")
    mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    with Front(aws, say_nothing) as front, NameServer(silent, address) as server:
        endpoints = _endpoints(aws, f"http://{_NAME}:{front.port}")
        by = ("unshare", "-m", "sh", "-c", mount, str(resolv))
        yield Way(endpoints, lambda: setattr(server, "answers", False), by)


FAULTS: dict[str, Fault] = {
    "connection refused": lambda aws, _: _plain(aws, say_nothing, "refuse"),
    "connection reset": lambda aws, _: _plain(aws, reset),
    "no DNS: the name is not known": lambda aws, folder: _names(aws, folder, False),
    "no DNS: the name server says nothing": lambda aws, folder: _names(aws, folder, True),
    "packets lost: no connection": lambda aws, _: _plain(aws, say_nothing, "ignore"),
    "silent: accepts, says nothing": lambda aws, _: _plain(aws, say_nothing),
    "half-open TLS: no handshake": lambda aws, folder: _tls(aws, folder, say_nothing),
    "hanging API: no answer after TLS": lambda aws, folder: _tls(aws, folder, never_answer),
}
NEED_ROOT = ("no DNS: the name is not known", "no DNS: the name server says nothing")
COLD, LAST_MINUTES = "nothing", "last five minutes"


@dataclass
class Case:
    """A fault that one kind of identity meets; `answers` by what is cached."""

    fault: str
    identity: str
    way: Way
    homes: dict[str, list[Home]]
    fresh: Home
    beside: Home  # whose way to AWS stays as it is
    answers: dict[str, list[Future[tuple[float, Answer]]]] = field(default_factory=dict)

    def call(self, home: Home) -> tuple[float, Answer]:
        began = time.monotonic()
        answer = home.call("get", stdin=registry(DEV).encode(), by=self.way.by)
        return time.monotonic() - began, answer

    def fill(self, home: Home) -> None:
        _, answer = self.call(home)
        if answer.code:
            raise Wrong(f"{self.fault}: {answer}")

    def hits(self) -> list[list[float]]:
        """Seconds of hits with the fault, and of hits without it, taken in turn."""
        found: list[list[float]] = [[], []]
        for _ in range(_HITS):
            for home, took in zip((self.fresh, self.beside), found, strict=True):
                seconds, answer = self.call(home)
                if answer.code or answer.stderr:
                    raise Wrong(f"{self.fault}: a hit failed")
                took.append(seconds)
        return found


def sso_home(path: Path, aws: Aws, way: Way) -> Home:
    home = new_home(path, aws)
    home.environment.update(way.environment)
    return home


def keys_home(path: Path, aws: Aws, way: Way) -> Home:
    """A home with the static keys of a user, in a file."""
    home = sso_home(path, aws, way)
    home.aws_config.unlink()
    key = access_key_id(DEV)
    secret = aws.add_key(key, f"arn:aws:iam::{DEV}:user/builder")
    keys = f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    home.write(home.path / ".aws" / "credentials", f"[default]\n{keys}")
    return home


IDENTITIES = {"SSO": sso_home, "static keys": keys_home}


def prepare(aws: Aws, folder: Path, fault: str, identity: str, way: Way, times: int) -> Case:
    """Fill the caches that need it, while AWS can still be reached."""

    def home() -> Home:
        return IDENTITIES[identity](Path(tempfile.mkdtemp(dir=folder)), aws, way)

    homes = {COLD: [home() for _ in range(times)], LAST_MINUTES: [home() for _ in range(times)]}
    whole = Way(_endpoints(aws, aws.url), lambda: None)
    beside = IDENTITIES[identity](Path(tempfile.mkdtemp(dir=folder)), aws, whole)
    case = Case(fault, identity, way, homes, home(), beside)
    for one in (*homes[LAST_MINUTES], case.fresh, beside):
        case.fill(one)
    return case


def row(case: Case, cached: str) -> str:
    found = [answer.result() for answer in case.answers[cached]]
    took = [seconds for seconds, _ in found]
    failed = [answer for _, answer in found if answer.code]
    if (cached == COLD) != (len(failed) == len(found)):
        raise Wrong(f"{case.fault}, {case.identity}, {cached}: {found}")
    came = failed[0].line if failed else f"{len(found)} of {len(found)} answered"
    figures = f"{statistics.median(took):.1f}, {max(took):.1f} s"
    return f"{case.fault} | {case.identity} | {cached} | {figures} | {came}"


def hit_row(case: Case) -> str:
    faulty, whole = (statistics.median(times) * 1000 for times in case.hits())
    return f"{case.fault} | {case.identity} | fresh | {faulty:.1f} / {whole:.1f} ms"


def main(times: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="network-")))
        aws = stack.enter_context(Aws())
        cases: list[Case] = []
        ways: list[Way] = []
        for fault, begins in FAULTS.items():
            if fault in NEED_ROOT and (os.geteuid() != 0 or sys.platform != "linux"):
                print(f"{fault}: not run, it needs root on Linux")
                continue
            way = stack.enter_context(begins(aws, folder))
            ways.append(way)
            cases += [prepare(aws, folder, fault, name, way, times) for name in IDENTITIES]
        for way in ways:
            way.begin()
        with ThreadPoolExecutor(256) as pool:
            for case in cases:
                for cached, homes in case.homes.items():
                    case.answers[cached] = []
                    for home in homes:
                        if cached == LAST_MINUTES:
                            let_pass(home, LIFE - _LEFT)
                        case.answers[cached].append(pool.submit(case.call, home))
                        time.sleep(_APART)
        print("fault | identity | cached | median, longest | what came of it")
        for case in cases:
            for cached in case.homes:
                print(row(case, cached))
        print("\nfault | identity | cached | a hit with the fault / without")
        for case in cases:
            print(hit_row(case))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
