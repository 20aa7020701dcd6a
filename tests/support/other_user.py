"""Another user of this machine: a home of theirs, and code that runs as them. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.programs import need, readable_python

OTHER = 65534
AS_ROOT = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can be two users"
)


@contextmanager
def folder_of_theirs() -> Iterator[Path]:
    """A folder that belongs to the other user, below folders that only root may change."""
    above = Path(tempfile.mkdtemp(prefix="theirs-"))
    above.chmod(0o755)
    folder = above / "home"
    folder.mkdir(mode=0o755)
    give(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(above)


def give(top: Path) -> None:
    """Make the other user the owner of a file, or of a folder and everything in it."""
    for path in [top, *top.rglob("*")]:
        os.chown(path, OTHER, OTHER, follow_symlinks=False)


@contextmanager
def as_other() -> Iterator[None]:
    """Run the block with the other user's rights."""
    os.setegid(OTHER)
    os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def repeated_by_other(act: Callable[[], None]) -> Iterator[None]:
    """A process of the other user does `act` over and over, until the block ends."""
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(OTHER)
        os.setuid(OTHER)
        signal.alarm(60)  # it ends even if the test is killed
        while True:
            try:
                act()
            except OSError:
                time.sleep(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextmanager
def becoming_another() -> Iterator[list[str | Path]]:
    """The command that becomes another as a user who is not root: nobody, or who we are."""
    if os.geteuid() != 0:
        yield []
        return
    user = ["--reuid", str(OTHER), "--regid", str(OTHER), "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        yield [*readable_python(Path(folder)), need("setpriv"), *user]


def as_another(script: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as a user who is not root."""
    with becoming_another() as become:
        return subprocess.run(
            [*become, sys.executable, "-c", script],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
        )
