"""A client that asks for too much of everything: the daemon stays small, and goes on answering."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon.memory import MOST_BYTES
from docker_credential_ecr_py.daemon.server import MOST_HELD
from docker_credential_ecr_py.daemon.worker_pool import MOST_AT_ONCE
from docker_credential_ecr_py.store import record
from tests.standin.aws import Aws
from tests.support.daemon import Daemon, document_in, names, new_record
from tests.support.home import DEV, Home, registry
from tests.system.daemon.test_protocol import HELLO, NAME, asks_for, connected, context

Start = Callable[..., Daemon]
MIB = 1024 * 1024


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def credential(number: int, size: int, *, lives: int) -> tuple[bytes, bytes]:
    """The name and the record of a credential of so many bytes that ends in so many seconds."""
    key, now = b"%032x" % number, int(time.time())
    times = (b"%d" % moment for moment in (now, *[now + lives] * 3))
    body = new_record(record.CREDENTIAL, key, *times, b'"AWS"', b'"' + b"x" * size + b'"')
    return record.credential_name(key), body


# Records


def test_records_take_only_so_much_memory_and_give_it_back(home: Home, daemon: Daemon) -> None:
    before = resident_bytes(daemon.pid)
    for number in range(1500):
        name, body = credential(number, 60_000, lives=600)
        assert daemon.ask(b"write " + name, body) == b"ok\n"
    kept = names(daemon, "credentials/")
    assert name in kept
    assert 60_000 * len(kept) <= MOST_BYTES
    assert resident_bytes(daemon.pid) - before < 2 * MOST_BYTES
    for name in kept:
        _, body = credential(int(name.rpartition(b"/")[2], 16), 60_000, lives=-1)
        assert daemon.ask(b"write " + name, body) == b"ok\n"
    daemon.looks()
    assert names(daemon, "credentials/") == []
    assert resident_bytes(daemon.pid) - before < MOST_BYTES / 2


def test_what_is_in_use_is_not_what_goes(home: Home, aws: Aws, daemon: Daemon) -> None:
    """A get between two writes is enough."""
    first = home.get(registry(DEV))
    for number in range(400):
        name, body = credential(number, 60_000, lives=600)
        assert daemon.ask(b"write " + name, body) == b"ok\n"
        assert document_in(daemon.ask(asks_for(home))) == first.stdout


def test_a_credential_that_would_stay_for_ever_is_not_taken(home: Home, daemon: Daemon) -> None:
    name, body = credential(1, 10, lives=10 * 86400)
    assert daemon.ask(b"write " + name, body) == b""


@pytest.mark.parametrize(
    "name", [b"credentials/other", b"credentials/" + b"0" * 31, b"selections/x"]
)
def test_a_record_is_kept_under_its_own_name(home: Home, daemon: Daemon, name: bytes) -> None:
    _, body = credential(0, 10, lives=600)
    assert daemon.ask(b"write " + name, body) == b""
    body = new_record(record.SELECTION, b"example.com", b"HOME=/", b"", b"{}")
    assert daemon.ask(b"write selections/example.com~" + b"0" * 32, body) == b""
    assert names(daemon, "") == []


def test_a_selection_whose_credential_is_gone_goes_too(home: Home, daemon: Daemon) -> None:
    """Each access key in somebody's environment brings one, and most never come again."""
    here = bytes.fromhex(context(home).decode()) + b"\nAWS_SECRET_ACCESS_KEY"
    name = record.selection_name(b"example.com", here)
    body = new_record(record.SELECTION, b"example.com", here, b"0" * 32, b"{}")
    assert daemon.ask(b"write " + name, body) == b"ok\n"
    daemon.looks()
    assert names(daemon, "selections/") == []


# Requests and answers


def test_requests_that_do_not_end_take_only_so_much_memory(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    first = home.get(registry(DEV))
    before = resident_bytes(daemon.pid)
    most = before
    with ExitStack() as stack:
        for _ in range(400):
            wire = stack.enter_context(connected(home))
            wire.settimeout(1)
            with suppress(OSError):
                wire.sendall(HELLO + b"write " + NAME + b"\n" + b"x" * (120 * 1024))
            most = max(most, resident_bytes(daemon.pid))
        assert document_in(daemon.ask(asks_for(home))) == first.stdout
    assert most - before < 3 * MOST_HELD


def test_answers_that_nobody_reads_take_only_so_much_memory(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    first = home.get(registry(DEV))
    for number in range(4000):
        host = b"%d" % number + b"h" * 200
        body = new_record(record.SELECTION, host, b"c", b"", b"{}")
        assert daemon.ask(b"write " + record.selection_name(host, b"c"), body) == b"ok\n"
    before = resident_bytes(daemon.pid)
    most = before
    with ExitStack() as stack:
        for _ in range(200):
            wire = stack.enter_context(connected(home))
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            wire.sendall(HELLO + b"names selections/\n")
            most = max(most, resident_bytes(daemon.pid))
        assert document_in(daemon.ask(asks_for(home))) == first.stdout
    assert most - before < 3 * MOST_HELD
    assert len(names(daemon, "selections/")) > 4000


# Workers


def test_many_selections_of_a_client_start_few_workers_at_a_time(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    here = bytes.fromhex(context(home).decode())
    for number in range(50):
        host = registry(f"{number:012}").encode()
        body = new_record(record.SELECTION, host, here, b"%032x" % number, b"{}")
        assert daemon.ask(b"write " + record.selection_name(host, here), body) == b"ok\n"
    daemon.ask(b"reload")
    most = 0
    while not daemon.failures:
        most = max(most, len(daemon.workers()))
    assert most <= MOST_AT_ONCE
