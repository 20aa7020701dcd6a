"""A named pipe or a device in the place of a file of the user's: one line, and no wait."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.home import DEV, HELPER, Home, registry
from tests.support.processes import renewals
from tests.support.records import HALF_LIFE, let_pass, only
from tests.support.user import eventually

ECR_PY = str(HELPER.with_name("ecr-py"))
# Longer than any command takes here, and less than it takes to give up on AWS.
PATIENCE = 25


def pipe(path: Path) -> None:
    os.mkfifo(path)


def pipe_that_is_held_open(path: Path) -> None:
    """With a writer that never writes: reading it has no end."""
    os.mkfifo(path)
    os.open(path, os.O_RDWR)  # until the test's process ends


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def socket_file(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make one that is bound to nothing")
    os.mknod(path, 0o600 | 0o140000)


FILES = (
    ".aws/config",
    ".aws/credentials",
    ".config/ecr-py/config.toml",
    ".docker/config.json",
    ".config/containers/auth.json",
    ".local/state/ecr-py/log/ecr-py.log",
)
COMMANDS = (
    "configure", "status", "doctor", "explain dev", "token dev", "login dev", "logout dev",
    "configure --for podman", "configure --undo", "config show", "config set login never",
    "cache ls", "daemon logs",
)  # fmt: skip


def run(home: Home, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=registry(DEV),
        capture_output=True,
        text=True,
        env=home.environment,
        cwd=home.path,
        timeout=PATIENCE,
        start_new_session=True,
        check=False,
    )


@pytest.mark.parametrize("plant", [pipe, pipe_that_is_held_open, zeros, socket_file])
@pytest.mark.parametrize("name", FILES)
def test_nothing_waits_for_it(home: Home, plant: Callable[[Path], None], name: str) -> None:
    file = home.path / name
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    plant(file)
    before = file.lstat()
    done = run(home, str(HELPER), "get")
    if name.startswith(".aws") or name.endswith(".toml"):
        assert done.returncode == 1
        assert done.stdout == done.stderr
        assert f"{file} cannot be read" in done.stdout
    else:
        assert done.returncode == 0, done
    for words in COMMANDS if plant is pipe else COMMANDS[:1]:
        done = run(home, ECR_PY, *words.split())
        assert "Traceback" not in done.stderr, done
        assert "unexpected" not in done.stdout + done.stderr, done
    assert os.path.samestat(before, file.lstat())


@pytest.mark.parametrize("plant", [pipe, pipe_that_is_held_open, zeros])
def test_the_lock_of_a_credential(home: Home, plant: Callable[[Path], None]) -> None:
    """A hit on a credential that ages notes there that it is renewed."""
    assert run(home, str(HELPER), "get").returncode == 0
    let_pass(home, HALF_LIFE + 60)
    lock = only(home, "locks")
    lock.unlink()
    plant(lock)
    os.utime(lock, (0, 0), follow_symlinks=False)
    done = run(home, str(HELPER), "get")
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: not renewals(home))


@pytest.mark.parametrize("plant", [pipe, zeros])
def test_a_record_of_undo(home: Home, plant: Callable[[Path], None]) -> None:
    assert run(home, ECR_PY, "configure").returncode == 0
    [record] = home.path.rglob("undo/*.json")
    record.unlink()
    plant(record)
    done = run(home, ECR_PY, "configure", "--undo")
    assert (done.returncode, "nothing to undo" in done.stdout) == (0, True)


def test_what_stands_for_an_empty_file_is_one(home: Home) -> None:
    """AWS_SHARED_CREDENTIALS_FILE=/dev/null, as people write it."""
    answer = home.get(
        registry(DEV), AWS_SHARED_CREDENTIALS_FILE=os.devnull, ECR_PY_CONFIG=os.devnull
    )
    assert answer.code == 0
