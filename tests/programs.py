"""Real programs that tests run: a test that needs one is skipped where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def need(program: str, version: str = "") -> str:
    """The path of the first `program` on PATH whose `--version` contains `version`.

    Where there is none the test is skipped; in CI, where all should be installed, it fails.
    """
    for folder in os.get_exec_path():
        path = shutil.which(program, path=folder)
        if path is not None and (not version or version in _version(path)):
            return path
    reason = f"{program} {version}".strip() + " is not installed"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    return done.stdout + done.stderr
