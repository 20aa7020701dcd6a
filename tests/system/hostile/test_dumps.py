"""A process that holds a token leaves no core dump of it, and nobody reads its memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import short_folder
from tests.support.home import DEV, HELPER, Home, registry
from tests.support.other_user import OTHER, as_another, run_by_other
from tests.support.processes import renewals, wait_until
from tests.support.records import HALF_LIFE, let_pass

HOST = registry(DEV)
ECR_PY = HELPER.with_name("ecr-py")
UNLIMITED = resource.RLIM_INFINITY


def allow_dumps() -> None:
    """For a child: a core dump may be as large as it likes."""
    resource.setrlimit(resource.RLIMIT_CORE, (UNLIMITED, UNLIMITED))


def kill_and_look(pid: int, folder: Path) -> list[Path]:
    """The core dumps that a process leaves in the folder that it runs in."""
    os.kill(pid, signal.SIGABRT)
    wait_until(lambda: is_gone(pid))
    return list(folder.glob("*core*"))


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which a process that is killed leaves a core dump, or else the test is skipped.

    Some systems give core dumps to a program instead, by /proc/sys/kernel/core_pattern.
    """
    control = tmp_path / "control"
    control.mkdir()
    script = "import os; os.abort()"
    subprocess.run([sys.executable, "-c", script], cwd=control, preexec_fn=allow_dumps, check=False)
    if not list(control.glob("*core*")):
        pytest.skip("core dumps do not go into the folder here")
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def test_a_get_that_waits_for_aws(home: Home, aws: Aws, folder: Path) -> None:
    aws.fault("GetAuthorizationToken", "hang")
    process = home.start("get", HOST, cwd=folder, preexec_fn=allow_dumps)
    wait_until(lambda: aws.count("GetAuthorizationToken"))
    assert kill_and_look(process.pid, folder) == []
    process.communicate()


def test_a_renewal_in_the_background(home: Home, aws: Aws, folder: Path) -> None:
    home.get(HOST)
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetAuthorizationToken", "hang")
    process = home.start("get", HOST, cwd=folder, preexec_fn=allow_dumps)
    process.communicate()
    wait_until(lambda: aws.count("GetAuthorizationToken") == 2)
    (renewal,) = renewals(home)
    assert kill_and_look(renewal, folder) == []


def test_ecr_py(home: Home, aws: Aws, folder: Path) -> None:
    aws.fault("GetAuthorizationToken", "hang")
    process = subprocess.Popen(
        [ECR_PY, "token", HOST],
        env=home.environment,
        cwd=folder,
        preexec_fn=allow_dumps,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: aws.count("GetAuthorizationToken"))
    assert kill_and_look(process.pid, folder) == []
    process.communicate()


def test_programs_that_we_start_may_leave_dumps(home: Home, folder: Path) -> None:
    """A browser or a credential_process is not ours to restrict."""
    script = "import os; os.abort()"
    command = f"{sys.executable} -c '{script}'"
    home.write(home.aws_config, f"[profile crashes]\ncredential_process = {command}\n")
    process = home.start(
        "get",
        HOST,
        cwd=folder,
        preexec_fn=allow_dumps,
        env=home.environment | {"AWS_PROFILE": "crashes"},
    )
    assert b"the credential_process failed" in process.communicate()[0]
    assert list(folder.glob("*core*"))


@pytest.fixture
def waiting(aws: Aws) -> Iterator[int]:
    """A get that waits for AWS, of a user who is not root; root runs it as nobody."""
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{DEV}:user/dev")
    keys = {"AWS_ACCESS_KEY_ID": "AKIADEV", "AWS_SECRET_ACCESS_KEY": secret}
    aws.fault("GetAuthorizationToken", "hang")
    as_another("pass")
    is_root = os.geteuid() == 0
    with short_folder() as home:
        if is_root:
            os.chown(home, OTHER, OTHER)
        process = subprocess.Popen(
            [*(run_by_other() if is_root else ()), HELPER, "get", HOST],
            env={"HOME": str(home), "PATH": os.environ["PATH"], **aws.environment(), **keys},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: aws.count("GetAuthorizationToken"))
            yield process.pid
        finally:
            process.kill()
            process.wait()


def test_no_other_process_of_the_user_reads_its_memory(waiting: int) -> None:
    for name in ("mem", "environ", "maps"):
        assert Path(f"/proc/{waiting}/{name}").stat().st_uid == 0, name
        done = as_another(f"open('/proc/{waiting}/{name}', 'rb').read(1)")
        assert "PermissionError" in done.stderr, name
