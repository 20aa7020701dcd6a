"""The tests see nothing of the machine that ecr-py would heed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.surroundings import machine_home, machine_path

PROJECT = Path(__file__).parents[2]
SCRIPT = """
import os
from tests.support.surroundings import settle
settle()
print("\\n".join(f"{name}={value}" for name, value in os.environ.items()))
print("umask", os.umask(0))
"""
OPTIONAL = (
    "docker-credential-secretservice",
    "docker-credential-pass",
    "docker-credential-desktop",
    "pass",
    "secret-tool",
    "notify-send",
    "xdg-open",
    "x-www-browser",
    "wslview",
    "aws",
)


@pytest.mark.parametrize("program", OPTIONAL)
def test_no_program_that_ecr_py_looks_for_is_there_by_chance(program: str) -> None:
    assert shutil.which(program) is None


def test_the_environment_of_a_desktop_is_left_behind(tmp_path: Path) -> None:
    for program in ("sh", *OPTIONAL):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    machine = {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "TMPDIR": str(tmp_path),
        "PYTEST_ADDOPTS": "-q",
        "KUBEBUILDER_ASSETS": str(tmp_path),
        **dict.fromkeys(("AWS_PROFILE", "DOCKER_CONFIG", "XDG_CACHE_HOME", "HTTPS_PROXY"), "x"),
        **dict.fromkeys(("NO_COLOR", "COLUMNS", "DISPLAY", "BROWSER", "SSH_TTY", "LANG"), "x"),
        **dict.fromkeys(("PYTHONPATH", "EDITOR", "TERM", "GITHUB_ACTIONS", "AWS_REGION"), "x"),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=PROJECT,
        env=machine,
        umask=0o077,
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, umask = done.stdout.splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    kept = {"TMPDIR", "PYTEST_ADDOPTS", "KUBEBUILDER_ASSETS", "PATH", "HOME", "LC_ALL"}
    assert {name for name in seen if not name.startswith("TESTS_")} == kept
    assert seen["PATH"].startswith(seen["TESTS_FOLDER"])
    assert seen["HOME"].startswith(seen["TESTS_FOLDER"])
    assert seen["TESTS_MACHINE_PATH"] == machine["PATH"]
    assert umask == "umask 18"  # 0o022
    assert list(tmp_path.glob("tests-*")) == []  # it has gone with the process


def test_what_the_machine_has_can_be_found_still() -> None:
    assert machine_path() != os.environ["PATH"]
    assert machine_home() != os.environ["HOME"]
    assert shutil.which("sh", path=machine_path())
