"""The socket: takes one request a connection, within limits of size and time.

Knows lines and bytes; what they mean is the business of whoever is called with them. One thread,
one selector: a request takes tens of microseconds, so nothing is gained by more.
"""

import errno
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from docker_credential_ecr_py.store import daemon_client, record

# Seconds that a client may take to say what it wants, and to read the answer.
PATIENCE = 5.0
MOST_CONNECTIONS = 800
# Bytes of requests that are not complete and of answers that are not read yet, of all clients.
MOST_HELD = 8 * 1024 * 1024
_CHUNK = 65536
_LONGEST_LINE = 16 * 1024
_BACKLOG = 4096  # as systemd has it; the kernel may allow fewer
_PAUSE = 0.05


class Connection:
    """A client. `answer` is all it gets; `tell` leaves it connected, and `gone` says it left."""

    def __init__(self, server: "Server", wire: socket.socket) -> None:
        self._server = server
        self.wire = wire
        self.deadline: float | None = time.monotonic() + PATIENCE
        self.gone: Callable[[], None] = lambda: None
        self._read = b""
        self._unsent = b""
        self._ends = False
        self._taken = False

    @property
    def held(self) -> int:
        """Bytes that the daemon keeps for it."""
        return len(self._read) + len(self._unsent)

    def answer(self, content: bytes) -> None:
        self._ends = True
        self.tell(content)

    def tell(self, content: bytes) -> None:
        self._unsent += content
        self.flush()

    def hold(self) -> None:
        """It may stay as long as it likes: somebody is at it."""
        self.deadline = None

    def flush(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self.wire.send(self._unsent) :]
        except BlockingIOError:
            # Who is being answered has said all, and its end of input must not cut the answer.
            reads = 0 if self._ends else selectors.EVENT_READ
            self._server.watch(self, reads | selectors.EVENT_WRITE)
            return
        except OSError:
            self.close()
            return
        if self._ends:
            self.close()
        else:
            self._server.watch(self, selectors.EVENT_READ)

    def receive(self) -> None:
        try:
            chunk = self.wire.recv(_CHUNK)
        except BlockingIOError:
            self._server.watch(self, selectors.EVENT_READ)
            return
        except OSError:
            chunk = b""
        if self._taken:
            if not chunk:
                self.close()
            return
        self._read += chunk
        line, newline, body = self._read.partition(b"\n")
        too_long = len(line) > _LONGEST_LINE or len(self._read) > daemon_client.LARGEST_REQUEST
        if too_long or not (chunk or newline):
            self.close()
            return
        protocol, _, request = line.partition(b" ")
        if newline and (not chunk or not request.startswith(b"write ")):
            self._taken = True
            self._read = b""
            if protocol == daemon_client.PROTOCOL:
                self._server.serve(request, body, self)
            else:
                self.answer(daemon_client.PROTOCOL + b"\n")
        else:
            self._server.watch(self, selectors.EVENT_READ)

    def close(self) -> None:
        self._server.forget(self)
        self.wire.close()
        gone, self.gone = self.gone, lambda: None
        gone()


class Server:
    """`serve` is called with a request, what followed its line, and the connection."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        serve: Callable[[bytes, bytes, Connection], None],
    ) -> None:
        self._selector = selector
        self._connections: dict[Connection, int] = {}
        self._held_for: dict[Connection, int] = {}
        self._held = 0
        self._next_look = 0.0
        self.serve = serve

    def listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._selector.register(listener, selectors.EVENT_READ, lambda _: self._accept(listener))

    def watch(self, connection: Connection, events: int) -> None:
        """Waits for a client; if too much is held for all of them, the oldest go."""
        self._held += connection.held - self._held_for.get(connection, 0)
        self._held_for[connection] = connection.held
        watched = self._connections.get(connection, 0)
        if watched != events:
            self._wait_for(connection, events, watched)
        while self._held > MOST_HELD:
            next(one for one, held in self._held_for.items() if held).close()

    def _wait_for(self, connection: Connection, events: int, watched: int) -> None:
        change: Any = self._selector.modify if watched else self._selector.register
        change(connection.wire, events, lambda seen: self._ready(connection, seen))
        self._connections[connection] = events

    def forget(self, connection: Connection) -> None:
        self._held -= self._held_for.pop(connection, 0)
        if self._connections.pop(connection, 0):
            self._selector.unregister(connection.wire)

    def expire(self) -> float | None:
        """Closes who was too slow. Seconds until it wants to look again; None: nobody is there."""
        if not self._connections:
            return None
        now = time.monotonic()
        # Whoever comes later may stay longer, so nobody is late before the earliest is.
        if now >= self._next_look:
            deadlines = [(one.deadline, one) for one in self._connections if one.deadline]
            for deadline, connection in deadlines:
                if deadline <= now:
                    connection.close()
            left = [deadline for deadline, _ in deadlines if deadline > now]
            self._next_look = min(left, default=now + PATIENCE)
        return self._next_look - now

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                wire, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._connections:
                    # Who knocks is still there: we would be called again at once, on and on.
                    time.sleep(_PAUSE)
                    return
                self._close_oldest()
                continue
            wire.setblocking(False)
            try:
                ours = daemon_client.peer_uid(wire) == record.system.geteuid()
            except OSError:
                ours = False
            if not ours:
                wire.close()
                continue
            if len(self._connections) >= MOST_CONNECTIONS:
                self._close_oldest()
            Connection(self, wire).receive()

    def _close_oldest(self) -> None:
        next(iter(self._connections)).close()

    def _ready(self, connection: Connection, seen: int) -> None:
        if seen & selectors.EVENT_WRITE:
            connection.flush()
        if seen & selectors.EVENT_READ and connection in self._connections:
            connection.receive()

    def close(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.close()


def is_reached_at(path: bytes) -> bool:
    """Whether who connects to `path` reaches this process, which listens somewhere.

    The kernel says who listens at the other end. What is undecided counts as reached.
    """
    with socket.socket(socket.AF_UNIX) as wire:
        wire.setblocking(False)
        try:
            wire.connect(os.fsdecode(path))
            # struct ucred: pid, uid, gid
            told = wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except BlockingIOError:  # its queue is full, so somebody knows the way
            return True
        except OSError:
            return False
    return int.from_bytes(told[:4], sys.byteorder) == os.getpid()
