"""The user manager of these tests: alone in its cgroup, and gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import children
from tests.support.machine import Machine
from tests.support.programs import need
from tests.support.user_manager import INSIDE, LIMIT, USER, check_machine

# A machine that has a lot to do starts a manager in a minute.
pytestmark = pytest.mark.timeout(600)


def test_the_manager_sees_its_own_processes_alone(machine: Machine) -> None:
    manager = machine.manager
    assert manager.run("id", "-u").stdout.strip() == str(USER)
    shown = manager.run("sh", "-c", "cat /sys/fs/cgroup/cgroup.procs; ls /proc").stdout.split()
    assert str(os.getpid()) not in shown
    here = Path("/proc/self/cgroup").read_text()
    assert manager.cgroup.name not in here
    (systemd,) = [pid for pid in children(manager.first) if pid]
    assert "init.scope" in Path(f"/proc/{systemd}/cgroup").read_text()


def test_no_manager_is_started_in_a_cgroup_with_other_processes() -> None:
    check_machine()
    wanted = {"user": USER, "name": "x", "home": "/", "command": ["/bin/echo"], "environment": {}}
    namespaces = ["--mount", "--pid", "--cgroup", "--mount-proc", "--fork", "--kill-child"]
    done = subprocess.run(
        [need("unshare"), *namespaces, sys.executable, "-I", str(INSIDE), json.dumps(wanted)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "no systemd is started here" in done.stderr


def test_the_user_can_run_our_executables(machine: Machine) -> None:
    assert machine.ecr_py("version").code == 0
