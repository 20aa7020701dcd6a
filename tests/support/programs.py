"""Real programs that tests run: a test that needs one is skipped where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import open_python
from tests.support.surroundings import machine_path

# What a user of Windows has not, as marks.
NO_MODES = pytest.mark.posix_only("no mode says who may use a file")
NO_LINKS = pytest.mark.posix_only("only administrators may make symbolic links")


def need(program: str, version: str = "") -> str:
    """The path of the first `program` on the machine's PATH whose `--version` contains `version`.

    Where there is none the test is skipped; in CI, where all should be installed, it fails.
    """
    for folder in machine_path().split(os.pathsep):
        path = shutil.which(program, path=folder)
        if path is not None and (not version or version in _version(path)):
            return path
    return lacking(f"{program} {version}".strip() + " is not installed")


def lacking(reason: str) -> NoReturn:
    """Skip the test for what this machine lacks; in CI, which should lack nothing, fail it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def own_mounts(folder: Path) -> list[str]:
    """What runs a command that may mount what it likes, over `folder` for one, and be alone in it.

    It needs root, or a kernel that lets users do so; elsewhere the test is skipped.
    """
    unshare = [need("unshare"), "-m" if os.geteuid() == 0 else "-rm"]
    probe = [*unshare, "mount", "-t", "tmpfs", "none", str(folder)]
    if subprocess.run(probe, check=False).returncode:
        pytest.skip("no mount namespaces here")
    return unshare


def read_only(folder: Path) -> list[str]:
    """What runs a command in a world where nobody, not even root, can write to a folder."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return [*own_mounts(folder), "sh", "-c", mount, str(folder)]


def readable_python(folder: Path) -> list[str]:
    """Return a command that runs the one after it where every user may run this Python.

    It keeps its mounts in `folder`, which must be empty.
    """
    if not open_python.closed_folders(open_python.needed_folders()):
        return []
    script = Path(open_python.__file__)
    return [*own_mounts(folder), sys.executable, "-I", str(script), str(folder)]


def _version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    return done.stdout + done.stderr
