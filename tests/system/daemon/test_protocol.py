"""What anybody may say to the socket: each word, nonsense, too much, too little, too slowly."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.store import daemon_client, record
from tests.standin.aws import Aws
from tests.support.daemon import (
    TOKEN,
    Daemon,
    as_bytes,
    document_in,
    names,
    new_record,
    socket_path,
)
from tests.support.home import DEV, PROD, STAGE, Home, registry
from tests.support.other_user import as_other
from tests.support.processes import at_once
from tests.support.records import write_sealed
from tests.support.user import eventually

Start = Callable[..., Daemon]
HELLO = daemon_client.PROTOCOL + b" "
ACCOUNTS = (DEV, STAGE, PROD)
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@contextmanager
def connected(home: Home, *, limit: float = 20) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(limit)
        eventually(lambda: _is_let_in(wire, home))
        yield wire


def _is_let_in(wire: socket.socket, home: Home) -> bool:
    """False where too many wait at the door already."""
    try:
        wire.connect(str(socket_path(home)))
    except BlockingIOError:
        return False
    return True


def rest_of(wire: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    said = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while chunk := wire.recv(65536):
            said += chunk
    return said


def says(home: Home, *parts: bytes, ends: bool = True) -> bytes:
    """The answer to what is sent, whatever that is."""
    with connected(home) as wire:
        with suppress(ConnectionResetError, BrokenPipeError):
            for part in parts:
                wire.sendall(part)
            if ends:
                wire.shutdown(socket.SHUT_WR)
        return rest_of(wire)


def context(home: Home) -> bytes:
    return record.context(as_bytes(home)).hex().encode()


def asks_for(home: Home, account: str = DEV) -> bytes:
    return b"get %b %b" % (registry(account).encode(), context(home))


def credential(key: bytes = b"0" * 32, *more: bytes) -> bytes:
    now = int(time.time())
    times = (b"%d" % moment for moment in (now, now + 600, now + 900, now + 1200))
    return new_record(record.CREDENTIAL, key, *times, b'"AWS"', b'"swordfish"', *more)


def selection(
    host: bytes = b"example.com", key: bytes = b"0" * 32, details: bytes = b"{}"
) -> bytes:
    return new_record(record.SELECTION, host, b"HOME=/", key, details)


def write_selection(daemon: Daemon, host: bytes, details: bytes = b"{}") -> bytes:
    """Has the daemon keep one for a host; the name of its record."""
    name = record.selection_name(host, b"c")
    body = new_record(record.SELECTION, host, b"c", b"", details)
    assert daemon.ask(b"write " + name, body) == b"ok\n"
    return name


NAME = b"credentials/" + b"0" * 32


# The words


def test_get_answers_the_document_of_docker(home: Home, aws: Aws, daemon: Daemon) -> None:
    by_helper = home.get(registry(DEV))
    assert document_in(daemon.ask(asks_for(home))) == by_helper.stdout


@pytest.mark.parametrize(
    "request_line",
    [
        b"get",
        b"get ",
        b"get \xff\xfe 00",
        b"get example.com",
        b"get example.com 00",
        b"get example.com zz",
        b"get example.com \xff",
        b"get https://AWS:password@example.com 00",
    ],
)
def test_a_get_that_nothing_is_known_of_is_answered_with_nothing(
    home: Home, daemon: Daemon, request_line: bytes
) -> None:
    assert says(home, HELLO, request_line, b"\n") == b""
    assert daemon.status()["pid"] == daemon.pid


def test_a_record_is_written_read_named_and_removed(home: Home, daemon: Daemon) -> None:
    assert daemon.ask(b"read " + NAME) == b""
    assert daemon.ask(b"write " + NAME, credential()) == b"ok\n"
    assert daemon.ask(b"read " + NAME) == credential()
    assert names(daemon, "credentials/") == [NAME]
    assert names(daemon, "selections/") == []
    assert daemon.ask(b"remove " + NAME) == b"ok\n"
    assert daemon.ask(b"read " + NAME) == b""
    assert names(daemon, "credentials/") == []


def test_a_write_replaces(home: Home, daemon: Daemon) -> None:
    daemon.ask(b"write " + NAME, credential())
    second = new_record(*credential().split(b"\0")[1:-1], b'"another"')
    assert daemon.ask(b"write " + NAME, second) == b"ok\n"
    assert daemon.ask(b"read " + NAME) == second


def test_status_is_a_document_without_secrets(home: Home, daemon: Daemon) -> None:
    password = home.get(registry(DEV)).password
    home.get(registry(DEV))
    answer = daemon.ask(b"status") or b""
    assert password[:32].encode() not in answer
    found = json.loads(answer)
    assert (found["version"], found["pid"], found["store"]) == (
        __version__,
        daemon.pid,
        "memory",
    )
    (one,) = found["registries"]
    assert (one["registry"], one["profile"]) == (registry(DEV), "dev")
    assert found["failures"] == []
    assert one["issued"] < one["renew_at"] < one["expires"]
    (session,) = found["sessions"]
    assert session["refreshable"] is False


def test_reload_reads_the_settings_again(home: Home, daemon: Daemon) -> None:
    home.settings.unlink()
    daemon.looks()
    assert daemon.status()["store"] == "file"


@pytest.mark.parametrize(
    "verb", [b"", b"dance", b"GET example.com 00", b"read", b"login 00 7b7d", b"\x00", b"wri\xff"]
)
def test_a_word_that_it_does_not_know_is_answered_with_nothing(
    home: Home, daemon: Daemon, verb: bytes
) -> None:
    assert says(home, HELLO, verb, b"\n") == b""
    assert daemon.status()["pid"] == daemon.pid


@pytest.mark.parametrize(
    "greeting", [b"ecr-py/2 status", b"ecr-py/0 status", b"GET / HTTP/1.1", b""]
)
def test_another_version_is_told_ours(home: Home, daemon: Daemon, greeting: bytes) -> None:
    assert says(home, greeting, b"\n") == b"ecr-py/1\n"


# Writes that are none


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"nonsense", id="nonsense"),
        pytest.param(credential()[:-1], id="cut"),
        pytest.param(credential() + b"\0", id="more than whole"),
        pytest.param(credential().replace(b"swordfish", b"swordfisj"), id="a bit changed"),
        pytest.param(selection(), id="of the other kind"),
        pytest.param(new_record(b"ecr-py credential 2", *[b"1"] * 7), id="of no kind"),
        pytest.param(new_record(record.CREDENTIAL, b"k", b"1", b"2", b"3"), id="too few fields"),
        pytest.param(
            new_record(record.CREDENTIAL, b"k", b"a", b"b", b"c", b"d", b'"u"', b'"s"'),
            id="no times",
        ),
        pytest.param(
            new_record(record.CREDENTIAL, b"k", *[b"9" * 5000] * 4, b'"u"', b'"s"'),
            id="endless times",
        ),
    ],
)
def test_a_write_that_is_damaged_or_of_a_wrong_kind_is_not_taken(
    home: Home, daemon: Daemon, body: bytes
) -> None:
    before = credential()
    daemon.ask(b"write " + NAME, before)
    assert daemon.ask(b"write " + NAME, body) == b""
    assert daemon.ask(b"read " + NAME) == before


@pytest.mark.parametrize("name", [b"", b"x", b"locks/x", b"credentialsx/x", b"/credentials/x"])
def test_a_write_to_no_folder_of_ours_is_not_taken(home: Home, daemon: Daemon, name: bytes) -> None:
    for body in (credential(), selection()):
        assert daemon.ask(b"write " + name, body) == b""
    assert names(daemon, "") == []


@pytest.mark.parametrize("up", [b"../", b"../../../../", b"/", b"..", b"./../x/../"])
@pytest.mark.parametrize("store", ["memory", "file"])
def test_a_name_never_leads_to_a_file(home: Home, start: Start, store: str, up: bytes) -> None:
    daemon = start(store)
    home.get(registry(DEV))
    precious = home.path / "precious"
    precious.write_bytes(credential(up + bytes(precious)))
    precious.chmod(0o600)
    before = {path: path.lstat().st_mtime_ns for path in home.path.rglob("*")}
    for folder in (b"credentials/", b"selections/"):
        body = credential() if folder == b"credentials/" else selection(up, up + bytes(precious))
        for name in (
            folder + up + bytes(precious),
            folder + up + b"precious",
            up + bytes(precious),
        ):
            daemon.ask(b"write " + name, body)
            assert daemon.ask(b"read " + name) in (b"", body)
            daemon.ask(b"names " + name)
            assert daemon.ask(b"remove " + name) == b"ok\n"
    for name in (b"credentials/../selections", b"selections/.."):
        assert daemon.ask(b"read " + name) == b""
    daemon.looks()
    changed = {path for path, then in before.items() if path.lstat().st_mtime_ns != then}
    assert changed <= {home.log}
    assert set(home.path.rglob("*")) == set(before)


STRANGE = [
    pytest.param((b"h", b"HOME=/", b"\xff\xfe", b"{}"), id="a key that is no text"),
    pytest.param((b"\xff", b"HOME=/", b"0" * 32, b"{}"), id="a host that is no text"),
    pytest.param((b"h", b"\xff=\xff\nHOME", b"0" * 32, b"{}"), id="a strange context"),
    pytest.param((b"h", b"HOME=/", b"../../x", b"{}"), id="a key that leads elsewhere"),
    pytest.param((b"h", b"HOME=/", b"0" * 32, b"[" * 30000), id="bottomless details"),
    pytest.param((b"h", b"HOME=/", b"0" * 32, b'{"registry": 1}'), id="odd details"),
    pytest.param((b"h", b"HOME=/", b"0" * 32, b"{}", b"/etc/passwd"), id="half a condition"),
    pytest.param((b"h", b"HOME=/", b"0" * 32, b"{}", b"\xff", b"+"), id="a path of no text"),
]


@pytest.mark.parametrize("fields", STRANGE)
def test_a_strange_selection_does_not_end_it(
    home: Home, daemon: Daemon, fields: tuple[bytes, ...]
) -> None:
    here = record.context(as_bytes(home))
    # One that is found by a get, so that it counts as used; where it can be found.
    name = record.selection_name(b"h.example.com", here)
    strange = new_record(record.SELECTION, b"h.example.com", here, *fields[2:])
    daemon.ask(b"write " + name, strange)
    daemon.ask(b"write " + NAME, credential())
    daemon.ask(b"get h.example.com " + here.hex().encode())
    name = record.selection_name(b"strange.example.com", b"HOME=/")
    daemon.ask(b"write " + name, new_record(record.SELECTION, *fields))
    daemon.looks()
    assert home.get(registry(DEV)).code == 0


@pytest.mark.parametrize("fields", STRANGE)
def test_a_strange_selection_on_disk_does_not_end_it(
    home: Home, start: Start, fields: tuple[bytes, ...]
) -> None:
    home.get(registry(DEV))
    for name in ("strange.example.com~" + "0" * 32, "no-tilde", "~"):
        file = home.cache / "selections" / name
        write_sealed(file, [record.SELECTION, *fields])
        file.chmod(0o600)
    daemon = start("file")
    daemon.looks()
    daemon.status()
    assert home.get(registry(DEV)).code == 0


@pytest.mark.parametrize("digits", [b"9" * 18, b"9" * 400, b"-" + b"9" * 400])
def test_times_beyond_all_time_do_not_end_it(home: Home, daemon: Daemon, digits: bytes) -> None:
    home.get(registry(DEV))
    home.get(registry(DEV))
    (name,) = names(daemon, "credentials/")
    fields = record.fields_of(daemon.ask(b"read " + name) or b"", record.CREDENTIAL)
    assert fields
    for place in range(2, 6):
        changed = [*fields]
        changed[place] = digits
        daemon.ask(b"write " + name, new_record(*changed))
        daemon.looks()
        assert home.get(registry(DEV)).code == 0


# Lines that are none


def test_without_a_newline_there_is_no_answer(home: Home, daemon: Daemon) -> None:
    assert says(home, HELLO, b"status") == b""
    assert says(home) == b""
    assert daemon.status()["pid"] == daemon.pid


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_megabyte_is_not_read_to_its_end(home: Home, daemon: Daemon, newline: bytes) -> None:
    assert says(home, HELLO + b"get " + b"a" * 2**20 + newline) == b""
    assert says(home, HELLO + b"write " + NAME + b"\n" + b"a" * 2**20) == b""
    assert names(daemon, "credentials/") == []
    assert daemon.status()["pid"] == daemon.pid


def test_the_largest_record_of_ours_is_taken(home: Home, daemon: Daemon) -> None:
    body = credential(b"0" * 32, b"/", b"x" * (record.LARGEST_RECORD - 1000))
    assert len(body) <= record.LARGEST_RECORD
    assert daemon.ask(b"write " + NAME, body) == b"ok\n"
    assert daemon.ask(b"read " + NAME) == body


@pytest.mark.parametrize("said", [b"", b"ecr-py/1 sta", b"ecr-py/1 write credentials/x\nabc"])
def test_who_falls_silent_is_shown_the_door(home: Home, daemon: Daemon, said: bytes) -> None:
    began = time.monotonic()
    assert says(home, said, ends=False) == b""
    assert time.monotonic() - began < 15


def test_byte_by_byte_is_as_good(home: Home, daemon: Daemon) -> None:
    home.get(registry(DEV))
    with connected(home) as wire:
        for byte in HELLO + asks_for(home) + b"\n":
            wire.sendall(bytes([byte]))
        assert document_in(rest_of(wire)) == home.get(registry(DEV)).stdout
    with connected(home) as wire:
        for byte in HELLO + b"write " + NAME + b"\n" + credential():
            wire.sendall(bytes([byte]))
        wire.shutdown(socket.SHUT_WR)
        assert rest_of(wire) == b"ok\n"


def test_a_second_request_is_not_served(home: Home, daemon: Daemon) -> None:
    answer = says(home, HELLO + b"remove x\n" + HELLO + b"remove x\n")
    assert answer == b"ok\n"


def test_who_leaves_early_leaves_nothing_behind(home: Home, daemon: Daemon) -> None:
    home.get(registry(DEV))
    before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    for part in (b"", HELLO, HELLO + b"status\n", HELLO + asks_for(home) + b"\n"):
        for _ in range(50):
            with connected(home) as wire:
                wire.sendall(part)
    eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before)
    assert home.get(registry(DEV)).code == 0


def test_who_does_not_read_its_answer_holds_up_nobody(home: Home, daemon: Daemon) -> None:
    details = b"x" * 60000
    written = [
        write_selection(daemon, b"%d%b" % (number, b"y" * 200), details) for number in range(20)
    ]
    name = written[0]
    with ExitStack() as stack:
        for _ in range(20):
            wire = stack.enter_context(connected(home))
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            wire.sendall(HELLO + b"read " + name + b"\n")
        home.get(registry(DEV))
        assert home.get(registry(DEV)).code == 0
        assert len(daemon.ask(b"names selections/") or b"") > 20 * 200


# Crowds


def test_five_hundred_who_say_nothing_hold_up_nobody(home: Home, aws: Aws, daemon: Daemon) -> None:
    home.get(registry(DEV))
    first = home.get(registry(DEV))
    calls = aws.count()
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(connected(home))
        assert [timed.answer for timed in at_once(home, [registry(DEV)] * 8)] == [first] * 8
        assert document_in(daemon.ask(asks_for(home))) == first.stdout
    assert aws.count() == calls


def test_more_than_there_is_room_for_hold_up_nobody(home: Home, aws: Aws, daemon: Daemon) -> None:
    home.get(registry(DEV))
    first = home.get(registry(DEV))
    with ExitStack() as stack:
        for _ in range(900):
            stack.enter_context(connected(home))
        assert document_in(daemon.ask(asks_for(home))) == first.stdout
        assert home.get(registry(DEV)).password in aws.issued
    assert daemon.status()["pid"] == daemon.pid


def test_two_hundred_at_once_none_lost_none_wrong(home: Home, aws: Aws, daemon: Daemon) -> None:
    for account in ACCOUNTS:
        home.get(registry(account))
    wanted = {account: home.get(registry(account)).stdout for account in ACCOUNTS}
    chosen = random.Random(1).choices(ACCOUNTS, k=4000)
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda account: daemon.ask(asks_for(home, account)), chosen))
    assert [document_in(answer) for answer in answers] == [wanted[account] for account in chosen]
    assert aws.count(TOKEN) == 3


def test_writers_and_readers_at_once_see_whole_records(home: Home, daemon: Daemon) -> None:
    bodies = [credential(b"0" * 32, b"/", b"%d" % number * 9000) for number in range(4)]
    daemon.ask(b"write " + NAME, bodies[0])

    def one(number: int) -> bytes | None:
        if number % 2:
            return daemon.ask(b"read " + NAME)
        assert daemon.ask(b"write " + NAME, bodies[number % 4]) == b"ok\n"
        return bodies[0]

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(one, range(1000))) <= set(bodies)


# Somebody else


@AS_ROOT
def test_another_user_is_not_answered(home: Home, daemon: Daemon) -> None:
    home.get(registry(DEV))
    folder = socket_path(home).parent
    for path in (folder.parent, folder):
        path.chmod(0o711)
    socket_path(home).chmod(0o666)
    with as_other():
        assert says(home, HELLO, asks_for(home), b"\n") == b""
        assert says(home, HELLO, b"names credentials/\n") == b""
    folder.chmod(0o700)
    assert says(home, HELLO, asks_for(home), b"\n") != b""


@AS_ROOT
def test_another_user_cannot_even_knock(home: Home, daemon: Daemon) -> None:
    socket_path(home).parent.parent.chmod(0o711)
    with as_other(), pytest.raises(PermissionError):
        says(home, HELLO, b"status\n")


def test_socket_and_folders_are_for_their_owner_alone(home: Home, daemon: Daemon) -> None:
    home.get(registry(DEV))
    top = socket_path(home).parent
    loose = [path for path in [top, *top.rglob("*")] if path.lstat().st_mode & 0o077]
    assert loose == []
    assert {path.name for path in top.iterdir()} == {"daemon.sock", "daemon.lock", "locks"}


def test_it_keeps_no_more_records_than_it_has_room_for_and_drops_the_longest_unused(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    """Each is small, so that ten thousand stay a matter of megabytes."""

    def write(number: int) -> bytes:
        return write_selection(daemon, b"%d" % number)

    first = write(0)
    with ThreadPoolExecutor(20) as pool:
        last = list(pool.map(write, range(1, 10_100)))[-1]
    password = home.get(registry(DEV)).password
    calls = aws.count()
    assert home.get(registry(DEV)).password == password
    assert aws.count() == calls
    kept = names(daemon, "selections/")
    assert len(kept) + len(names(daemon, "credentials/")) == 10_000
    assert first not in kept
    assert last in kept
    assert daemon.status()["pid"] == daemon.pid


def test_a_long_answer_comes_whole_to_who_has_said_all_and_reads_late(
    home: Home, daemon: Daemon
) -> None:
    """Longer than what the kernel takes at once: the end of the request comes meanwhile."""
    written = [write_selection(daemon, b"%d." % number + b"x" * 200) for number in range(3000)]
    with connected(home) as wire:
        wire.sendall(HELLO + b"names selections/\n")
        wire.shutdown(socket.SHUT_WR)
        eventually(lambda: daemon.answers)  # the daemon has seen the end of it
        answer = rest_of(wire)
    assert len(answer) > 2 * wire_room()
    assert answer.split(b"\n") == sorted(written)


def wire_room() -> int:
    """Bytes that a socket takes before its other end reads."""
    with socket.socket(socket.AF_UNIX) as wire:
        return wire.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def test_the_log_tells_no_secret_of_what_was_said(home: Home, start: Start, aws: Aws) -> None:
    daemon = start("memory", ECR_PY_LOG="debug")
    password = home.get(registry(DEV)).password
    says(home, HELLO, password.encode(), b"\n")
    says(home, HELLO, b"get example.com ", password.encode(), b"\n")
    says(home, HELLO, b"write credentials/x\n", password.encode())
    daemon.looks()
    said = home.log.read_text() + daemon.said.read_text()
    assert password[:32] not in said
