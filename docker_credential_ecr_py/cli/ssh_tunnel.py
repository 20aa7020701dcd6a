"""Sets up the remote end of a tunnel by ssh: where its socket goes, and what is cleaned up there.

sshd makes no folder, leaves its socket when the connection ends, and does not replace one that is
in the way (StreamLocalBindUnlink is off by default). So each tunnel has a socket of its own, and a
link from the usual place leads to the newest one that lives. A script for the remote host's sh does
that, and holds the connection that the session shares.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

import click

from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.programs import find_program
from docker_credential_ecr_py.ssh_command import SshCommand

# How long the path of a Unix socket may be, in bytes.
LONGEST_SOCKET = 107
# Seconds that ssh has for what it does over a connection that exists.
_LIMIT = 30
_CLEAN_UP = 5
# The folder is that of record.tunnel_path. In one line, and without single quotes, for any shell.
_FOLDER = (
    "umask 077; d=${XDG_RUNTIME_DIR:-}; "
    '[ "$d" ] || { d=/run/user/$(id -u); [ -O "$d" ] || d=${XDG_CACHE_HOME:-$HOME/.cache}; }; '
    'mkdir -p "$d" || exit 1; usual=$d/ecr-py-tunnel.sock; '
)
_HOLD = _FOLDER + (
    "own=$d/ecr-py-tunnel-NAME.sock all=/proc/net/unix; "
    'lives() { [ -S "$1" ] && { [ ! -r $all ] || grep -qF " $1" $all; }; }; '
    'point() { newest=; for one in "$d"/ecr-py-tunnel-*.sock; do '
    'if lives "$one"; then newest=$one; else rm -f "$one"; fi; done; '
    'if [ -h "$usual" ] || ! lives "$usual"; then rm -f "$usual"; '
    '[ -z "$newest" ] || ln -s "$newest" "$usual"; fi; }; '
    'echo "ecr-py $own"; read -r go && point && echo "ecr-py ready"; '
    'cat >/dev/null; rm -f "$own"; point'
)
_ASK = _FOLDER + 'echo "ecr-py $usual"'
_MARK = b"ecr-py "
_LONGEST_LINE = 4096
# What ssh takes as it is. It expands ${NAME} and %h, and a quote ends a path in its config.
_PLAIN_PATH = re.compile(r"/[\w ./@+,=~-]+")
_LONGEST_SHOWN = 200


def find_ssh() -> str:
    """Raises EcrPyError if there is none."""
    ssh = find_program("ssh")
    if ssh is None:
        raise EcrPyError("ssh is not on the PATH", hint="install OpenSSH's client")
    return ssh


def remote_socket(host: str) -> str:
    """Return the usual place of a tunnel's socket on a host, which ssh asks for it."""
    command = [find_ssh(), "-T", "--", host, f"sh -c {quote(_ASK)}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as asked:
        line = _next_line(asked)
        asked.kill()
    if line:
        return _checked(line)
    raise EcrPyError(f"{host} does not say where its runtime folder is", hint=f"run `ssh {host}`")


@contextmanager
def shared_connection(ssh: str, asked: SshCommand, local: Path) -> Iterator[list[str] | None]:
    """Connect, and forward the socket `local`; yield the options by which ssh shares that.

    A connection that ssh already shares for this host is used too. Yields None if the host cannot
    be reached: ssh has said why.
    """
    connect = [ssh, *asked.of_connection]
    options: list[str] = []
    if _control(connect, "check", asked.host) != 0:
        options = ["-S", str(_control_socket())]
    holder = _start_holder(connect, options, asked.host)
    forwarded = ""
    try:
        if remote := _next_line(holder):
            forwarded = f"{_checked(remote)}:{local}"
            done = _control([*connect, *options], "forward", asked.host, "-R", forwarded)
            if done != 0 or not _has_linked(holder):
                what = f"ecr-py: {asked.host} does not forward sockets, so pulls there do not use"
                click.echo(f"{what} this login: see AllowStreamLocalForwarding", err=True)
            yield options
        else:
            yield None
    finally:
        if forwarded and not options:  # the connection outlives us
            _control(connect, "cancel", asked.host, "-R", forwarded)
        _end(holder)
        if options:
            Path(options[1]).unlink(missing_ok=True)


def _control(connect: list[str], what: str, host: str, *arguments: str) -> int:
    """Have the process that shares a connection do something; return ssh's exit code."""
    nowhere = subprocess.DEVNULL
    command = [*connect, "-O", what, *arguments, "--", host]
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=_LIMIT, check=False
        )
        return done.returncode
    return 255


def _start_holder(connect: list[str], options: list[str], host: str) -> "subprocess.Popen[bytes]":
    """Start the session that runs the script. With `options`, others share its connection."""
    script = _HOLD.replace("NAME", f"{int(time.time())}-{os.getpid()}")
    plain = ["-T", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none"]
    command = [*connect, *options, *["-M"] * bool(options), *plain]
    command += ["--", host, f"sh -c {quote(script)}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _next_line(script: "subprocess.Popen[bytes]") -> bytes:
    """Return the script's next line, or b"" at its end; skip what a shell's start-up files print.

    There is no time limit: the user may be asked for a password, which ssh limits.
    """
    assert script.stdout is not None  # noqa: S101
    while line := script.stdout.readline(_LONGEST_LINE):
        if line.startswith(_MARK):
            return line
    return b""


def _has_linked(holder: "subprocess.Popen[bytes]") -> bool:
    """Have the script link the socket, now that it is there."""
    assert holder.stdin is not None  # noqa: S101
    with suppress(OSError):
        holder.stdin.write(b"go\n")
        holder.stdin.flush()
        return bool(_next_line(holder))
    return False


def _end(holder: "subprocess.Popen[bytes]") -> None:
    """Let the script clean up; end it if it does not."""
    with suppress(OSError, subprocess.TimeoutExpired):
        holder.communicate(timeout=_CLEAN_UP)
        return
    holder.kill()
    holder.wait()


def _checked(line: bytes) -> str:
    """Return the path of a socket that a host has sent. Raises EcrPyError.

    The host is not trusted: ssh would put variables of ours into a path that names them, and a
    quote in its config would lead the host to another socket here.
    """
    path = line.removeprefix(_MARK).strip()
    text = os.fsdecode(path)
    if not _PLAIN_PATH.fullmatch(text):
        raise EcrPyError(f"a tunnel cannot end at {printable(text[:_LONGEST_SHOWN])} there")
    if len(path) > LONGEST_SOCKET:
        raise EcrPyError(f"{text[:_LONGEST_SHOWN]}… is longer than a socket's path may be there")
    return text


def _control_socket() -> Path:
    """Return a path for the socket by which our ssh processes share a connection."""
    folder = paths.runtime_folder(os.environ)
    if folder is None:
        raise EcrPyError("no folder for a socket: set XDG_RUNTIME_DIR")
    make_private_folder(folder)
    return folder / f"ssh-{os.getpid()}"
