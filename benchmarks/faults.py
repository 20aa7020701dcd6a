"""Faults of the installed service under a real systemd user manager: what it survives, how soon.

`python -m benchmarks.faults [TIMES]`, as root on Linux. Each fault is injected TIMES times (10).
Until a daemon answers again, a `get` is called again and again, as docker calls it.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.standin.aws import Aws
from tests.support.daemon import short_folder, use_store
from tests.support.home import DEV, new_home, registry
from tests.support.machine import Machine, give_away
from tests.support.user_manager import RUNTIME, user_manager

SOCKET = RUNTIME / "ecr-py" / "daemon.sock"
# Seconds. The unit's own would make this last for hours: the row says what was waited for.
WATCHDOG = 5
_PATIENCE = 300


@dataclass
class Survived:
    """What came of a fault: seconds until a daemon answered again, and the gets until then."""

    took: list[float] = field(default_factory=list)
    lost: int = 0
    answered: int = 0
    failed: int = 0

    @property
    def row(self) -> str:
        times = len(self.took) + self.lost
        back = f"{statistics.median(self.took):.1f}, {max(self.took):.1f} s" if self.took else "-"
        gets = f"{self.answered} answered, {self.failed} failed"
        return f"{len(self.took)} of {times} | {gets} | {back}"


def pid_of(machine: Machine) -> str:
    """The PID of the daemon that answers, or ""."""
    shown = machine.ecr_py("daemon", "status", "--json").stdout
    found = json.loads(shown or "null") or {}
    return str(found["pid"]) if found.get("answers") else ""


def sends(signal: str) -> Callable[[Machine, str], None]:
    def inject(machine: Machine, pid: str) -> None:
        machine.manager.run("kill", f"-{signal}", pid)

    return inject


def delete_socket(machine: Machine, pid: str) -> None:
    machine.manager.seen(SOCKET).unlink()


def delete_folder(machine: Machine, pid: str) -> None:
    machine.manager.run("rm", "-r", str(SOCKET.parent))


def stop_by_hand(machine: Machine, pid: str) -> None:
    """What a user does about one that is stopped."""
    machine.manager.run("kill", "-STOP", pid)
    machine.ecr_py("daemon", "stop")
    machine.ecr_py("daemon", "start")


FAULTS: dict[str, Callable[[Machine, str], None]] = {
    "SIGKILL": sends("KILL"),
    "SIGSEGV": sends("SEGV"),
    "SIGTERM of the process; a get starts it": sends("TERM"),
    f"SIGSTOP, WatchdogSec={WATCHDOG}": sends("STOP"),
    "SIGSTOP, `ecr-py daemon stop`, `start`": stop_by_hand,
    "its socket deleted": delete_socket,
    "its folder deleted": delete_folder,
}


def survive(machine: Machine, inject: Callable[[Machine, str], None], times: int) -> Survived:
    found = Survived()
    for _ in range(times):
        before = pid_of(machine)
        began = time.monotonic()
        inject(machine, before)
        while time.monotonic() - began < _PATIENCE:
            if machine.get(registry(DEV)).code == 0:
                found.answered += 1
            else:
                found.failed += 1
            if pid_of(machine) not in ("", before):
                found.took.append(time.monotonic() - began)
                break
        else:
            found.lost += 1
            machine.manager.systemctl("restart", "ecr-py.socket", "ecr-py.service")
    return found


def main(times: int) -> None:
    with Aws() as aws, short_folder() as folder:
        folder.chmod(0o755)
        home = new_home(folder / "home", aws)
        home.environment["XDG_RUNTIME_DIR"] = str(RUNTIME)
        use_store(home, "memory")
        drop_in = home.path / ".config" / "systemd" / "user" / "ecr-py.service.d" / "limit.conf"
        home.write(drop_in, f"[Service]\nWatchdogSec={WATCHDOG}\n")
        give_away(home.path)
        passed = {"PATH": home.environment["PATH"], **aws.environment()}
        with user_manager(home.path, passed) as manager:
            machine = Machine(manager, home)
            if (done := machine.ecr_py("daemon", "install")).code:
                sys.exit(done.stderr)
            print("fault | survived | gets meanwhile | answers again after (median, longest)")
            for name, inject in FAULTS.items():
                print(f"{name} | {survive(machine, inject, times).row}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
