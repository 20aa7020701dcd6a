"""A systemd user manager that runs for a test, on a machine whose first process is another.

It has a user ID, a cgroup, and mount, PID and cgroup namespaces of its own. Nothing outlives it:
at the end its cgroup is killed as a whole, and its namespaces are if this process dies.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemon import children
from tests.support.programs import lacking, need
from tests.support.user import eventually

USER = 64321
NAME = "ecr-py-test"
RUNTIME = Path(f"/run/user/{USER}")
INSIDE = Path(__file__).with_name("user_manager_init.py")
SYSTEMD = "/lib/systemd/systemd"
# Seconds, for a machine that has a lot to do.
LIMIT = 180
# Joins the cgroup, and goes on only if it is in it. $1 is its folder, $2 its name.
JOIN = """
echo $$ >"$1/cgroup.procs"
grep -q "^0::.*/$2\\$" /proc/self/cgroup || { echo "not in the cgroup $1" >&2; exit 1; }
shift 2
exec "$@"
"""


@dataclass
class UserManager:
    """`first` is the PID, here, of the first process in its namespaces."""

    first: int
    cgroup: Path
    log: Path
    environment: Mapping[str, str]

    def run(
        self, *command: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as the manager's user, outside of the manager's units."""
        done = subprocess.run(
            [*self._enter(), *command],
            input=stdin,
            capture_output=True,
            env={**self.environment, **(environment or {})},
            cwd="/",
            timeout=LIMIT,
            start_new_session=True,
            check=False,
        )
        return subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def start(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command as `run` does, with pipes; it ends with the manager."""
        return subprocess.Popen(
            [*self._enter(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**self.environment, **(environment or {})},
            cwd="/",
            start_new_session=True,
        )

    def systemctl(self, *arguments: str) -> str:
        """Return what `systemctl --user` prints. Raises AssertionError if it fails."""
        done = self.run("systemctl", "--user", *arguments)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit)

    def is_active(self, unit: str) -> bool:
        return self.shows(unit, "ActiveState") == "active"

    def seen(self, path: Path | str) -> Path:
        """Return the path by which we reach what is at `path` in its mount namespace."""
        return Path(f"/proc/{self.first}/root") / str(path).lstrip("/")

    def processes(self) -> list[str]:
        """Return the command lines of all processes of its user."""
        shown = self.run("ps", "-u", str(USER), "-o", "args=").stdout
        return shown.splitlines()

    def _enter(self) -> list[str]:
        ids = ["--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
        namespaces = ["--mount", "--pid", "--cgroup"]
        return ["nsenter", "-t", str(self.first), *namespaces, "--", "setpriv", *ids, "--"]


@contextmanager
def user_manager(home: Path, environment: Mapping[str, str]) -> Iterator[UserManager]:
    """Run a user manager, with this environment, whose user has this home.

    Skips the test if this machine cannot.
    """
    check_machine()
    log = home / "systemd.log"
    environment = {
        "HOME": str(home),
        "USER": NAME,
        "LOGNAME": NAME,
        "SHELL": "/bin/sh",
        "XDG_RUNTIME_DIR": str(RUNTIME),
        **environment,
    }
    wanted = {
        "user": USER,
        "name": NAME,
        "home": str(home),
        "environment": environment,
        "command": [SYSTEMD, "--user"],
    }
    with _own_cgroup() as cgroup, log.open("wb") as output:
        namespaces = ["--mount", "--pid", "--cgroup", "--mount-proc", "--fork", "--kill-child"]
        # If we die, unshare does; --kill-child then ends all that is in its namespaces.
        unshare = ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces]
        process = subprocess.Popen(
            [
                *("sh", "-euc", JOIN, "sh", str(cgroup), cgroup.name),
                *(*unshare, sys.executable, "-I", str(INSIDE), json.dumps(wanted)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
        try:
            first = eventually(lambda: _first_process(process, log), seconds=LIMIT)
            manager = UserManager(first, cgroup, log, environment)
            eventually(lambda: _is_up(manager, process), seconds=LIMIT)
            yield manager
        finally:
            kill_cgroup(cgroup)
            process.wait()


def check_machine() -> None:
    """Skip the test, or in CI fail it, if no user manager can run here."""
    if os.geteuid() != 0:
        lacking("only root can start a systemd user manager for another user")
    for program in ("unshare", "nsenter", "setpriv", "systemctl", "systemd-analyze"):
        need(program)
    if not Path(SYSTEMD).exists():
        lacking(f"{SYSTEMD} is not installed")


def _first_process(process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the PID of what unshare has started; 0 until then. The shell has children too."""
    assert process.poll() is None, log.read_text()
    if Path(f"/proc/{process.pid}/comm").read_text() != "unshare\n":
        return 0
    return next(iter(children(process.pid)), 0)


def _is_up(manager: UserManager, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, manager.log.read_text()
    if not manager.seen(RUNTIME / "systemd" / "private").exists():
        return False
    # "degraded" is a unit of this machine's that failed, and none of ours.
    state = manager.run("systemctl", "--user", "is-system-running").stdout.strip()
    return state in ("running", "degraded")


@contextmanager
def _own_cgroup() -> Iterator[Path]:
    """Make a cgroup below our own, and remove it with all that is in it."""
    name = f"ecr-py-test-{os.urandom(6).hex()}"
    for parent in _writable_cgroups():
        with suppress(OSError):
            (cgroup := parent / name).mkdir()
            break
    else:
        lacking("no cgroup can be made here: there is no cgroup2, or it is read-only")
    try:
        yield cgroup
    finally:
        kill_cgroup(cgroup)
        eventually(lambda: _removed(cgroup))


def _writable_cgroups() -> list[Path]:
    """Return the folders that ours may be in: below our own cgroup, or else the first."""
    mounts = Path("/proc/self/mountinfo").read_text()
    places = re.findall(r"^(?:\S+ ){4}(\S+) .*- cgroup2 ", mounts, re.MULTILINE)
    (own,) = re.findall(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE) or [""]
    return [folder for place in places for folder in (Path(place, own), Path(place))]


def kill_cgroup(cgroup: Path) -> None:
    """Kill every process in it; returns when none is left."""
    with suppress(FileNotFoundError):
        (cgroup / "cgroup.kill").write_text("1")
        events = cgroup / "cgroup.events"
        eventually(lambda: "populated 0" in events.read_text(), seconds=LIMIT)


def _removed(cgroup: Path) -> bool:
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    return not cgroup.exists()
