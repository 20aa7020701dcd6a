"""Virtual environments with our package in them, for any interpreter of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from tests.support.surroundings import machine_home

PROJECT = Path(__file__).parent.parent.parent
OLDEST = (3, 11)
_PLACES = (
    "/usr/bin/python3.*",
    "/usr/local/bin/python3.*",
    "/opt/python/*/bin/python3.*",
    "/opt/homebrew/bin/python3.*",
    "~/.pyenv/versions/*/bin/python3.*",
    "~/.local/share/uv/python/*/bin/python3.*",
)


def run(*command: str | Path) -> str:
    """What a command prints. An error shows what it wrote to standard error."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd="/", env=_clean()
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def _clean() -> dict[str, str]:
    """An environment in which neither Python nor pip finds settings of its own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))
    }


def interpreters() -> dict[str, Path]:
    """Each interpreter that we support, by version and place: the one of the tests is the first.

    The same list in the same order in each process of pytest-xdist.
    """
    found = {_label(sys.version_info[:3], Path(sys.executable)): Path(sys.executable)}
    for path in _candidates():
        version = _version(path)
        if version >= OLDEST:
            found.setdefault(_label(version, path), path)
    return found


def _candidates() -> Iterator[Path]:
    seen = {os.path.realpath(sys.executable)}
    for place in _PLACES:
        for name in sorted(glob(place.replace("~", machine_home(), 1))):
            path = os.path.realpath(name)
            if path not in seen and path.rpartition("python")[2].replace(".", "").isdigit():
                seen.add(path)
                yield Path(path)


def _version(path: Path) -> tuple[int, ...]:
    try:
        script = "import sys, venv, ctypes, ssl; print(*sys.version_info[:3])"
        return tuple(map(int, run(path, "-I", "-c", script).split()))
    except (AssertionError, OSError):  # another machine's, or built without a module we need
        return (0,)


def _label(version: tuple[int, ...], path: Path) -> str:
    number = ".".join(map(str, version))
    owner = "system" if path.is_relative_to("/usr/bin") else "own"
    return f"{number} {owner}"


def new_environment(folder: Path, python: Path, *packages: str | Path) -> Path:
    """A virtual environment for `python` with `packages`, which are not looked up anywhere.

    What they depend on is the test environment's: all that a `get` loads is pure Python, so it
    serves every version. Returns the environment's bin folder.
    """
    run(python, "-I", "-m", "venv", "--without-pip", folder)
    (site_packages,) = folder.glob("lib/python3.*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-I", "-m", "pip", "--disable-pip-version-check")
    install = ("install", "--quiet", "--ignore-installed", "--no-index", "--no-deps")
    target = ("--python", folder / "bin" / "python")
    run(*pip, *target, *install, "--no-build-isolation", *packages)
    return folder / "bin"


def build_wheel(folder: Path) -> Path:
    """Our wheel, made from the source. Needs no network."""
    pip = (sys.executable, "-I", "-m", "pip", "--disable-pip-version-check")
    build = ("wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, *build, "--wheel-dir", folder, PROJECT)
    (wheel,) = folder.glob("*.whl")
    return wheel
