"""The first process of a machine of its own, in which a systemd user manager runs.

`user_manager.py` starts it, as root, in mount, PID and cgroup namespaces of its own. It makes the
mounts that the manager needs, starts the manager as another user, and reaps processes until the
manager ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # it runs as a script

from tests.support import open_python

CGROUPS = Path("/sys/fs/cgroup")
# In the cgroup: unshare, which has no PID in its child's namespace, and that child, which we are.
EXPECTED = ["0", "1"]
DELEGATED = ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control")


def main() -> None:
    wanted = json.loads(sys.argv[1])
    user = int(wanted["user"])
    check_own_cgroup()
    delegate_cgroup(user)
    make_runtime_folders(user)
    add_user(wanted["name"], user, wanted["home"])
    folders = open_python.needed_folders()
    if open_python.closed_folders(folders):
        (stash := Path("/run/stash")).mkdir()
        open_python.open_folders(folders, stash)
    run_until_it_ends(wanted["command"], user, wanted["environment"])


def check_own_cgroup() -> None:
    """End unless we are in a cgroup of our own.

    A user manager moves every process of its cgroup into a scope of its own. In the machine's
    first cgroup, that would be every process of the machine.
    """
    open_python.mount("-t", "cgroup2", "none", str(CGROUPS))
    is_first = not (CGROUPS / "cgroup.events").exists()
    if is_first or (CGROUPS / "cgroup.procs").read_text().split() != EXPECTED:
        sys.exit("this is not a cgroup of its own: no systemd is started here")


def delegate_cgroup(user: int) -> None:
    for name in DELEGATED:
        os.chown(CGROUPS / name, user, user)


def make_runtime_folders(user: int) -> None:
    """Make what pam_systemd and the system's manager make: sd_booted(3) and XDG_RUNTIME_DIR."""
    open_python.mount("-t", "tmpfs", "-o", "mode=755", "none", "/run")
    Path("/run/systemd/system").mkdir(parents=True)
    runtime = Path(f"/run/user/{user}")
    runtime.mkdir(parents=True)
    runtime.chmod(0o700)
    os.chown(runtime, user, user)


def add_user(name: str, user: int, home: str) -> None:
    """Add a user and a group to copies of /etc/passwd and /etc/group, which only we see."""
    lines = {
        "/etc/passwd": f"{name}:x:{user}:{user}::{home}:/bin/sh\n",
        "/etc/group": f"{name}:x:{user}:\n",
    }
    for file, line in lines.items():
        copy = Path("/run", Path(file).name)
        copy.write_text(Path(file).read_text() + line)
        copy.chmod(0o644)
        open_python.mount("--bind", str(copy), file)


def run_until_it_ends(command: list[str], user: int, environment: dict[str, str]) -> None:
    child = os.fork()
    if child == 0:
        os.setsid()
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.chdir("/")
        os.execve(command[0], command, environment)
    while os.wait()[0] != child:
        pass  # what others left to us


if __name__ == "__main__":
    main()
