"""What docker-credential-ecr-py runs: answers a cached hit, else hands over to protocol.py.

The launcher (packaging/docker-credential-ecr-py) starts a bare interpreter, without `site`. A hit
stays in it, imports nothing but store/record.py, and ends without the interpreter's clean-up. All
else first completes the environment. On a hit it must never write to standard error.
"""

import sys
import time

from docker_credential_ecr_py.store import record

system = record.system

TYPE_CHECKING = False  # typing is not loaded yet
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

_NOT_FOUND = b"credentials not found in native keychain\n"
_LONGEST_URL = 2 * record.LONGEST_URL
_RENEWAL_PAUSE, _LONGEST_PAUSE = 60, 3600
_MOST_FILES = 4096


def main() -> None:
    """Serve one call of docker's, and end the process with its exit code."""
    run(_main)


def run(serve: "Callable[[], NoReturn]") -> None:
    """Run `serve`, which ends the process; if it cannot, end the process with one line."""
    try:
        serve()
    except KeyboardInterrupt:
        end(b"", 130)
    except ImportError as error:
        name = str(error.name).encode(errors="replace")
        line = b"ecr-py: the module %b is missing: install docker-credential-ecr-py again\n" % name
        system.write(2, line)
        end(line, 1)


def _main() -> "NoReturn":
    arguments = sys.argv[1:]
    given = None
    if arguments[:1] == ["renew"]:
        system.closerange(3, _MOST_FILES)  # do not hold files open that the client passed on
    if arguments[:1] == ["get"] and len(arguments) < 3:
        given = (
            arguments[1].encode(errors=sys.getfilesystemencodeerrors())
            if arguments[1:]
            else read_input(_LONGEST_URL)
        )
        if given is not None:
            _answer_hit(given.strip())
    complete_environment()
    from docker_credential_ecr_py.hardening import forbid_dumps

    forbid_dumps()
    from docker_credential_ecr_py import protocol

    end(b"", protocol.main(arguments[:1] if given is not None else arguments, given))


def read_input(longest: int) -> bytes | None:
    """Return all of standard input, or None if it is a terminal.

    If it is longer than `longest` bytes, that many and some more.
    """
    try:
        if system.isatty(0):
            return None
        given = b""
        while chunk := system.read(0, longest):
            given += chunk
            if len(given) > longest:
                break
    except OSError:
        return b""
    return given


def _answer_hit(server_url: bytes) -> None:
    """Answer and end the process if it is a hit; else return."""
    environ = record.environ
    if environ.get(b"AWS_ECR_DISABLE_CACHE") or _is_answered_by_tunnel(server_url, environ):
        return
    root = record.cache_root(environ)
    hit = root and record.find(root, server_url, environ)
    if not root or not hit:
        _answer_from_daemon(server_url, environ)
        return
    if not hit.answer:
        end(_NOT_FOUND, 1)
    if hit.ageing:
        renew_in_background(root, hit)
    end(hit.answer, 0)


def _is_answered_by_tunnel(server_url: bytes, environ: "Mapping[bytes, bytes]") -> bool:
    """Answer and end the process if another machine's daemon has the answer: see docs/remote.md.

    Return whether that machine will answer after all, as soon as it has asked AWS.
    """
    path = record.tunnel_path(environ)
    if not path or record.stamp(path) == record.ABSENT or not record.plain_host(server_url):
        return False
    from docker_credential_ecr_py.store import tunnel_client

    answer = tunnel_client.hit(path, server_url, environ)
    if answer == tunnel_client.NO_CREDENTIALS:
        end(_NOT_FOUND, 1)
    if answer.startswith(b"{"):
        end(answer, 0)
    return answer == tunnel_client.WAIT


def _answer_from_daemon(server_url: bytes, environ: "Mapping[bytes, bytes]") -> None:
    """Answer and end the process if it is a hit for the daemon; else return."""
    path, host = record.socket_path(environ), record.plain_host(server_url)
    # Without a socket, do not load the client.
    if not path or not host or record.stamp(path) == record.ABSENT:
        return
    from docker_credential_ecr_py.store import daemon_client

    hit = daemon_client.hit(path, server_url, record.context(environ))
    if not hit:
        return
    if hit.document == daemon_client.NO_CREDENTIALS:
        end(_NOT_FOUND, 1)
    if hit.renew:
        _start_renewal(host)
    end(hit.document, 0)


def end(answer: bytes, code: int) -> "NoReturn":
    """Write the answer and end the process at once, without waiting for threads that hang."""
    try:
        while answer:
            answer = answer[system.write(1, answer) :]
    except OSError:
        code = 1  # the client has gone
    system._exit(code)


def renew_in_background(root: bytes, hit: record.Hit) -> None:
    """Start one process that renews the credential, detached from this one.

    The lock file is touched first: for a minute no other process starts a renewal, whether or not
    this one succeeds.
    """
    lock = record.lock_path(root, hit.key)
    try:
        # In the future if a renewal has asked for a longer pause: see store/lock.py.
        if -_LONGEST_PAUSE <= time.time() - _last_change(lock) < _RENEWAL_PAUSE:
            return
        system.close(system.open(lock, system.O_WRONLY | system.O_CREAT | record.SAFELY, 0o600))
        system.utime(lock)
    except OSError:
        return  # the credential is usable for hours
    _start_renewal(hit.host)


def _start_renewal(host: bytes) -> None:
    try:
        if sys.platform == "win32":
            from docker_credential_ecr_py.windows import start_detached

            start_detached([*_this_helper(), "renew", host.decode()])
            return
        system.posix_spawn(
            sys.executable,
            [sys.executable, "-IS", "-X", "utf8", sys.argv[0], "renew", host.decode()],
            system.environ,
            file_actions=[
                (system.POSIX_SPAWN_OPEN, number, "/dev/null", system.O_RDWR, 0)
                for number in (0, 1, 2)
            ],
            setsid=True,
        )
    except (OSError, NotImplementedError):
        return  # the credential is usable for hours


def _this_helper() -> list[str]:
    """Return the command that runs this helper, for Windows, where it is not a script."""
    run = f"import sys; sys.path.append({_installed_in()!r}); from {__name__} import main; main()"
    return [sys.executable, "-I", "-X", "utf8", "-c", run]


def _last_change(path: bytes) -> float:
    try:
        return system.stat(path).st_mtime
    except OSError:
        return 0


def complete_environment() -> None:
    """Do what a hit skips for speed: make the installed packages importable.

    And open descriptors 0, 1 and 2 if they are closed, or a file opened later would become standard
    output. They are opened for reading alone, so that an answer that is lost is still a failure.
    """
    for number in (0, 1, 2):
        try:
            system.fstat(number)
        except OSError:
            system.open("NUL" if sys.platform == "win32" else "/dev/null", system.O_RDONLY)
    if not sys.flags.no_site:
        return
    import site

    ours = _installed_in()
    site.main()
    if ours not in sys.path:
        sys.path.append(ours)  # pip install --user: isolated mode passes that folder over


def _installed_in() -> str:
    """Return the folder that this package is in."""
    separator = "\\" if sys.platform == "win32" else "/"
    return __file__.rpartition(separator)[0].rpartition(separator)[0]
