"""What the processes that hold secrets do for them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import (
    ECR_PY,
    Daemon,
    Daemons,
    short_folder,
    use_store,
)
from tests.support.home import DEV, Home, registry
from tests.support.other_user import OTHER, as_another, becoming_another
from tests.support.records import HALF_LIFE, let_pass
from tests.support.user import eventually

Start = Callable[..., Daemon]


def largest_core(pid: int) -> list[str]:
    limits = Path(f"/proc/{pid}/limits").read_text()
    (found,) = re.findall(r"Max core file size +(\S+) +(\S+)", limits)
    return list(found)


def test_the_daemon_dumps_no_core(home: Home, daemon: Daemon) -> None:
    assert largest_core(daemon.pid) == ["0", "0"]


def test_neither_does_a_worker(home: Home, aws: Aws, start: Start) -> None:
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "hang")
    daemon = start("file")
    eventually(lambda: aws.count("GetRoleCredentials") == 2)
    (worker,) = daemon.workers()
    assert largest_core(worker) == ["0", "0"]


@pytest.fixture
def ours(home: Home, daemons: Daemons) -> Iterator[Daemon]:
    """A daemon of a user who is not root; root runs it as nobody."""
    use_store(home, "memory")
    if os.geteuid() != 0:
        yield daemons.start()
        return
    with short_folder() as folder, becoming_another() as become:
        os.chown(folder, OTHER, OTHER)
        home.environment |= {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        daemon = daemons.start(command=[*become, ECR_PY, "daemon", "run"], answers=False)
        eventually(lambda: (folder / "ecr-py" / "daemon.sock").exists())
        eventually(lambda: "docker_credential_ecr_py.daemon" in command(daemon))
        yield daemon


def command(daemon: Daemon) -> str:
    return Path(f"/proc/{daemon.pid}/cmdline").read_text()


def test_it_is_out_of_reach_of_its_own_user(ours: Daemon) -> None:
    """PR_SET_DUMPABLE: what /proc shows of it is root's, whoever runs it."""
    process = Path(f"/proc/{ours.pid}")
    uids = re.search(r"^Uid:\s+(\d+)", (process / "status").read_text(), re.MULTILINE)
    assert uids
    assert int(uids[1]) == (os.geteuid() or OTHER)
    for name in ("mem", "environ", "maps", "fd"):
        assert (process / name).stat().st_uid == 0, name


def test_nobody_reads_its_memory(ours: Daemon) -> None:
    done = as_another(f"open('/proc/{ours.pid}/mem', 'rb')")
    assert "PermissionError" in done.stderr


def test_a_process_without_that_care_can_be_read() -> None:
    """Or else the test above would see nothing."""
    script = "import os; open(f'/proc/{os.getppid()}/mem', 'rb'); print('read')"
    done = as_another(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])")
    if "PermissionError" in done.stderr:
        pytest.skip("nobody may read any process here")
    assert done.stdout == "read\n"


def test_it_holds_no_file_and_no_folder_of_whoever_started_it(home: Home, daemon: Daemon) -> None:
    held = {os.readlink(path) for path in Path(f"/proc/{daemon.pid}/fd").iterdir()}
    files = {path for path in held if path.startswith("/") and not path.startswith("/dev/")}
    lock = Path(home.environment["XDG_RUNTIME_DIR"]) / "ecr-py" / "daemon.lock"
    assert files <= {str(lock), str(home.log), str(daemon.said)}


def test_it_loads_neither_aws_nor_a_keyring(home: Home, aws: Aws, start: Start) -> None:
    home.get(registry(DEV))
    daemon = start("memory")
    home.get(registry(DEV))
    home.get(registry(DEV))
    daemon.looks()
    daemon.status()
    maps = Path(f"/proc/{daemon.pid}/maps").read_text()
    loaded = set(re.findall(r"/([^/\s]+\.so)", maps))
    assert loaded
    assert not [name for name in loaded if re.search("ssl|crypto|rust|dbus", name)]
