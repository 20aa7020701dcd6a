"""A user of this machine with a home, a systemd user manager and our executables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import ECR_PY, short_folder, use_store
from tests.support.home import HELPER, Answer, Home, new_home
from tests.support.surroundings import machine_path
from tests.support.user import Done
from tests.support.user_manager import RUNTIME, USER, UserManager, user_manager


@dataclass
class Machine:
    """Where `manager` runs; `home` is its user's."""

    manager: UserManager
    home: Home

    def ecr_py(self, *arguments: str, **environment: str) -> Done:
        """Run `ecr-py` as a user does in a shell."""
        done = self.manager.run(
            str(ECR_PY), *arguments, environment=self.home.environment | environment
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def get(self, server_url: str) -> Answer:
        """Run the helper as docker does."""
        done = self.manager.run(
            *(str(HELPER), "get"),
            stdin=server_url.encode(),
            environment=self.home.environment,
        )
        return Answer(done.returncode, done.stdout.encode(), done.stderr.encode())

    def write(self, file: Path, text: str, mode: int = 0o600) -> Path:
        """Write a file of the user's."""
        self.home.write(file, text).chmod(mode)
        give_away(self.home.path)
        return file


def give_away(folder: Path) -> None:
    """Make all in a folder the user's."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)


@pytest.fixture
def machine(aws: Aws) -> Iterator[Machine]:
    """A manager with nothing of ours in it. Its environment leads to the stand-in for AWS."""
    with short_folder() as folder:
        folder.chmod(0o755)
        home = new_home(folder / "home", aws)
        home.environment["XDG_RUNTIME_DIR"] = str(RUNTIME)
        # All that this machine has, as on a desktop: the unit is to let it run.
        path = (str(home.path / "bin"), home.environment["PATH"], machine_path())
        home.environment["PATH"] = ":".join(path)
        use_store(home, "file")
        give_away(home.path)
        passed = {"PATH": home.environment["PATH"], **aws.environment()}
        with user_manager(home.path, passed) as manager:
            yield Machine(manager, home)
