"""A Windows machine, under wine if the tests do not run on one, and homes on it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import Answer, Home, new_home
from tests.support.programs import lacking, need
from tests.support.user import User
from tests.windows.wine import WindowsPython, windows_path

if sys.platform != "win32":
    from tests.windows import build_python

ERRORS = Path(__file__).with_name("test_errors.py")
# Seconds: the first test waits until Python is built; wine on a busy machine takes its time.
_LIMIT, _CALL = 900, 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_LIMIT))
    items[:] = _first_cases(items)


def _first_cases(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests without all but the first case of each in test_errors.py: they take long."""
    seen: set[str] = set()
    chosen = []
    for item in items:
        name, _, case = item.nodeid.partition("[")
        if not (case and item.path == ERRORS and name in seen):
            chosen.append(item)
        seen.add(name)
    return chosen


class WindowsHome(Home):
    """A home on drive Z:, which is this machine's `/`, or on Windows where its tests are."""

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

    def call(
        self,
        *arguments: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        by: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> Answer:
        """As any home does; files are named in the answer as on this machine."""
        answer = super().call(*arguments, stdin=stdin, environment=environment, by=by, cwd=cwd)
        return replace(answer, stdout=_paths_here(answer.stdout), stderr=_paths_here(answer.stderr))


def _paths_here(text: bytes) -> bytes:
    return re.sub(rb"Z:(\\[^ :`,)]+)+", lambda found: found[0][2:].replace(b"\\", b"/"), text)


@pytest.fixture(scope="session")
def windows() -> WindowsPython:
    """CPython for Windows with our package. The test is skipped if it cannot be had here."""
    if sys.platform == "win32":
        return WindowsPython()
    if why := build_python.missing():
        lacking(why)
    return build_python.built()


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The command of a compiler: mingw's, or on Windows the one that compiles a release."""
    if sys.platform != "win32":
        yield [need("x86_64-w64-mingw32-gcc")]
        return
    if not find_spec("ziglang"):
        lacking("ziglang is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path_factory.mktemp("zig")))
        yield [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-windows-gnu"]


@pytest.fixture
def home(tmp_path: Path, aws: Aws, windows: WindowsPython) -> WindowsHome:
    return windows_home(tmp_path / "home", aws, windows)


@pytest.fixture
def user(home: WindowsHome, aws: Aws, windows: WindowsPython) -> User:
    return User(home, aws, program_of(home, windows, windows.scripts / "ecr-py.exe"), _CALL)


def windows_home(path: Path, aws: Aws, windows: WindowsPython) -> WindowsHome:
    """A home as new_home makes it, with its programs."""
    plain = new_home(path, aws)
    local = windows_path(path / "AppData" / "Local")
    environment = {
        **windows.environment,
        **aws.environment(),
        "USERPROFILE": windows_path(path),
        "LOCALAPPDATA": local,
        "WIN_PD_OVERRIDE_LOCAL_APPDATA": local,  # platformdirs asks Windows, which knows one user
    }
    (path / "AppData" / "Local").mkdir(parents=True, mode=0o700)
    home = WindowsHome(plain.path, environment, limit=_CALL)
    helper = windows.scripts / "docker-credential-ecr-py.exe"
    home.helper = program_of(home, windows, helper)
    program_of(home, windows, windows.scripts / "ecr-py.exe")
    return home


def program_of(home: Home, windows: WindowsPython, program: Path) -> Path:
    """Return what starts a program for Windows: itself, or a shell script that calls wine."""
    if sys.platform == "win32":
        return program
    command = shlex.join(map(str, windows.command(program)))
    script = home.write(home.path / "bin" / program.stem, f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    return script
