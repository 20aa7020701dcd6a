"""Asks the daemon of the machine that a tunnel leads to. docs/remote.md says what a tunnel is.

A hit loads this into a bare interpreter, so it imports nothing more than daemon_client.py. It
raises nothing: if the tunnel is dead or slow, there is no answer, and the process goes on without.
The other end is not trusted: an answer counts only if it is whole, plain and for the requested URL.

    ecr-py/1 hit URL           one line: a document, NO_CREDENTIALS, NOT_FORWARDED or WAIT
    ecr-py/1 get URL           the same lines, LOGIN, or `error TEXT` if there is no credential;
                               after WAIT and LOGIN more will follow
    ecr-py/1 get URL no-login  the same, but the user is not asked to log in
"""

import _socket
import sys
import time

from docker_credential_ecr_py.store import daemon_client, record

TYPE_CHECKING = False  # typing is not loaded yet
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NO_CREDENTIALS = daemon_client.NO_CREDENTIALS
# The other machine does not answer for this registry: go on as without a tunnel.
NOT_FORWARDED = b"no\n"
# It asks AWS, or it waits for its user, who logs in. WAIT is repeated as long as it takes.
WAIT, LOGIN = b"wait\n", b"login\n"
ERROR = b"error "
NO_LOGIN = b"no-login"
# Seconds until the first line has to be there. ECR_PY_FORWARD_WAIT sets another limit, up to the
# longest.
LIMIT, LONGEST_LIMIT = 0.25, 30.0
# Seconds between two lines while an answer is waited for, and after how many the tunnel is dead.
REPEAT, SILENCE = 10.0, 30.0
# Seconds until a tunnel is dead that only says WAIT: a login may take an hour, and wait its turn.
LONGEST_WAIT = 2 * 3600.0
_LARGEST_LINE = 16 * 1024
# Whether this process, or the front that became it, got no answer through the tunnel in time. The
# front says so by a variable.
IS_GONE = b"ECR_PY_TUNNEL_IS_GONE"
is_gone = sys.platform != "win32" and bool(record.system.environ.pop(IS_GONE, None))


def hit(path: bytes, server_url: bytes, environ: "Mapping[bytes, bytes]") -> bytes:
    """Return the line of the answer: docker's JSON document, or one of those above; else b""."""
    global is_gone
    if is_gone:
        return b""
    lines = _Lines(path, b"hit " + server_url, environ)
    answer = lines.next(lines.deadline)
    lines.close()
    is_gone = not _is_answer(answer, server_url)
    return b"" if is_gone else answer


def get(
    path: bytes,
    server_url: bytes,
    environ: "Mapping[bytes, bytes]",
    *,
    may_log_in: bool,
    tell: "Callable[[], None]",
) -> bytes:
    """Return the answer as hit, once there is one; b"" if the tunnel is dead.

    `tell` is called when the user of the other machine is asked to log in.
    """
    request = b"get " + server_url + (b"" if may_log_in else b" " + NO_LOGIN)
    lines = _Lines(path, request, environ)
    deadline = lines.deadline
    end = time.monotonic() + LONGEST_WAIT
    try:
        while time.monotonic() < end and _is_answer(line := lines.next(deadline), server_url):
            if line == LOGIN:
                tell()
            elif line != WAIT:
                return line
            deadline = time.monotonic() + SILENCE
        return b""
    finally:
        lines.close()


class _Lines:
    """The lines that arrive through the tunnel after a request; the first one by `deadline`."""

    def __init__(self, path: bytes, request: bytes, environ: "Mapping[bytes, bytes]") -> None:
        limit = _limit(environ)
        self.deadline = time.monotonic() + limit
        self._read = b""
        self._connection = connect(path, environ, limit)
        if self._connection is None:
            return
        try:
            self._connection.sendall(b"%b %b\n" % (daemon_client.PROTOCOL, request))
        except OSError:
            self.close()

    def next(self, deadline: float) -> bytes:
        """Return the next line, or b"" if none has come by then."""
        while self._connection is not None and len(self._read) <= _LARGEST_LINE:
            line, newline, rest = self._read.partition(b"\n")
            if newline:
                self._read = rest
                return line + newline
            try:
                self._connection.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = self._connection.recv(_LARGEST_LINE)
            except OSError:
                break
            if not chunk:
                break
            self._read += chunk
        return b""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def connect(path: bytes, environ: "Mapping[bytes, bytes]", limit: float) -> "_socket.socket | None":
    """Return a connection to the tunnel, or None; also if another user may have put it there."""
    folder = path.rpartition(b"/")[0] or b"/"
    try:
        status = record.system.stat(folder)
        if not is_trusted(status.st_uid, environ) or status.st_mode & 0o022:
            return None
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except (OSError, AttributeError):
        return None
    try:
        connection.settimeout(limit)
        connection.connect(path)
        if is_trusted(daemon_client.peer_uid(connection), environ):
            return connection
    except OSError:
        pass
    connection.close()
    return None


def is_trusted(uid: int | None, environ: "Mapping[bytes, bytes]") -> bool:
    """Whether a user may have made the tunnel: this one, root, or ECR_PY_FORWARD_UID."""
    named = environ.get(b"ECR_PY_FORWARD_UID", b"")
    return uid in (0, record.system.geteuid()) or (uid is not None and named == b"%d" % uid)


def _limit(environ: "Mapping[bytes, bytes]") -> float:
    try:
        seconds = float(environ.get(b"ECR_PY_FORWARD_WAIT", b""))
    except ValueError:
        return LIMIT
    return seconds if LIMIT <= seconds <= LONGEST_LIMIT else LIMIT


def _is_answer(line: bytes, server_url: bytes) -> bool:
    if line in (NO_CREDENTIALS, NOT_FORWARDED, WAIT, LOGIN) or line.startswith(ERROR):
        return True
    start, end = b'{"ServerURL":"%b","Username":"AWS","Secret":' % server_url, b"}\n"
    return (
        line.startswith(start)
        and line.endswith(end)
        and record.is_plain(line[len(start) : -len(end)])
    )
