"""A socket: takes one request per connection, within limits of size and time.

It handles lines and bytes, not their meaning. One thread, one selector: a request takes tens of
microseconds, so more threads would gain nothing.
"""

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from docker_credential_ecr_py.store import daemon_client, record

# Seconds that a client may take to send its request and to read the answer.
PATIENCE = 5.0
MOST_CONNECTIONS = 800
# Bytes of incomplete requests and of unread answers, of all clients together.
MOST_HELD = 8 * 1024 * 1024
_CHUNK = 65536
_LONGEST_LINE = 16 * 1024
_BACKLOG = 4096  # as systemd has it; the kernel may allow fewer
_PAUSE = 0.05


class Connection:
    """A client: reads its one request, sends the answer, and closes.

    `waits` is set once its request has been read, if the answer comes later.
    """

    def __init__(self, server: "Server", wire: socket.socket) -> None:
        self._server = server
        self.wire = wire
        self.deadline = time.monotonic() + PATIENCE
        self._read = b""
        self._unsent = b""
        self._is_answered = False
        self.waits = False
        self.is_closed = False

    @property
    def held(self) -> int:
        """Bytes that the daemon holds for this client."""
        return len(self._read) + len(self._unsent)

    def receive(self) -> None:
        """Read what has arrived; answer if the request is complete."""
        try:
            chunk = self.wire.recv(_CHUNK)
        except BlockingIOError:
            self._server.watch(self, selectors.EVENT_READ)
            return
        except OSError:
            chunk = b""
        self._read += chunk
        line, newline, body = self._read.partition(b"\n")
        too_long = len(line) > _LONGEST_LINE or len(self._read) > daemon_client.LARGEST_REQUEST
        if too_long or not (chunk or newline):
            self.close()
            return
        protocol, _, request = line.partition(b" ")
        if not newline or (chunk and request.startswith(b"write ")):
            self._server.watch(self, selectors.EVENT_READ)
            return
        self._read = b""
        if protocol != daemon_client.PROTOCOL:
            self.answer(daemon_client.PROTOCOL + b"\n")
            return
        answer = self._server.serve(self, request, body)
        if answer is not None:
            self.answer(answer)

    def answer(self, last: bytes) -> None:
        """Send the last bytes of the answer, and close then."""
        self._is_answered = True
        if self.waits:
            self.deadline = time.monotonic() + PATIENCE
        self._unsent += last
        self.send()

    def say(self, line: bytes, patience: float) -> None:
        """Send a line before the answer, for which there are `patience` seconds from now on."""
        self.waits = True
        self.deadline = time.monotonic() + patience
        self._unsent += line
        self.send()

    def send(self) -> None:
        """Send as much as the client takes, and close after the last byte of the answer."""
        if self.is_closed:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[self.wire.send(self._unsent) :]
        except BlockingIOError:
            # Not for reading: a client that has closed its side must still get the whole answer.
            self._server.watch(self, selectors.EVENT_WRITE)
            return
        except OSError:
            self.close()
            return
        if self._is_answered:
            self.close()
        else:
            self._server.watch(self, 0)

    def close(self) -> None:
        self.is_closed = True
        self._server.forget(self)
        self.wire.close()


class Server:
    """Accepts clients and limits how many there are, how long they take and how much is held.

    `serve` gets a client, its request line and the bytes after it, and returns the answer, or None
    if it gives the client one later. Clients of other users than `uids` are not served; `refused`
    is called with the user of each.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        serve: Callable[[Connection, bytes, bytes], bytes | None],
        *,
        uids: Collection[int] = (),
        refused: Callable[[int], None] = lambda uid: None,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self._selector = selector
        self._uids = uids or (record.system.geteuid(),)
        self._refused = refused
        self._most = most
        self._listeners: list[socket.socket] = []
        self._connections: dict[Connection, int] = {}
        self._held_for: dict[Connection, int] = {}
        self._held = 0
        self._next_look = 0.0
        self.serve = serve

    def listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._listeners.append(listener)
        self._selector.register(listener, selectors.EVENT_READ, lambda _: self._accept(listener))

    def watch(self, connection: Connection, events: int) -> None:
        """Wait for a client (0: for no event); close the oldest if too much is held for all."""
        self._held += connection.held - self._held_for.get(connection, 0)
        self._held_for[connection] = connection.held
        self._next_look = min(self._next_look, connection.deadline)
        watched = self._connections.get(connection, 0)
        if watched != events or connection not in self._connections:
            self._wait_for(connection, events, watched)
        while self._held > MOST_HELD:
            next(one for one, held in self._held_for.items() if held).close()

    def _wait_for(self, connection: Connection, events: int, watched: int) -> None:
        self._connections[connection] = events
        if not events:
            if watched:
                self._selector.unregister(connection.wire)
            return
        change: Any = self._selector.modify if watched else self._selector.register
        change(connection.wire, events, lambda seen: self._ready(connection, seen))

    def forget(self, connection: Connection) -> None:
        self._held -= self._held_for.pop(connection, 0)
        if self._connections.pop(connection, 0):
            self._selector.unregister(connection.wire)

    def expire(self) -> float | None:
        """Close connections that were too slow.

        Returns the seconds until the next call is due, or None if there is no connection.
        """
        if not self._connections:
            return None
        now = time.monotonic()
        # Later connections have later deadlines, so the earliest one decides.
        if now >= self._next_look:
            for connection in [one for one in self._connections if one.deadline <= now]:
                connection.close()
            deadlines = [connection.deadline for connection in self._connections]
            self._next_look = min(deadlines, default=now + PATIENCE)
        return self._next_look - now

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                wire, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._connections:
                    # The client is still in the queue: without a pause select would spin.
                    time.sleep(_PAUSE)
                    return
                self._close_oldest()
                continue
            wire.setblocking(False)
            if not self._is_served(wire):
                wire.close()
                continue
            if len(self._connections) >= self._most:
                self._close_oldest()
            Connection(self, wire).receive()

    def _is_served(self, wire: socket.socket) -> bool:
        try:
            uid = daemon_client.peer_uid(wire)
        except OSError:
            return False
        if uid is not None and uid not in self._uids:
            self._refused(uid)
        return uid in self._uids

    def _close_oldest(self) -> None:
        """Close the client that has been connected longest, those that wait for an answer last."""
        every = iter(self._connections)
        next((one for one in every if not one.waits), next(iter(self._connections))).close()

    def _ready(self, connection: Connection, seen: int) -> None:
        if seen & selectors.EVENT_WRITE:
            connection.send()
        else:
            connection.receive()

    def close(self) -> None:
        """Close every client, and stop listening."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.close()
        for listener in self._listeners:
            with suppress(OSError, KeyError):
                self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()


def is_reached_at(path: bytes) -> bool:
    """Whether a client that connects to `path` reaches this process, as the kernel says.

    True too if the kernel cannot say, because the queue is full.
    """
    with socket.socket(socket.AF_UNIX) as wire:
        wire.setblocking(False)
        try:
            wire.connect(os.fsdecode(path))
            return daemon_client.peer_pid(wire) == os.getpid()
        except BlockingIOError:  # its queue is full, so other clients reach it
            return True
        except OSError:
            return False
