"""The daemon, in the order in which it lives: start, listen, serve, end."""

import fcntl
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import Any

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.docker_config import DockerConfig, load_docker_config
from docker_credential_ecr_py.config.settings import Settings, load_settings
from docker_credential_ecr_py.daemon import systemd
from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.daemon.discovery import LOCK, hold_lock
from docker_credential_ecr_py.daemon.forwarding import Forwarding
from docker_credential_ecr_py.daemon.memory import Records
from docker_credential_ecr_py.daemon.notified_sessions import TOLD, NotifiedSessions
from docker_credential_ecr_py.daemon.notify import CLICKED, notify
from docker_credential_ecr_py.daemon.scheduler import LONGEST_SLEEP, Ending, Scheduler
from docker_credential_ecr_py.daemon.server import Connection, Server, is_reached_at
from docker_credential_ecr_py.daemon.worker_pool import Report, Worker, Workers
from docker_credential_ecr_py.errors import CannotRun, EcrPyError
from docker_credential_ecr_py.hardening import forbid_dumps_of_children
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.lock import open_lock

_NO_STAMPS: tuple[bytes, ...] = ()
# The stores whose credentials the daemon has in memory.
_IN_MEMORY = ("memory", "keyring")


class Daemon:
    """Runs the daemon's one thread: an event loop over the socket, the workers and the scheduler.

    It decides neither what is due (scheduler.py) nor what a client may do (boundary.py), and calls
    AWS only through workers. `environ` is the daemon's own environment.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._began = time.time()
        self._next_look = 0.0
        self._ending = False
        self._reload = False
        self._selector = selectors.DefaultSelector()
        self._server = Server(self._selector, self._serve)
        self._workers = Workers(self._selector)
        self._watchdog = systemd.Watchdog(environ)
        cache = paths.cache_folder()
        root = os.fsencode(cache) if cache else None
        self._boundary = Boundary(environ, root)
        self._records = Records(root, self._boundary)
        self._watched = [
            paths.settings_file(environ),
            paths.aws_config_file(environ),
            paths.aws_credentials_file(environ),
            paths.docker_config_file(environ),
        ]
        self._stamps = _NO_STAMPS
        self._settings, self._docker = Settings(), DockerConfig()
        self._named: set[str] = set()
        self._forwarding = Forwarding(
            paths.forward_socket(environ),
            self._selector,
            self._records,
            self._boundary,
            self._workers.start,
            self._notify_of_request,
        )
        folder = record.runtime_folder(paths.as_bytes(environ))
        self._scheduler = Scheduler(
            self._records,
            self._start,
            self._notify_user,
            self._boundary,
            lambda: self._named,
            [os.fsencode(file) for file in self._watched],
            told=NotifiedSessions(Path(os.fsdecode(folder)) / TOLD if folder else None),
        )

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises CannotRun, also if clients cannot reach it."""
        forbid_dumps_of_children()
        _allow_many_files()
        socket_path = record.socket_path(paths.as_bytes(self._environ))
        if socket_path is None:
            raise CannotRun("no folder for the daemon's socket: set XDG_RUNTIME_DIR")
        if why := paths.why_root_runs_no_daemon(self._environ):
            raise CannotRun(why, hint="run it as that user")
        with _only_one(Path(os.fsdecode(socket_path)).parent):
            passed = systemd.passed_sockets(self._environ)
            for listener in passed:
                self._server.listen(listener)
            is_bound = not (passed and is_reached_at(socket_path))
            if is_bound:  # systemd has passed none, or one whose file was deleted
                self._server.listen(_bound(socket_path))
            ours = record.stamp(socket_path)
            self._heed_signals()
            systemd.notify(self._environ, "READY=1")
            log.info("daemon started, %s", os.fsdecode(socket_path))
            try:
                while not self._ending:
                    if time.monotonic() >= self._next_look and record.stamp(socket_path) != ours:
                        # The folder was removed, or another daemon listens at this path.
                        raise CannotRun(f"{os.fsdecode(socket_path)} was removed or replaced")
                    self._turn()
            finally:
                systemd.notify(self._environ, "STOPPING=1")
                if is_bound and record.stamp(socket_path) == ours:
                    with suppress(OSError):
                        os.unlink(socket_path)
                self._forwarding.close()
                self._workers.stop()
                self._server.close()
                log.info("daemon ended")

    def _turn(self) -> None:
        """Do what is due, wait for the next events, and call their handlers."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._look()
        timed = (self._server.expire, self._forwarding.expire, self._workers.expire)
        waits = [self._next_look - now, *(expire() for expire in timed), self._watchdog.feed()]
        ready = self._selector.select(min(wait for wait in waits if wait is not None))
        self._records.new_turn()
        for key, events in ready:
            try:
                key.data(events)
            except Exception:
                # An error with one client or worker must not affect the others.
                log.exception("unexpected")

    def _look(self) -> float:
        """Look at files, records and sessions; start what is due. Return seconds to the next."""
        try:
            self._look_at_files()
            self._forwarding.apply(self._settings)
            self._records.drop_old(time.time())
            return self._scheduler.turn()
        except Exception:
            # Unexpected content of a file must not end the daemon.
            log.exception("unexpected")
            return LONGEST_SLEEP

    def _serve(self, client: Connection, request: bytes, body: bytes) -> bytes:
        """Return the answer to a request; b"" if there is none, or if it cannot be served."""
        try:
            return self._answer(request, body)
        except Exception as error:
            # A bad request must not end more than its own connection.
            log.info("cannot serve a request: %s", type(error).__name__)
            log.debug("where from", exc_info=True)
            return b""

    def _answer(self, request: bytes, body: bytes) -> bytes:
        verb, _, rest = request.partition(b" ")
        match verb:
            case b"get" | b"hit":
                server_url, _, here = rest.partition(b" ")
                return self._records.hit(server_url, _unhex(here), can_renew=verb == b"get")
            case b"read":
                return self._records.record(rest)
            case b"write":
                kept = self._keeps_records() and self._records.write(rest, body)
                return b"ok\n" if kept else b""
            case b"remove":
                self._records.remove(rest)
                return b"ok\n"
            case b"names":
                return b"\n".join(self._records.names(rest))
            case b"status":
                return json.dumps(self._status()).encode()
            case b"reload":
                self._read_again()
                self._look_at_files()
                self._forwarding.apply(self._settings)
                return b"ok\n"
        return b""

    def _keeps_records(self) -> bool:
        """Whether the settings let clients store records here; read again if they changed."""
        if self._settings.store not in _IN_MEMORY:
            self._look_at_files()
        return self._settings.store in _IN_MEMORY

    def _status(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "began": self._began,
            "store": self._settings.store,
            "forward": self._forwarding.status(),
            **self._scheduler.status(),
        }

    def _look_at_files(self) -> None:
        """Read the settings and docker's config again if one of the files has changed."""
        stamps = tuple(record.stamp(os.fsencode(file)) for file in self._watched)
        if stamps == self._stamps and not self._reload:
            return
        began, self._stamps, self._reload = self._stamps is _NO_STAMPS, stamps, False
        before = self._settings.store
        with _logged():
            self._settings = load_settings(paths.settings_file(self._environ))
        store = self._settings.store
        # A client may store records for store = "memory" before the daemon has read the change.
        if store not in (before, "memory"):
            self._records.clear()
        if store == "keyring" and (began or before != store):
            self._scheduler.unseal()
        with _logged():
            self._docker = load_docker_config(paths.docker_config_file(self._environ))
        hosts = (*self._docker.ours, *self._settings.profiles, *self._settings.aliases)
        self._named = {host for host in hosts if store != "none" and self._is_private_ecr(host)}

    def _is_private_ecr(self, host: str) -> bool:
        """Whether a host needs a credential. A glob does not count as one."""
        settings = self._settings
        return settings.is_ecr(host) and not settings.registry_for(host).public

    def _start(
        self, job: Report, environ: Mapping[str, str], ends: Callable[[Report], None]
    ) -> None:
        def ended(result: Report) -> None:
            ends(result)
            self._wake_scheduler()

        self._workers.start(Worker(job, environ, ended))

    def _notify_user(self, ending: Ending) -> None:
        """Show a notification that a session ends; a click on it logs in."""
        command = f"ecr-py login {quote(ending.profile)}" if ending.profile else "ecr-py login"
        log.info("a session ends soon: %s", command)
        if self._settings.notify == "never":
            return
        minutes = max(0, round((ending.expires - time.time()) / 60))
        when = f"ends in {minutes} minutes" if minutes else "has ended"
        title = f"Your AWS session {when}"
        pipe = notify(ending.environ, title, f"Run {command} to renew it.", "Log in")
        if pipe is not None:
            self._selector.register(
                pipe, selectors.EVENT_READ, lambda _: self._heed_click(pipe, ending)
            )

    def _notify_of_request(self, machines: str, host: str) -> None:
        """Show a notification that a login was begun for other machines."""
        if self._settings.notify == "never":
            return
        text = f"Your AWS session has ended. Log in in the browser to let it pull from {host}."
        environ = self._boundary.own_environment
        notify(environ, f"{machines} asks for your ECR login", text)

    def _heed_click(self, pipe: int, ending: Ending) -> None:
        said = os.read(pipe, 100)
        self._selector.unregister(pipe)
        os.close(pipe)
        if said.strip() == CLICKED:
            job = {"do": "log in", "host": ending.host, "limit": self._settings.login_timeout}
            limit = self._settings.login_timeout + 60.0
            worker = Worker(job, ending.environ, self._logged_in, limit=limit, by_user=True)
            self._workers.start(worker)

    def _logged_in(self, result: Report) -> None:
        log.info("login from the notification: %s", result)
        self._wake_scheduler()

    def _heed_signals(self) -> None:
        """Let SIGTERM and SIGINT end the loop, and SIGHUP read the settings; each wakes select."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._selector.register(ours, selectors.EVENT_READ, lambda _: ours.recv(100))
        self._wakers = (ours, theirs)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, self._read_again)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _read_again(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._reload = True
        self._wake_scheduler()

    def _wake_scheduler(self) -> None:
        """Have the scheduler take its next turn at once."""
        self._next_look = 0.0


@contextmanager
def _logged() -> Iterator[None]:
    """Log an error in one of the user's files; the values read before stay in force."""
    try:
        yield
    except EcrPyError as error:
        log.warning("%s", error)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of this user's daemon. Raises CannotRun if another daemon has it."""
    try:
        make_private_folder(folder)
        if not record.is_private_folder(os.fsencode(folder)):
            raise CannotRun(f"{folder} is not a folder that only you can use: correct or remove it")
        file = _opened_lock(folder / LOCK)
    except OSError as error:
        raise CannotRun(f"{folder} cannot be used: {error.strerror}") from None
    try:
        hold_lock(file)
        yield
    finally:
        os.close(file)


def _opened_lock(path: Path) -> int:
    """Open the lock file, and lock it. Raises CannotRun if another has it, and OSError."""
    while True:
        file = open_lock(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # `uninstall` may have removed the file before the lock: then it excludes no process.
            if os.path.samestat(os.fstat(file), path.lstat()):
                return file
        except BlockingIOError:
            os.close(file)
            raise CannotRun(
                "a daemon is already running", hint="run `ecr-py daemon status`"
            ) from None
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(file)
            raise CannotRun(f"{path.parent} cannot be locked: {error.strerror}") from None
        os.close(file)


def _bound(path: bytes) -> socket.socket:
    """Bind a socket at `path` for this user alone. We hold the lock: remove an old one."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
    except OSError as error:
        raise CannotRun(
            f"{os.fsdecode(path)} cannot be created: {error.strerror or error}"
        ) from None
    finally:
        os.umask(before)
    return listener


def _allow_many_files() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _unhex(text: bytes) -> bytes:
    """Decode hexadecimal. Raises ValueError."""
    return bytes.fromhex(text.decode("ascii"))
