"""The installed service under a real user manager: started, killed, stopped, hung, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import ECR_PY, TOKEN, use_store
from tests.support.home import DEV, registry
from tests.support.machine import Machine, give_away
from tests.support.user import eventually
from tests.support.user_manager import RUNTIME

SOCKET = RUNTIME / "ecr-py" / "daemon.sock"
UNITS = ("ecr-py.socket", "ecr-py.service")
# As long as it may take on a machine that is busy: systemd itself waits 5 seconds to restart it.
PATIENCE = 180
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def installed(machine: Machine) -> Machine:
    done = machine.ecr_py("daemon", "install")
    assert done.code == 0, done
    return machine


def main_pid(machine: Machine) -> str:
    """The PID of the daemon that systemd runs, as its user sees it; "0" if none runs."""
    return machine.manager.shows("ecr-py.service", "MainPID")


def status(machine: Machine) -> dict[str, Any]:
    return dict(json.loads(machine.ecr_py("daemon", "status", "--json").stdout) or {})


def answers(machine: Machine, *, not_as: str = "") -> bool:
    """Whether a daemon answers that is not the one with this PID."""
    pid = str(status(machine).get("pid", ""))
    return pid not in ("", not_as)


def sends(machine: Machine, signal: str, pid: str) -> None:
    assert machine.manager.run("kill", f"-{signal}", pid).returncode == 0


def drop_in(machine: Machine, text: str, unit: str = "ecr-py.service") -> None:
    folder = machine.home.path / ".config" / "systemd" / "user" / f"{unit}.d"
    machine.write(folder / "test.conf", text)
    machine.manager.systemctl("daemon-reload")


def test_install_runs_the_service_now_and_at_each_login(installed: Machine) -> None:
    manager = installed.manager
    assert [manager.is_active(unit) for unit in UNITS] == [True, True]
    assert manager.systemctl("is-enabled", *UNITS).split() == ["enabled", "enabled"]
    found = status(installed)
    assert str(found["pid"]) == main_pid(installed)
    assert manager.seen(SOCKET).is_socket()
    # In a cgroup of its own, so that what it starts ends with it.
    assert manager.shows("ecr-py.service", "ControlGroup").endswith("/app.slice/ecr-py.service")


def test_unusual_names_come_through_as_they_are(machine: Machine) -> None:
    """The path of the executable, and what is passed on: no part of them is systemd's to read."""
    unusual = "a b$HOME ${USER} %h%% \"q\" 'q' back\\slash \\x41 é#; @ENVIRONMENT@ @PROGRAM@"
    folder = machine.home.path / unusual
    folder.mkdir()
    (folder / "ecr-py").symlink_to(ECR_PY)
    give_away(machine.home.path)
    path = f"{folder}:{machine.home.environment['PATH']}"
    done = machine.manager.run(
        *(str(folder / "ecr-py"), "daemon", "install"),
        environment=machine.home.environment | {"PATH": path, "NO_PROXY": f"{unusual}\\"},
    )
    assert done.returncode == 0, done
    environ = machine.manager.seen(f"/proc/{main_pid(machine)}/environ").read_bytes().split(b"\0")
    assert f"PATH={path}".encode() in environ
    assert f"NO_PROXY={unusual}\\".encode() in environ


def ends_by_itself(machine: Machine) -> None:
    """Leave systemd alone at the socket: what asks there starts the service."""
    sends(machine, "TERM", main_pid(machine))
    eventually(lambda: not machine.manager.is_active("ecr-py.service"), seconds=PATIENCE)
    assert machine.manager.is_active("ecr-py.socket")


def test_a_get_starts_the_service(installed: Machine, aws: Aws) -> None:
    use_store(installed.home, "memory")
    ends_by_itself(installed)
    assert aws.issued[installed.get(registry(DEV)).password].account == DEV
    eventually(lambda: installed.manager.is_active("ecr-py.service"), seconds=PATIENCE)
    installed.get(registry(DEV))
    calls = aws.count()
    assert aws.issued[installed.get(registry(DEV)).password].account == DEV
    assert aws.count() == calls


@pytest.mark.parametrize("command", ["daemon status", "daemon start", "status", "doctor"])
def test_a_service_is_found_by_what_starts_it(installed: Machine, command: str) -> None:
    """Asking starts it, and the answer must be waited for."""
    ends_by_itself(installed)
    done = installed.ecr_py(*command.split())
    assert f"pid {main_pid(installed)}" in done.stdout, done


def test_a_killed_service_runs_again(installed: Machine) -> None:
    before = main_pid(installed)
    sends(installed, "KILL", before)
    eventually(lambda: main_pid(installed) not in ("0", before), seconds=PATIENCE)
    assert answers(installed, not_as=before)


def test_a_stopped_service_is_reported_and_ended(installed: Machine) -> None:
    pid = main_pid(installed)
    sends(installed, "STOP", pid)
    said = f"the daemon (pid {pid}) is stopped (SIGSTOP) and does not answer"
    assert said in installed.ecr_py("daemon", "status").stderr
    assert said in installed.ecr_py("daemon", "start").stderr
    assert said in " ".join(installed.ecr_py("doctor").stdout.split())
    assert installed.ecr_py("daemon", "stop").stdout == "Stopped\n"
    assert main_pid(installed) == "0"
    assert [installed.manager.is_active(unit) for unit in UNITS] == [False, False]
    assert installed.ecr_py("daemon", "start").code == 0
    assert answers(installed, not_as=pid)


def test_systemd_finds_no_fault_with_the_installed_units(installed: Machine) -> None:
    done = installed.manager.run("systemd-analyze", "verify", "--user", "--man=no", *UNITS)
    assert [line for line in done.stderr.splitlines() if "ecr-py" in line] == []


def test_a_stopped_service_is_replaced_by_the_watchdog(installed: Machine) -> None:
    drop_in(installed, "[Service]\nWatchdogSec=5\n")
    installed.manager.systemctl("restart", "ecr-py.service")
    before = main_pid(installed)
    sends(installed, "STOP", before)
    eventually(lambda: main_pid(installed) not in ("0", before), seconds=PATIENCE)
    assert answers(installed, not_as=before)
    assert int(installed.manager.shows("ecr-py.service", "NRestarts")) >= 1


def test_the_watchdog_lets_a_service_be_that_lives(installed: Machine) -> None:
    limit = 10
    drop_in(installed, f"[Service]\nWatchdogSec={limit}\n")
    installed.manager.systemctl("restart", "ecr-py.service")
    before = main_pid(installed)
    fed = "WatchdogTimestampMonotonic"
    first = int(installed.manager.shows("ecr-py.service", fed))
    enough = first + 1.5 * limit * 1_000_000
    eventually(
        lambda: int(installed.manager.shows("ecr-py.service", fed)) > enough, seconds=PATIENCE
    )
    assert main_pid(installed) == before


def test_the_watchdog_has_patience(installed: Machine) -> None:
    """A machine that swaps or sleeps must not lose its daemon."""
    assert installed.manager.shows("ecr-py.service", "WatchdogUSec") == "3min"


def test_a_service_whose_socket_was_deleted_is_reached_again(installed: Machine) -> None:
    before = main_pid(installed)
    installed.manager.seen(SOCKET).unlink()
    sends(installed, "HUP", before)  # it looks now, not within the minute
    eventually(lambda: answers(installed, not_as=before), seconds=PATIENCE)
    eventually(lambda: installed.manager.is_active("ecr-py.socket"), seconds=PATIENCE)
    # systemd listens at the new one too: what asks starts the service.
    ends_by_itself(installed)
    assert answers(installed, not_as=before)


def test_a_service_whose_folder_was_deleted_is_reached_again(installed: Machine) -> None:
    before = main_pid(installed)
    assert installed.manager.run("rm", "-r", str(SOCKET.parent)).returncode == 0
    sends(installed, "HUP", before)
    eventually(lambda: answers(installed, not_as=before), seconds=PATIENCE)


def test_a_socket_that_is_gone_when_the_service_starts(installed: Machine) -> None:
    before = main_pid(installed)
    installed.manager.seen(SOCKET).unlink()
    sends(installed, "KILL", before)
    eventually(lambda: answers(installed, not_as=before), seconds=PATIENCE)


def test_reload_reads_the_settings_again(installed: Machine) -> None:
    before = main_pid(installed)
    use_store(installed.home, "memory")
    installed.manager.systemctl("reload", "ecr-py.service")
    eventually(lambda: status(installed)["store"] == "memory")
    assert main_pid(installed) == before


def test_stop_and_start(installed: Machine) -> None:
    assert installed.ecr_py("daemon", "stop").stdout == "Stopped\n"
    assert [installed.manager.is_active(unit) for unit in UNITS] == [False, False]
    done = installed.ecr_py("daemon", "status")
    assert (done.code, "is not running" in done.stderr) == (1, True)
    assert main_pid(installed) == "0"
    assert installed.ecr_py("daemon", "start").code == 0
    assert answers(installed)


def everything_in(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*")}


def test_uninstall_leaves_nothing(machine: Machine, aws: Aws) -> None:
    """But the log, which is the helper's too."""
    folders = (machine.home.path, machine.manager.seen(RUNTIME))
    use_store(machine.home, "memory")
    give_away(machine.home.path)
    before = everything_in(*folders)
    assert machine.ecr_py("daemon", "install").code == 0
    machine.get(registry(DEV))
    assert status(machine)["registries"]
    done = machine.ecr_py("daemon", "uninstall")
    assert (done.code, done.stderr) == (0, "")
    left = everything_in(*folders) - before
    assert left <= {machine.home.log, *machine.home.log.parents}
    assert not [line for line in machine.manager.processes() if "ecr_py" in line]
    shown = machine.manager.systemctl("list-units", "--all", "--plain", "--no-legend", "ecr-py*")
    assert shown == ""
    assert aws.count(TOKEN) == 1
