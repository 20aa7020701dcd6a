"""A Windows machine under wine, and homes on it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import Home, new_home
from tests.support.programs import lacking
from tests.support.user import User
from tests.windows import build_python
from tests.windows.wine import WinePython, windows_path

# Seconds: the first test waits until Python is built; wine on a busy machine takes its time.
_LIMIT, _CALL = 900, 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_LIMIT))


class WindowsHome(Home):
    """A home on drive Z:, which is this machine's `/`. Its programs run under wine."""

    @property
    def local(self) -> Path:
        return self.path / "AppData" / "Local" / "ecr-py"

    @property
    def cache(self) -> Path:
        return self.local / "Cache"

    @property
    def log(self) -> Path:
        return self.local / "Logs" / "ecr-py.log"

    @property
    def settings(self) -> Path:
        return self.local / "config.toml"


@pytest.fixture(scope="session")
def wine() -> WinePython:
    """CPython for Windows with our package. The test is skipped if it cannot be had here."""
    if why := build_python.missing():
        lacking(why)
    return build_python.built()


@pytest.fixture
def home(tmp_path: Path, aws: Aws, wine: WinePython) -> WindowsHome:
    return windows_home(tmp_path / "home", aws, wine)


@pytest.fixture
def user(home: WindowsHome, aws: Aws, wine: WinePython) -> User:
    return User(home, aws, _script(home, "ecr-py", wine.scripts / "ecr-py.exe"), _CALL)


def windows_home(path: Path, aws: Aws, wine: WinePython) -> WindowsHome:
    """A home as new_home makes it; the programs in it are shell scripts that start wine."""
    plain = new_home(path, aws)
    local = windows_path(path / "AppData" / "Local")
    environment = {
        **wine.environment,
        **aws.environment(),
        "USERPROFILE": windows_path(path),
        "LOCALAPPDATA": local,
        "WIN_PD_OVERRIDE_LOCAL_APPDATA": local,  # platformdirs asks Windows, which knows one user
    }
    (path / "AppData" / "Local").mkdir(parents=True, mode=0o700)
    home = WindowsHome(plain.path, environment, limit=_CALL)
    home.helper = _script(home, "helper", wine.scripts / "docker-credential-ecr-py.exe")
    return home


def _script(home: Home, name: str, *command: str | Path) -> Path:
    file = home.path / "bin" / name
    home.write(file, f'#!/bin/sh\nexec wine {shlex.join(map(str, command))} "$@"\n')
    file.chmod(0o755)
    return file
