"""Asks the daemon over its socket. docs/architecture.md has the protocol.

A hit that no file can answer loads this into a bare interpreter, so it imports nothing but the
extension module behind `socket`. Whatever goes wrong (no daemon, a slow one, one of another
version, somebody else's) is no answer: whoever asked goes on without.
"""

import _socket
import sys
import time

from docker_credential_ecr_py.store import entry

PROTOCOL = b"ecr-py/1"
LARGEST_REQUEST = 128 * 1024
LARGEST_ANSWER = 4 * 1024 * 1024
# Seconds. A hit waits no longer than it would notice; a process that has loaded everything may.
HIT_LIMIT, LIMIT = 0.05, 0.5
# What the daemon answers where it knows that nobody has credentials for a host.
NOBODY = b"-\n"
_LOCAL_PEERCRED = 1  # macOS, sys/un.h


def hit(path: bytes, server_url: bytes, here: bytes) -> bytes | None:
    """Docker's document for a server URL, NOBODY, or None where it takes more than the daemon.

    `here` is the asking environment, as entry.context has it.
    """
    request = b"get %b %b" % (server_url, here.hex().encode())
    answer = ask(path, request, limit=HIT_LIMIT)
    start = b'{"ServerURL":"%b","Username":' % server_url
    if answer == NOBODY or (answer and answer.startswith(start) and answer.endswith(b'"}\n')):
        return answer
    return None


def ask(path: bytes, request: bytes, body: bytes = b"", *, limit: float = LIMIT) -> bytes | None:
    """The daemon's whole answer to a request line and what follows it; None where there is none."""
    deadline = time.monotonic() + limit
    connection = connect(path, limit)
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
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            connection.settimeout(left)
            chunk = connection.recv(65536)
            if not chunk:
                return answer
            answer += chunk
    except OSError:
        pass
    finally:
        connection.close()
    return None


def connect(path: bytes, limit: float) -> "_socket.socket | None":
    """A connection to a daemon that is ours, or None."""
    if not entry.is_private_folder(path.rpartition(b"/")[0]):
        return None
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except (OSError, AttributeError):
        return None
    try:
        connection.settimeout(limit)
        connection.connect(path)
        if peer_uid(connection) == entry.system.geteuid():
            return connection
    except OSError:
        pass
    connection.close()
    return None


def peer_uid(connection: "_socket.socket") -> int | None:
    """The user at the other end, as the kernel says. Raises OSError."""
    if sys.platform == "linux":
        # struct ucred: pid, uid, gid
        told = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    else:
        # struct xucred: version, uid, …
        told = connection.getsockopt(0, _LOCAL_PEERCRED, 76)
    return int.from_bytes(told[4:8], sys.byteorder) if len(told) >= 8 else None
