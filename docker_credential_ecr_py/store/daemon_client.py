"""Sends requests to the daemon over its socket. docs/architecture.md has the protocol.

A hit that no file can answer loads this into a bare interpreter, so it imports nothing but the
extension module behind `socket`. It raises nothing: if there is no daemon, or it is slow, of
another version or another user's, there is no answer, and the process goes on without it.
"""

import _socket
import sys
import time

from docker_credential_ecr_py.store import record

PROTOCOL = b"ecr-py/1"
LARGEST_REQUEST = 128 * 1024
LARGEST_ANSWER = 4 * 1024 * 1024
# Seconds that a process waits for the daemon: for a hit; for any other request; and for any other
# after a hit that was not answered in time. So a hung daemon costs a `get` no more than the first
# and the third together.
HIT_LIMIT, LIMIT, LIMIT_AFTER_HIT = 0.2, 0.5, 0.05
# For a hit, as long as the daemon is ready to run and waits for a processor: see _receive.
BUSY_LIMIT = 10.0
_FIRST_LOOK, _LOOK_EVERY = 0.05, 0.2
# Hundredths of a second of processor time: enough to answer every client.
_ENOUGH_TICKS = 10
_RETRY_PAUSE = 0.005
# What the daemon answers if it knows that a host has no credentials.
NO_CREDENTIALS = b"-\n"
# The first field of an answer to `get`: whether the daemon keeps the credential fresh.
KEPT_FRESH, RENEW = b"kept", b"renew"
_LOCAL_PEERCRED = 1  # macOS, sys/un.h
# Whether this process got no answer to `get` in time.
hit_was_late = False


class Hit:
    """An answer of the daemon: `document` is docker's JSON document, or NO_CREDENTIALS.

    With `renew` the credential is ageing and the client has to renew it.
    """

    def __init__(self, document: bytes, renew: bool) -> None:
        self.document = document
        self.renew = renew


def hit(path: bytes, server_url: bytes, here: bytes) -> Hit | None:
    """Return the daemon's answer for a server URL, or None if it is not a hit.

    `here` is the context of this process (record.context). The daemon reports which files the
    answer depends on, and this process looks at them: the daemon never looks at a path that a
    client sent.
    """
    request = b"get %b %b" % (server_url, here.hex().encode())
    now = time.monotonic()
    answer = _ask(path, request, b"", now + HIT_LIMIT, now + BUSY_LIMIT, b"\n")
    if answer is None:
        global hit_was_late
        hit_was_late = True
        return None
    state, *conditions = answer.split(b"\0")
    document = conditions.pop() if conditions else b""
    start = b'{"ServerURL":"%b","Username":' % server_url
    whole = document.startswith(start) and document.endswith(b'"}\n')
    if state not in (KEPT_FRESH, RENEW) or not (whole or document == NO_CREDENTIALS):
        return None
    return Hit(document, state == RENEW) if record.holds(conditions) else None


def ask(path: bytes, request: bytes, body: bytes = b"", *, limit: float = LIMIT) -> bytes | None:
    """Return the daemon's whole answer to a request line and its body; None if there is none.

    An answer that has arrived counts even after the deadline: on a busy machine it may be this
    process that had to wait for a processor.
    """
    deadline = time.monotonic() + limit
    return _ask(path, request, body, deadline, deadline, b"")


def _ask(
    path: bytes, request: bytes, body: bytes, deadline: float, last: float, end: bytes
) -> bytes | None:
    """As ask. `end`, if any, ends the answer too; for `deadline` and `last` see _receive."""
    connection = connect(path, max(0.001, deadline - time.monotonic()))
    if connection is None:
        return None
    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        connection.sendall(b"%b %b\n%b" % (PROTOCOL, request, body))
        try:  # noqa: SIM105 -- contextlib is not loaded yet
            connection.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # macOS, where the daemon has answered and closed already
        answer = b""
        while len(answer) <= LARGEST_ANSWER:
            chunk = _receive(connection, deadline, last)
            answer += chunk
            if not chunk or (end and answer.endswith(end)):
                return answer
    except OSError:
        pass
    finally:
        connection.close()
    return None


def _receive(connection: "_socket.socket", deadline: float, last: float) -> bytes:
    """Return the next bytes; raise OSError if none arrive by the deadline.

    By `last`, while the daemon is ready to run and waits for a processor: on a machine with
    hundreds of processes that may take long, and to go on without it costs three times as much,
    which makes it worse. But do not wait for a daemon that is stopped, that waits for something
    else, or that runs and does not answer.
    """
    if last <= deadline:
        connection.settimeout(max(0.0, deadline - time.monotonic()))
        return connection.recv(65536)
    pause, first = _FIRST_LOOK, -1
    now = time.monotonic()
    while True:
        if now < deadline or first >= 0:
            connection.settimeout(pause)
            try:
                return connection.recv(65536)
            except TimeoutError:
                now = time.monotonic()
        # Else part of the answer came before the deadline: do not wait for one that drips.
        state, ticks = _turn_of(peer_pid(connection))
        first = ticks if first < 0 else first
        waits = state == b"R" and ticks - first < _ENOUGH_TICKS
        if now >= (last if waits else deadline):
            connection.settimeout(0)
            return connection.recv(65536)
        pause = max(0.001, deadline - now) if now < deadline else _LOOK_EVERY


def _turn_of(process: int) -> tuple[bytes, int]:
    """Return a process's state as in proc(5), and its processor time so far, in ticks."""
    try:
        file = record.system.open(b"/proc/%d/stat" % process, record.system.O_RDONLY)
    except OSError:
        return b"", 0
    try:
        fields = record.system.read(file, 4096).rpartition(b")")[2].split()
        return fields[0], int(fields[11]) + int(fields[12])
    except (OSError, IndexError, ValueError):
        return b"", 0
    finally:
        record.system.close(file)


def connect(path: bytes, limit: float) -> "_socket.socket | None":
    """Return a connection to this user's daemon, or None."""
    if not record.is_private_folder(path.rpartition(b"/")[0]):
        return None
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except (OSError, AttributeError):
        return None
    try:
        connection.settimeout(limit)
        _connect(connection, path, time.monotonic() + limit)
        if peer_uid(connection) == record.system.geteuid():
            return connection
    except OSError:
        pass
    connection.close()
    return None


def _connect(connection: "_socket.socket", path: bytes, deadline: float) -> None:
    """Connect; if the queue is full, try again until the deadline. Raises OSError."""
    while True:
        try:
            connection.connect(path)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_PAUSE)


def peer_uid(connection: "_socket.socket") -> int | None:
    """Return the user at the other end, as the kernel reports it. Raises OSError."""
    return peer(connection)[1]


def peer_pid(connection: "_socket.socket") -> int:
    """Return the process at the other end; 0 if the kernel does not report it. Raises OSError."""
    return peer(connection)[0]


def peer(connection: "_socket.socket") -> tuple[int, int | None]:
    """Return the process (0 if unknown) and user at the other end. Raises OSError."""
    if sys.platform == "linux":
        # struct ucred: pid, uid, gid
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        process = int.from_bytes(peer[:4], sys.byteorder)
    else:
        # struct xucred: version, uid, …
        peer, process = connection.getsockopt(0, _LOCAL_PEERCRED, 76), 0
    return process, int.from_bytes(peer[4:8], sys.byteorder) if len(peer) >= 8 else None
