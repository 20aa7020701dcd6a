"""The folders that pipx and uv make on Windows: a venv for us, and copies of its programs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from tests.standin.aws import Aws
from tests.support.environments import build_wheel
from tests.support.home import HELPER
from tests.support.stores import passwords_of_all
from tests.support.user import User
from tests.windows.conftest import program_of
from tests.windows.wine import FOLDER, WindowsPython, windows_path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the wheel is the one for wine")


def a_venv(windows: WindowsPython, folder: Path, wheel: Path) -> Path:
    """Make what `python -m venv` makes there, and install a wheel in it; return its Scripts."""
    scripts = folder / "Scripts"
    scripts.mkdir(parents=True)
    for file in windows.python.parent.glob("*.*"):
        if file.suffix in (".exe", ".dll", ".manifest"):
            shutil.copy(file, scripts)
    # Our dependencies are the other Python's.
    home = windows_path(windows.python.parent)
    (folder / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = true\n")
    pip = (scripts / "python.exe", "-m", "pip", "install", "--no-index", "--no-deps")
    windows.run(*pip, "--ignore-installed", windows_path(wheel))
    return scripts


def with_the_front(_: Path) -> Path:
    (wheel,) = (FOLDER / "wheels" / "ours").glob("*.whl")
    return wheel


def without_the_front(folder: Path) -> Path:
    """What is built there without a compiler: pip makes the .exe."""
    there = {"_PYTHON_HOST_PLATFORM": "win-amd64", "ECR_PY_FRONT": "0"}
    with mock.patch.dict(os.environ, there):
        return build_wheel(folder)


@pytest.mark.parametrize(
    ("place", "note", "removal", "wheel"),
    [
        ("pipx/venvs", "pipx_metadata.json", "pipx uninstall", with_the_front),
        ("AppData/Roaming/uv/tools", "uv-receipt.toml", "uv tool uninstall", without_the_front),
    ],
    ids=["pipx", "uv"],
)
def test_an_installation(
    user: User,
    aws: Aws,
    windows: WindowsPython,
    tmp_path: Path,
    place: str,
    note: str,
    removal: str,
    wheel: Callable[[Path], Path],
) -> None:
    venv = user.home.path / place / "docker-credential-ecr-py"
    scripts = a_venv(windows, venv, wheel(tmp_path / "wheel"))
    (venv / note).touch()
    linked = user.home.path / ".local" / "bin"
    linked.mkdir(parents=True)
    for name in (HELPER.stem, "ecr-py"):
        shutil.copy(scripts / f"{name}.exe", linked)
    user.environment["WINEPATH"] = windows_path(linked)
    user.program = program_of(user.home, windows, linked / "ecr-py.exe")
    helper = program_of(user.home, windows, linked / f"{HELPER.stem}.exe")

    passwords_of_all(replace(user.home, helper=helper), aws)
    assert windows_path(venv) in user.ecr_py("version").stdout
    done = user.ecr_py("doctor")
    assert f"executable     {windows_path(linked)}" in done.stdout, done
    done = user.ecr_py("uninstall", "--yes")
    assert f"{removal} docker-credential-ecr-py\n" in done.stdout, done
