"""The helper's side of the socket: what it takes for an answer, and how long it waits for one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import daemon_client, record
from tests.support.daemon import short_folder, state
from tests.support.user import eventually

pytestmark = pytest.mark.posix_only("Python has no Unix sockets there")

URL = b"123456789012.dkr.ecr.eu-west-1.amazonaws.com"
DOCUMENT = b'{"ServerURL":"%b","Username":"AWS","Secret":"swordfish"}\n' % URL
KEPT = b"kept\0" + DOCUMENT


@contextmanager
def answering(behave: Callable[[socket.socket], None]) -> Iterator[bytes]:
    """The path of a socket in the daemon's place, where each client meets this."""
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = folder / "s"
        listener.bind(str(path))
        listener.listen(8)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    wire, _ = listener.accept()
                    with wire, suppress(OSError):
                        wire.recv(65536)
                        behave(wire)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield os.fsencode(path)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def hit(answer: bytes) -> daemon_client.Hit | None:
    with answering(lambda wire: wire.sendall(answer)) as path:
        return daemon_client.hit(path, URL, b"HOME=/")


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_client, "hit_was_late", False)


# What is an answer


def test_a_document_and_whether_it_is_to_be_renewed() -> None:
    for state_, renew in ((b"kept", False), (b"renew", True)):
        found = hit(state_ + b"\0" + DOCUMENT)
        assert found
        assert (found.document, found.renew) == (DOCUMENT, renew)
    assert not daemon_client.hit_was_late


def test_a_host_without_credentials() -> None:
    found = hit(b"kept\0-\n")
    assert found
    assert found.document == daemon_client.NO_CREDENTIALS


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"-\n",
        b"kept",
        b"kept\0",
        b"kept\n",
        DOCUMENT,
        b"\0" + DOCUMENT,
        b"fresh\0" + DOCUMENT,
        KEPT[:-1],
        KEPT[:-3] + b"\n",
        KEPT.replace(URL, b"example.com"),
        KEPT + b"\0",
        KEPT + b"\0\n",
        b"ecr-py/1\n",
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    assert hit(answer) is None


def test_the_files_that_it_depends_on_are_looked_at_here(tmp_path: Path) -> None:
    file = tmp_path / "with\nnewline"
    file.touch()
    path = os.fsencode(file)
    for stamp, holds in (
        (record.stamp(path), True),
        (record.PRESENT, True),
        (record.ABSENT, False),
        (b"1.2.3", False),
    ):
        assert bool(hit(b"\0".join([b"kept", path, stamp, DOCUMENT]))) == holds
    assert hit(b"\0".join([b"kept", path, b"1.2.3", path, record.PRESENT, DOCUMENT])) is None


def test_an_answer_in_pieces() -> None:
    def in_pieces(wire: socket.socket) -> None:
        for byte in KEPT:
            wire.sendall(bytes([byte]))

    with answering(in_pieces) as path:
        assert daemon_client.hit(path, URL, b"HOME=/")


def test_one_that_drips_is_not_waited_for_to_the_end() -> None:
    """Each byte comes in time, and the answer does not."""
    sent = 0

    def drip(wire: socket.socket) -> None:
        nonlocal sent
        for _ in range(1000):
            wire.sendall(b"k")
            sent += 1
            time.sleep(0.02)

    with answering(drip) as path:
        assert daemon_client.hit(path, URL, b"HOME=/") is None
        assert sent < 500


# How long it waits


@contextmanager
def silent() -> Iterator[bytes]:
    """One that takes every question, and answers none."""
    ended = threading.Event()

    def behave(wire: socket.socket) -> None:
        ended.wait(60)

    with answering(behave) as path:
        yield path
        ended.set()


def after_a_while(wire: socket.socket) -> None:
    """Longer than a hit is waited for."""
    threading.Event().wait(3 * daemon_client.HIT_LIMIT)
    wire.sendall(KEPT)


def test_a_daemon_that_waits_for_a_processor_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_client, "_turn_of", lambda process: (b"R", 7))
    with answering(after_a_while) as path:
        assert daemon_client.hit(path, URL, b"HOME=/")
    assert not daemon_client.hit_was_late


@pytest.mark.parametrize("seen", ["S", "T", "D", ""])
def test_one_that_waits_for_anything_else_is_not(
    monkeypatch: pytest.MonkeyPatch, seen: str
) -> None:
    monkeypatch.setattr(daemon_client, "_turn_of", lambda process: (seen.encode(), 7))
    with silent() as path:
        assert daemon_client.hit(path, URL, b"HOME=/") is None
    assert daemon_client.hit_was_late


def test_nor_one_that_runs_and_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(0, 10**6, 9))
    monkeypatch.setattr(daemon_client, "_turn_of", lambda process: (b"R", next(looks)))
    with silent() as path:
        assert daemon_client.hit(path, URL, b"HOME=/") is None
    assert next(looks) < 100  # a few looks, and no more


def test_what_the_system_says_of_a_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            eventually(lambda: daemon_client._turn_of(process.pid)[1] > 5)
            assert daemon_client._turn_of(process.pid)[0] == b"R"
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: state(process.pid) == "T")
            assert daemon_client._turn_of(process.pid)[0] == b"T"
        finally:
            process.kill()
    assert daemon_client._turn_of(process.pid) == (b"", 0)
    assert daemon_client._turn_of(0) == (b"", 0)


def test_a_queue_that_is_full_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = folder / "s"
        listener.bind(str(path))
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX)]
        for wire in waiting:
            wire.setblocking(False)
            with suppress(BlockingIOError):
                wire.connect(str(path))
                waiting.append(socket.socket(socket.AF_UNIX))
        pauses: list[float] = []

        def make_room(seconds: float) -> None:
            pauses.append(seconds)
            listener.accept()[0].close()

        monkeypatch.setattr(time, "sleep", make_room)
        connection = daemon_client.connect(os.fsencode(path), 20)
        assert connection is not None
        connection.close()
        assert pauses
        for wire in waiting:
            wire.close()


def test_a_queue_that_stays_full_is_no_daemon() -> None:
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = folder / "s"
        listener.bind(str(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(path))
            assert daemon_client.connect(os.fsencode(path), 0.05) is None
