"""A container on the laptop, with the folder of the socket mounted, and other users in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, Answer, registry
from tests.support.other_user import AS_ROOT
from tests.support.programs import need
from tests.support.stores import right
from tests.system.forward.conftest import PATIENT, Laptop, answer_for

SOCKET = Path("forward.sock")


def test_a_mounted_socket(laptop: Laptop, aws: Aws, tmp_path: Path) -> None:
    """It has other processes, another home, and no AWS configuration."""
    mounts = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/mnt"]
    mounts += ["--bind", str(laptop.socket.parent), "/mnt/ecr-py"]
    environment = {"HOME": "/mnt", "ECR_PY_FORWARD": "/mnt/ecr-py/forward.sock", **PATIENT}
    done = subprocess.run(
        [need("bwrap"), "--unshare-pid", "--unshare-net", *mounts, HELPER, "get", registry(DEV)],
        env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
    )
    right(aws, Answer(done.returncode, done.stdout, done.stderr))
    (last,) = laptop.daemon.status()["forward"]["last"][-1:]
    assert last["machine"].startswith(("a container of user ", "container "))


@AS_ROOT
@pytest.mark.parametrize(("allowed", "asks"), [((), 1234), ((1234,), 1234), ((1234,), 1235)])
def test_another_user_of_a_container(laptop: Laptop, allowed: tuple[int, ...], asks: int) -> None:
    """In the folder, as by a mount: the folders above are closed to others."""
    laptop.forward("on", "--all", *(f"--uid={uid}" for uid in allowed))
    laptop.home.get(registry(DEV))
    answer = answer_for(asks, SOCKET, "0", folder=laptop.socket.parent)
    assert answer.startswith(b'{"ServerURL":') == (asks in allowed), answer
    assert bool(answer) == (asks in allowed)
    log = laptop.home.log.read_text()
    assert log.count(f"user {asks} was refused") == (bool(allowed) and asks not in allowed)


@AS_ROOT
def test_users_that_are_refused_do_not_fill_the_log(laptop: Laptop) -> None:
    laptop.forward("on", "--all", "--uid", "1234")
    for uid in range(2000, 2050):
        assert answer_for(uid, SOCKET, "0", folder=laptop.socket.parent) == b""
    status = laptop.daemon.status()["forward"]
    assert status["refused"] == 50
    assert 0 < laptop.home.log.read_text().count("was refused") < 25
