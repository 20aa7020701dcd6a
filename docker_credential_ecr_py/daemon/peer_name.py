"""Names the machine at the other end of a connection, to be shown to the user.

The kernel tells which process is connected. An ssh client that forwards the socket has the host on
its command line. This is not proof: a program of the user's may call itself ssh.
"""

import os
import re
from pathlib import Path

from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.ssh_command import parse_ssh

_CONTAINER = re.compile(r"[0-9a-f]{64}")
_LARGEST = 64 * 1024
_LONGEST = 100


def name_of(process: int, uid: int | None) -> str:
    """Return `build.example.com`, `container 0123456789ab`, or what else is known of a process."""
    folder = Path(f"/proc/{process}")
    try:
        if uid != os.geteuid() or not _is_outside(folder):
            found = _CONTAINER.search(_text_of(folder / "cgroup"))
            return f"container {found[0][:12]}" if found else f"a container of user {uid}"
        program, *arguments = _text_of(folder / "cmdline").removesuffix("\0").split("\0")
    except OSError:
        return f"another program of user {uid}"
    program = os.path.basename(program)
    if program == "ssh" and (parsed := parse_ssh(arguments)):
        return printable(parsed.host)[:_LONGEST]
    return printable(program.split(":")[0])[:_LONGEST] or f"another program of user {uid}"


def _is_outside(folder: Path) -> bool:
    """Whether a process shares our mounts and processes: it is not in a container."""
    return all(
        os.path.samefile(folder / "ns" / kind, Path("/proc/self/ns", kind))
        for kind in ("mnt", "pid")
    )


def _text_of(file: Path) -> str:
    with file.open("rb") as opened:
        return os.fsdecode(opened.read(_LARGEST))
