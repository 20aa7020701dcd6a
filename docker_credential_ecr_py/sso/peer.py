"""Finds which user's process is at the other end of a connection on the loopback interface.

On Linux the kernel reports it for TCP too: /proc/net/tcp has the user ID of each socket's owner.
https://docs.kernel.org/networking/proc_net_tcp.html
"""

import os
import socket
import struct
import sys
from collections.abc import Mapping

# The rows of IPv4 sockets, and those of IPv6 sockets, as a client's may be.
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_MAPPED = bytes(10) + b"\xff\xff"
_ESTABLISHED = 1  # linux/tcp.h, the first byte of struct tcp_info
_ROOT = 0


class PeerGone(Exception):
    """The other end has closed its socket, so the kernel does not say whose it was."""


def can_tell_users() -> bool:
    """Whether this system reports whose process is at the other end."""
    return sys.platform == "linux" and os.access(_TABLES[0], os.R_OK)


def user_of_peer(connection: socket.socket) -> int | None:
    """Return the user ID of the process at the other end of an IPv4 connection.

    None if the system does not report it, or the other end is another machine (Windows, to WSL).
    Raises PeerGone.
    """
    if not can_tell_users():
        return None
    try:
        theirs, ours = connection.getpeername(), connection.getsockname()
    except OSError:
        raise PeerGone from None
    for table in _TABLES:
        mapped = table.endswith("6")
        wanted = [_written(theirs, mapped=mapped), _written(ours, mapped=mapped)]
        for row in _rows(table):
            if row[1:3] == wanted:
                if row[9] == "0":  # closed: of such a socket the kernel shows root as the owner
                    raise PeerGone
                return int(row[7])
    # A client that resets the connection at once leaves no row either, but then it has ended.
    if _state(connection) != _ESTABLISHED:
        raise PeerGone
    return None


def is_same_user(connection: socket.socket, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this user's process, or root's, is at the other end of a connection.

    True if the system does not report it. A user who runs this by sudo counts as the same user.
    """
    if sys.platform == "win32":
        return True
    allowed = {os.geteuid(), _ROOT}
    if os.geteuid() == _ROOT and (by_sudo := environ.get("SUDO_UID", "")).isdecimal():
        allowed.add(int(by_sudo))
    try:
        user = user_of_peer(connection)
    except PeerGone:
        return False
    return user is None or user in allowed


def _rows(table: str) -> list[list[str]]:
    try:
        with open(table) as lines:
            next(lines, None)
            return [row for row in map(str.split, lines) if len(row) > 9]
    except OSError:
        return []


def _written(address: tuple[str, int], *, mapped: bool) -> str:
    """Return an address and port as in the tables: in words of 32 bits, in this machine's order."""
    host = (_MAPPED if mapped else b"") + socket.inet_aton(address[0])
    words = struct.unpack(f"={len(host) // 4}I", host)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


def _state(connection: socket.socket) -> int:
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return 0
