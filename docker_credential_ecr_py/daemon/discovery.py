"""Finds this user's daemon, also one that is stopped or hangs, and ends it.

A daemon holds a POSIX lock on a file beside its socket. The kernel reports which process that is,
so the PID can never be an old one that belongs to another process by now.
"""

import os
import signal
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.daemon.status import ask_status
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.store import daemon_client, record

if sys.platform != "win32":
    import fcntl

LOCK = "daemon.lock"
# The hint for a daemon that does not answer.
RESTART = "run `ecr-py daemon restart`"
# What a command that needs the daemon says, and its hint.
NOT_RUNNING, START = "the daemon is not running", "run `ecr-py daemon start`"
if sys.platform == "win32":
    NOT_RUNNING, START = "the daemon runs only on Linux and macOS", ""
# Seconds that a daemon may take to answer, to end after SIGTERM, and to be gone after SIGKILL.
ANSWER, END, KILLED = 5.0, 10.0, 10.0
_PAUSE = 0.05
_KILL = 9  # signal.SIGKILL, which Windows lacks
# struct flock of fcntl(2) on 64-bit systems: the format, and where l_type and l_pid are in it.
_FLOCK = ("qqihh", 3, 2) if sys.platform == "darwin" else ("hhqqi4x", 0, 4)


@dataclass(frozen=True)
class Presence:
    """A daemon that runs. `pid` is 0 if it is in another PID namespace: a container's, say.

    `status` is its answer to `status`; None if it does not answer.
    """

    pid: int
    status: dict[str, Any] | None
    is_stopped: bool = False

    @property
    def problem(self) -> str:
        """Why it cannot be used; "" if it answers."""
        if self.status is not None:
            return ""
        why = "is stopped (SIGSTOP) and does not answer" if self.is_stopped else "does not answer"
        return f"the daemon ({self.name}) {why}"

    @property
    def name(self) -> str:
        return f"pid {self.pid}" if self.pid else "of another container"


def find_daemon(
    environ: Mapping[str, str], *, limit: float = ANSWER, start_limit: float = ANSWER
) -> Presence | None:
    """Return the daemon that this environment leads to, or None if none runs.

    It has `limit` seconds to answer. If systemd listens for it, the request starts it: then it has
    `start_limit` seconds.
    """
    pid = lock_holder(environ)
    if pid and is_stopped(pid):
        return Presence(pid, None, is_stopped=True)
    status = ask_status(environ, limit=start_limit if pid is None else limit)
    pid = lock_holder(environ)
    if status is not None:
        return Presence(_listener(environ) if pid is None else pid, status)
    if pid is None:
        return None
    return Presence(pid, None, is_stopped=bool(pid) and is_stopped(pid))


def forwarding_status(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what the daemon says about forwarding (Forwarding.status); None if none runs.

    Raises EcrPyError if it does not answer.
    """
    found = find_daemon(environ)
    if found is None:
        return None
    if found.status is None:
        raise EcrPyError(found.problem, hint=RESTART)
    if "forward" not in found.status:
        raise EcrPyError("the daemon that runs is of an older version", hint=RESTART)
    return dict(found.status["forward"])


def daemon_pid(environ: Mapping[str, str]) -> int | None:
    """Return the PID of the daemon, whether or not it answers; None if none runs.

    The PID is 0 if it is not in our PID namespace.
    """
    pid = lock_holder(environ)
    if pid is None and ask_status(environ) is not None:  # of a version that held no such lock
        return _listener(environ)
    return pid


def end_daemon(environ: Mapping[str, str]) -> bool:
    """End it by SIGTERM or, if that is not enough, by SIGKILL. Returns False if none runs.

    Raises EcrPyError if it does not end, or is in another PID namespace.
    """
    pid = daemon_pid(environ)
    if pid is None:
        return False
    if pid == 0:
        raise EcrPyError("the daemon runs in another container", hint="stop it there")
    for number, limit in ((signal.SIGTERM, END), (_KILL, KILLED)):
        if not _send(pid, number, environ) or _wait_for_end(pid, environ, limit):
            return True
    raise EcrPyError(f"the daemon (pid {pid}) does not end", hint=f"run `kill -KILL {pid}`")


def lock_holder(environ: Mapping[str, str]) -> int | None:
    """Return the PID of the process that holds the daemon's lock; None if there is none.

    The PID is 0 if it is not in our PID namespace.
    """
    if sys.platform == "win32":
        return None
    folder = record.runtime_folder(paths.as_bytes(environ))
    if folder is None or not record.is_private_folder(folder):
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(Path(os.fsdecode(folder)) / LOCK, flags)
    except OSError:
        return None
    try:
        return _holder(file)
    except OSError:
        return None
    finally:
        os.close(file)


def hold_lock(file: int) -> None:
    """Make this process the one that `lock_holder` finds, as long as it lives.

    It must not open and close the file again: that would give up the lock.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError):  # without such locks, a daemon that hangs is not found
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by SIGSTOP or by a debugger. False if that is unknown."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")


def _holder(file: int) -> int | None:
    """Ask the kernel which process holds a lock on a file. Raises OSError."""
    if sys.platform == "win32" or sys.maxsize < 2**32:  # 32-bit systems have another struct
        return None
    form, type_at, pid_at = _FLOCK
    fields = [0] * 5
    fields[type_at] = fcntl.F_WRLCK
    lock = struct.unpack(form, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(form, *fields)))
    if lock[type_at] == fcntl.F_UNLCK:
        return None
    return max(0, int(lock[pid_at]))


def _listener(environ: Mapping[str, str]) -> int:
    """Return the PID of the process that listens at the daemon's socket; 0 if we cannot see it."""
    path = record.socket_path(paths.as_bytes(environ))
    connection = (
        daemon_client.connect(path, daemon_client.LIMIT)
        if path and sys.platform == "linux"
        else None
    )
    if connection is None:
        return 0
    try:
        return daemon_client.peer_pid(connection)
    except OSError:
        return 0
    finally:
        connection.close()


def _send(pid: int, number: int, environ: Mapping[str, str]) -> bool:
    """Send a signal to the daemon. False if the process is no longer the daemon."""
    process = _handle(pid)
    try:
        if daemon_pid(environ) != pid:
            return False
        for one in (number, signal.SIGCONT):  # a stopped process gets SIGTERM once it continues
            if process is not None:
                signal.pidfd_send_signal(process, one)
            else:
                os.kill(pid, one)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise EcrPyError(f"the daemon (pid {pid}) cannot be ended: {error.strerror}") from None
    finally:
        if process is not None:
            os.close(process)
    return True


def _handle(pid: int) -> int | None:
    """Open a process, so that no signal goes to another with its PID. None if impossible."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _wait_for_end(pid: int, environ: Mapping[str, str], limit: float) -> bool:
    deadline = time.monotonic() + limit
    while daemon_pid(environ) == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
