"""Answers other machines at a socket of its own: docs/remote.md.

Whoever reaches that socket may ask for the credential of a registry that the settings name, and for
nothing else. store/tunnel_client.py has the requests and the answers.
"""

import errno
import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from selectors import BaseSelector
from typing import Any

from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.daemon.memory import Records
from docker_credential_ecr_py.daemon.peer_name import name_of
from docker_credential_ecr_py.daemon.server import Connection, Server
from docker_credential_ecr_py.daemon.worker_pool import LIMIT, Report, Worker
from docker_credential_ecr_py.errors import (
    BadServerURL,
    CredentialsNotFound,
    EcrPyError,
    LoginExpired,
    LoginRefused,
    NoProfile,
    NotEcr,
    error_from_dict,
)
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.printable import one_line
from docker_credential_ecr_py.registry import RegistryRequest
from docker_credential_ecr_py.store import daemon_client, record
from docker_credential_ecr_py.store.tunnel_client import (
    ERROR,
    LOGIN,
    NO_CREDENTIALS,
    NO_LOGIN,
    NOT_FORWARDED,
    REPEAT,
    WAIT,
)

_MOST_CONNECTIONS = 200
# Requests: so many at once, and so many a second from then on.
_BURST, _RATE = 300, 10
# Processes that fetch for other machines at once; each takes some 45 MiB.
_MOST_FETCHES = 4
# Seconds after a login that a request from another machine began, and that failed, in which no
# other is begun: a machine must not open one window after the other.
_LOGIN_PAUSE = 300
# How many answers `status` shows.
_SHOWN = 10
_LONGEST_SHOWN = 100
_OUTCOMES = {NO_CREDENTIALS: "has no credentials", NOT_FORWARDED: "not forwarded"}


@dataclass(frozen=True)
class _Client:
    """A client that waits; `name` is that of its machine."""

    connection: Connection
    server_url: bytes
    name: str


@dataclass
class _Fetch:
    """A credential that is being fetched, and who waits for it. `names` are their machines."""

    host: str
    may_log_in: bool
    clients: list[_Client] = field(default_factory=list)

    @property
    def names(self) -> str:
        return ", ".join(dict.fromkeys(client.name for client in self.clients))


@dataclass
class _RateLimit:
    """A bucket that holds _BURST requests, and gets _RATE more a second."""

    left: float = _BURST
    at: float = field(default_factory=time.monotonic)

    def allows(self, now: float) -> bool:
        self.left = min(_BURST, self.left + (now - self.at) * _RATE)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Forwarding:
    """The socket for other machines: open while the settings say so.

    `start` starts a worker. `asks` is called when a login was begun for the machines with these
    names and a registry, and shows that to the user. What it decides: which registries are
    answered, for which users, how often, and when a request may begin a login.
    """

    def __init__(
        self,
        path: Path | None,
        selector: BaseSelector,
        records: Records,
        boundary: Boundary,
        start: Callable[[Worker], None],
        asks: Callable[[str, str], None],
    ) -> None:
        self._path = path
        self._selector = selector
        self._records = records
        self._environ: Mapping[str, str] = boundary.own_environment
        self._start_worker = start
        self._asks = asks
        self._settings = Settings()
        self._server: Server | None = None
        self._stamp = record.ABSENT
        self._problem = ""
        self._rate = _RateLimit()
        self._fetches: list[_Fetch] = []
        self._queue: deque[_Fetch] = deque()
        self._repeat_at = 0.0
        self._no_login_before = self._log_refusal_at = 0.0
        self._answered = self._refused = 0
        self._last: deque[dict[str, Any]] = deque(maxlen=_SHOWN)

    def apply(self, settings: Settings) -> None:
        """Open, keep or close the socket, as the settings say."""
        before, self._settings = self._settings, settings
        is_open = self._server is not None and self._is_in_place()
        if is_open and settings.forward and settings.forward_uids == before.forward_uids:
            return
        if self._server is not None:
            self.close()
        if settings.forward:
            self._open(settings.forward_uids)

    def expire(self) -> float | None:
        """Do what is due for clients; return the seconds until the next time, or None."""
        waits = [self._server.expire() if self._server else None]
        if self._fetches:
            now = time.monotonic()
            if now >= self._repeat_at:
                self._repeat_at = now + REPEAT
                self._say((*self._fetches, *self._queue), WAIT)
            waits.append(self._repeat_at - now)
        return min((wait for wait in waits if wait is not None), default=None)

    def status(self) -> dict[str, Any]:
        return {
            "open": self._server is not None,
            "socket": str(self._path) if self._path else None,
            "problem": self._problem,
            "registries": list(self._settings.forward),
            "uids": list(self._settings.forward_uids),
            "answered": self._answered,
            "refused": self._refused,
            "waiting": sum(len(fetch.clients) for fetch in self._fetches),
            "last": list(self._last),
        }

    def close(self) -> None:
        """Close the socket and every connection."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._queue.clear()
        for fetch in self._fetches:
            fetch.clients.clear()
        if self._path and self._is_in_place():
            with suppress(OSError):
                self._path.unlink()
        log.info("forward: the socket is closed")

    def _open(self, uids: Iterable[int]) -> None:
        self._problem = "" if self._path else "no folder for the socket: set XDG_RUNTIME_DIR"
        if self._path is None:
            return
        others = set(uids) - {os.geteuid()}
        try:
            listener = _listening(self._path, is_for_others=bool(others))
        except OSError as error:
            self._problem = f"{self._path} cannot be created: {error.strerror or error}"
            log.warning("forward: %s", self._problem)
            return
        self._server = Server(
            self._selector,
            self._serve,
            uids={os.geteuid(), *others},
            refused=self._refuse_user,
            most=_MOST_CONNECTIONS,
        )
        self._server.listen(listener)
        self._stamp = record.stamp(os.fsencode(self._path))
        log.info("forward: answers at %s for %s", self._path, ", ".join(self._settings.forward))

    def _is_in_place(self) -> bool:
        return self._path is not None and record.stamp(os.fsencode(self._path)) == self._stamp

    def _serve(self, connection: Connection, request: bytes, body: bytes) -> bytes | None:
        """Return the answer to a request, or None if the client has to wait for it."""
        verb, _, rest = request.partition(b" ")
        server_url, _, option = rest.partition(b" ")
        if verb not in (b"get", b"hit") or option not in (b"", NO_LOGIN):
            return b""
        if not self._rate.allows(time.monotonic()):
            return self._too_many()
        name = name_of(*daemon_client.peer(connection.wire))
        asked = self._forwarded(server_url)
        if asked is None:
            return self._note(os.fsdecode(server_url[:_LONGEST_SHOWN]), name, NOT_FORWARDED)
        if document := self._records.document(server_url):
            return self._note(asked.host, name, document)
        if verb == b"get":
            self._fetch(asked.host, option != NO_LOGIN, _Client(connection, server_url, name))
            return None
        return WAIT

    def _forwarded(self, server_url: bytes) -> RegistryRequest | None:
        """Return the registry of a URL if the settings forward it, else None."""
        if record.plain_host(server_url) is None:
            return None
        try:
            request = self._settings.request_for(server_url.decode())
        except (NotEcr, BadServerURL):
            return None
        return request if self._settings.forwards(request) else None

    def _fetch(self, host: str, may_log_in: bool, client: _Client) -> None:
        """Have a client wait for a fetch, which is begun unless it is under way."""
        for fetch in (*self._fetches, *self._queue):
            if (fetch.host, fetch.may_log_in) == (host, may_log_in):
                break
        else:
            fetch = _Fetch(host, may_log_in)
            self._queue.append(fetch)
        fetch.clients.append(client)
        client.connection.say(WAIT, 3 * REPEAT)
        self._start_fetches()

    def _start_fetches(self) -> None:
        while self._queue and len(self._fetches) < _MOST_FETCHES:
            fetch = self._queue.popleft()
            self._say([fetch], WAIT)
            if all(client.connection.is_closed for client in fetch.clients):
                continue  # who has hung up must not keep the workers busy
            self._fetches.append(fetch)
            may_log_in = fetch.may_log_in and time.monotonic() >= self._no_login_before
            job = {"do": "get", "host": fetch.host, "may_log_in": may_log_in}
            worker = Worker(
                job,
                self._environ,
                lambda report, fetch=fetch: self._fetched(fetch, report),  # type: ignore[misc]
                limit=LIMIT + self._settings.login_timeout,
                by_user=True,
                notes=lambda report, fetch=fetch: self._login_began(fetch),  # type: ignore[misc]
            )
            self._start_worker(worker)

    def _login_began(self, fetch: _Fetch) -> None:
        log.info("forward: %s asks for %s, and the user for a login", fetch.names, fetch.host)
        self._say([fetch], LOGIN)
        self._asks(fetch.names, fetch.host)

    def _say(self, fetches: Iterable[_Fetch], line: bytes) -> None:
        for fetch in fetches:
            for client in fetch.clients:
                client.connection.say(line, 3 * REPEAT)

    def _fetched(self, fetch: _Fetch, report: Report) -> None:
        """Answer those who waited for a fetch, by the report of its worker."""
        self._fetches.remove(fetch)
        failure = _failure_in(report)
        if isinstance(failure, LoginRefused | LoginExpired):
            self._no_login_before = time.monotonic() + _LOGIN_PAUSE
        for client in fetch.clients:
            line = _line_of(failure) if failure else _document(client.server_url, report)
            client.connection.answer(self._note(fetch.host, client.name, line))
        self._start_fetches()

    def _note(self, host: str, name: str, line: bytes) -> bytes:
        """Log and count an answer, and return it."""
        is_document = line.startswith(b"{")
        outcome = "answered" if is_document else _OUTCOMES.get(line) or os.fsdecode(line).strip()
        log.info("forward: %s for %s: %s", host, name, outcome)
        self._answered += is_document
        self._refused += not is_document
        self._last.append(
            {"at": time.time(), "registry": host, "machine": name, "outcome": outcome}
        )
        return line

    def _too_many(self) -> bytes:
        self._note_refusal("too many requests")
        return ERROR + b"too many requests: try again in a minute\n"

    def _refuse_user(self, uid: int) -> None:
        allowed = f"if it is in a container of yours, allow it by `ecr-py forward on --uid {uid}`"
        self._note_refusal(f"user {uid} was refused: {allowed}")

    def _note_refusal(self, why: str) -> None:
        """Count a request that was refused unread; log one a second at most."""
        self._refused += 1
        now = time.monotonic()
        if now >= self._log_refusal_at:
            self._log_refusal_at = now + 1
            log.warning("forward: %s", why)


def _failure_in(report: Report) -> EcrPyError | None:
    if "died" in report:
        return EcrPyError(f"a worker died: {report['died']}")
    note = report["result"]
    return error_from_dict(note) if isinstance(note, dict) else None


def _line_of(failure: EcrPyError) -> bytes:
    """Return the answer for a credential that cannot be fetched.

    Without a profile here, the other machine may have one of its own.
    """
    if isinstance(failure, CredentialsNotFound):
        return NO_CREDENTIALS
    if isinstance(failure, NoProfile):
        return NOT_FORWARDED
    return ERROR + one_line(": ".join(filter(None, (failure.what, failure.hint)))).encode() + b"\n"


def _document(server_url: bytes, report: Report) -> bytes:
    fields = {
        "ServerURL": server_url.decode(),
        "Username": report["username"],
        "Secret": report["secret"],
    }
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _listening(path: Path, *, is_for_others: bool) -> socket.socket:
    """Bind a socket at `path` for this user, or for others too. Raises OSError.

    No other user of this machine can enter the folder above; a container mounts the socket's own.
    """
    make_private_folder(path.parent)
    if not record.is_private_folder(os.fsencode(path.parent.parent)):
        raise PermissionError(errno.EPERM, f"{path.parent.parent} is not yours alone")
    path.parent.chmod(0o711 if is_for_others else 0o700)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o111 if is_for_others else 0o177)
    try:
        with suppress(FileNotFoundError):
            path.unlink()
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
