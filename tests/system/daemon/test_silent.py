"""A daemon that is stopped, hangs or cannot be reached: found, reported and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon import discovery
from tests.support.daemon import (
    ECR_PY,
    Daemon,
    Daemons,
    ecr_py,
    processes_of,
    socket_path,
    state,
    use_store,
)
from tests.support.home import Home
from tests.support.programs import need
from tests.support.user import Done, eventually

HINT = "run `ecr-py daemon restart`"
# Serves nobody, and does not end when it is asked to, as in an endless loop of C code.
HANGS = """
import signal, time
from docker_credential_ecr_py.daemon import __main__, daemon

def turn(self):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    open({marker!r}, "w").close()
    while True:
        time.sleep(60)

daemon.Daemon._turn = turn
__main__.main()
"""


@pytest.fixture
def stopped(home: Home, daemons: Daemons) -> Daemon:
    """A daemon that somebody stopped with SIGSTOP."""
    daemon = daemons.start()
    daemon.process.send_signal(signal.SIGSTOP)
    eventually(lambda: state(daemon.pid) == "T")
    return daemon


@pytest.fixture
def hung(home: Home, daemons: Daemons, tmp_path: Path) -> Daemon:
    """A daemon whose loop does not come back."""
    marker = tmp_path / "hangs"
    script = HANGS.format(marker=str(marker))
    daemon = daemons.start(command=[sys.executable, "-c", script], answers=False)
    eventually(marker.exists)
    return daemon


def doctor_says(home: Home) -> dict[str, str]:
    """What doctor found about the daemon."""
    found = json.loads(ecr_py(home, "doctor", "--json").stdout)
    (one,) = [one for one in found["checks"] if one["name"] == "daemon"]
    return dict(one)


def check_report(home: Home, pid: int, what: str) -> None:
    """Every command that shows the daemon says what is wrong, with its PID and what to do."""
    said = f"the daemon (pid {pid}) {what}"
    assert f"{said}: {HINT}" in ecr_py(home, "daemon", "status").line
    assert f"{said}: {HINT}" in ecr_py(home, "daemon", "start").line
    assert f"daemon  (pid {pid}) {what}: {HINT}" in ecr_py(home, "status").stdout
    assert json.loads(ecr_py(home, "status", "--json").stdout)["daemon"].startswith(f"(pid {pid})")
    found = doctor_says(home)
    assert (found["state"], found["words"], found["hint"]) == ("note", said, HINT)


def check_end(home: Home, daemon: Daemon, done: Done) -> None:
    assert (done.code, done.stdout, done.stderr) == (0, "Stopped\n", "")
    assert daemon.process.wait(20) is not None
    assert ecr_py(home, "daemon", "stop").stdout == "The daemon is not running\n"
    assert ecr_py(home, "daemon", "start").code == 0
    assert ecr_py(home, "daemon", "status").code == 0


def test_a_stopped_daemon_is_reported(home: Home, stopped: Daemon) -> None:
    check_report(home, stopped.pid, "is stopped (SIGSTOP) and does not answer")
    found = json.loads(ecr_py(home, "daemon", "status", "--json").stdout)
    assert found == {"pid": stopped.pid, "answers": False, "stopped": True}


def test_a_hung_daemon_is_reported(home: Home, hung: Daemon) -> None:
    check_report(home, hung.pid, "does not answer")
    found = json.loads(ecr_py(home, "daemon", "status", "--json").stdout)
    assert found == {"pid": hung.pid, "answers": False, "stopped": False}


def test_stop_ends_a_stopped_daemon(home: Home, stopped: Daemon) -> None:
    check_end(home, stopped, ecr_py(home, "daemon", "stop"))


def test_stop_kills_a_daemon_that_does_not_end(home: Home, hung: Daemon) -> None:
    done = ecr_py(home, "daemon", "stop")
    assert hung.process.wait(20) == -signal.SIGKILL
    check_end(home, hung, done)


def test_one_whose_socket_was_deleted_is_reported_and_ended(home: Home, daemon: Daemon) -> None:
    socket_path(home).unlink()
    found = json.loads(ecr_py(home, "daemon", "status", "--json").stdout)
    assert found == {"pid": daemon.pid, "answers": False, "stopped": False}
    check_end(home, daemon, ecr_py(home, "daemon", "stop"))


def test_uninstall_ends_one_that_hangs(home: Home, stopped: Daemon) -> None:
    done = ecr_py(home, "daemon", "uninstall")
    assert (done.code, done.stdout) == (0, "Stopped; it was not installed\n")
    assert stopped.process.wait(20) is not None
    assert not socket_path(home).parent.exists()


def test_the_process_that_is_signalled_is_the_daemon(home: Home, daemon: Daemon) -> None:
    """Not one whose PID stands in a file, or that has the PID of a daemon that was."""
    assert discovery.lock_holder(home.environment) == daemon.pid
    daemon.kill()
    assert discovery.lock_holder(home.environment) is None
    with subprocess.Popen(["sleep", "100"]) as other:
        lock = socket_path(home).with_name(discovery.LOCK)
        lock.write_text(str(other.pid))
        assert ecr_py(home, "daemon", "stop").stdout == "The daemon is not running\n"
        assert other.poll() is None
        other.kill()


def test_a_daemon_of_an_older_version_is_ended_too(home: Home, daemons: Daemons) -> None:
    """It holds no lock that tells its PID."""
    old = "from docker_credential_ecr_py.daemon import __main__, daemon; daemon.hold_lock = id; "
    daemon = daemons.start(command=[sys.executable, "-c", f"{old}__main__.main()"])
    assert discovery.lock_holder(home.environment) is None
    assert discovery.find_daemon(home.environment) is not None
    done = ecr_py(home, "daemon", "stop")
    check_end(home, daemon, done)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes PID namespaces")
def test_the_daemon_of_another_pid_namespace_is_not_mistaken_for_a_process_of_ours(
    home: Home, daemons: Daemons
) -> None:
    """Its PID there is one of ours here."""
    alone = [need("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc"]
    daemon = daemons.start(command=[*alone, ECR_PY, "daemon", "run"], answers=False)
    eventually(lambda: daemon.ask(b"status"))
    inside = daemon.status()["pid"]
    inner = [pid for pid in processes_of(home) if pid != daemon.pid]
    found = discovery.find_daemon(home.environment)
    assert found is not None
    # We see it, by another PID than its own.
    assert found.pid in inner
    assert found.pid != inside
    # From yet another namespace it cannot be seen at all.
    other: list[str | Path] = [*alone, ECR_PY, "daemon", "stop"]
    done = subprocess.run(
        other, env=home.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "the daemon runs in another container: stop it there" in done.stderr
    assert daemon.ask(b"status")
    assert ecr_py(home, "daemon", "stop").stdout == "Stopped\n"
    daemon.process.wait(20)


def test_start_says_at_once_that_it_failed(home: Home) -> None:
    use_store(home, "memory")
    socket_path(home).mkdir(parents=True)
    socket_path(home).parent.chmod(0o700)
    assert (
        "the daemon did not start: run `ecr-py daemon logs` to see why"
        in ecr_py(home, "daemon", "start").line
    )
    assert processes_of(home) == []
