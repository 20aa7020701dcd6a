"""The wheel has the compiled front if there is a C compiler, and else the launcher."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.environments import PROJECT, new_environment
from tests.support.home import DEV, Home, registry
from tests.support.programs import lacking
from tests.support.surroundings import machine_path

NAME = "docker-credential-ecr-py"
HOST = registry(DEV)


@pytest.fixture(scope="module")
def compiler() -> str:
    return shutil.which("cc", path=machine_path()) or lacking("cc is not installed")


def build(folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Build a wheel in `folder`. The tests' own PATH has no compiler."""
    pip = (sys.executable, "-I", "-m", "pip", "--disable-pip-version-check")
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    return subprocess.run(
        [*pip, "wheel", *options, PROJECT],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def wheel_in(folder: Path) -> tuple[Path, bytes, set[str]]:
    """The wheel, the first bytes of its docker-credential-ecr-py, and what else has its name."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition(".data/")[2] for name in archive.namelist() if NAME in name}
        (script,) = (name for name in archive.namelist() if name.endswith(f"scripts/{NAME}"))
        return wheel, archive.read(script)[:4], names


def test_with_a_compiler(tmp_path: Path, compiler: str) -> None:
    done = build(tmp_path, {"PATH": machine_path()})
    assert done.returncode == 0, done.stderr
    wheel, head, names = wheel_in(tmp_path)
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    assert not head.startswith(b"#!")
    assert names == {f"scripts/{NAME}", f"data/libexec/{NAME}"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"CC": "/nowhere/cc"},
        {"CC": "false"},
        {"PATH": machine_path(), "ECR_PY_FRONT": "0"},
    ],
    ids=["no compiler", "one that is missing", "one that fails", "not wanted"],
)
def test_without(tmp_path: Path, environment: dict[str, str]) -> None:
    done = build(tmp_path, environment)
    assert done.returncode == 0, done.stderr
    wheel, head, names = wheel_in(tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert (head, names) == (b"#!/b", {f"scripts/{NAME}"})


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"ECR_PY_FRONT": "1", "CC": "/nowhere/cc"}, "/nowhere/cc: No such file or directory"),
        ({"ECR_PY_FRONT": "1", "CC": "false"}, "false failed"),
        ({"ECR_PY_FRONT": "arm"}, "ECR_PY_FRONT is 'arm'"),
    ],
)
def test_one_that_is_wanted_and_cannot_be_built(
    tmp_path: Path, environment: dict[str, str], reason: str
) -> None:
    done = build(tmp_path, environment)
    assert done.returncode == 1
    assert reason in done.stdout + done.stderr
    assert list(tmp_path.glob("*.whl")) == []


def test_what_is_installed_answers(tmp_path: Path, compiler: str, home: Home, aws: Aws) -> None:
    """A miss by Python, hits by the front, through a link, in a folder with a space."""
    assert build(tmp_path, {"PATH": machine_path()}).returncode == 0
    wheel, _, _ = wheel_in(tmp_path)
    installed = new_environment(tmp_path / "with space", Path(sys.executable), wheel)
    home.helper = tmp_path / NAME
    home.helper.symlink_to(installed / NAME)
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "site.py").write_text("raise SystemExit(7)")
    first = home.get(HOST, PYTHONPATH=str(trap), PYTHONHOME="/nowhere")
    assert (first.code, first.stderr) == (0, b"")
    assert first.password in aws.issued
    (installed.parent / "libexec" / NAME).unlink()
    assert home.get(HOST) == first
    assert aws.count("GetAuthorizationToken") == 1
