"""The wheel has the compiled front if there is a C compiler, and else the launcher.

On Windows an entry point takes the launcher's place. tests/windows has what is installed there.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from docker_credential_ecr_py import __version__
from tests.standin.aws import Aws
from tests.support.environments import PROJECT, new_environment
from tests.support.home import DEV, Home, registry
from tests.support.programs import lacking, need
from tests.support.surroundings import machine_path

# Each worker that has one of the last tests here builds all wheels first.
pytestmark = pytest.mark.timeout(300)

NAME = "docker-credential-ecr-py"
HOST = registry(DEV)


@pytest.fixture(scope="module")
def compiler() -> str:
    return shutil.which("cc", path=machine_path()) or lacking("cc is not installed")


PIP = (sys.executable, "-I", "-m", "pip", "--disable-pip-version-check")


def build(folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Build a wheel in `folder`. The tests' own PATH has no compiler."""
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    return subprocess.run(
        [*PIP, "wheel", *options, PROJECT],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def _programs(archive: zipfile.ZipFile) -> list[str]:
    """What a wheel puts beside Python and its packages under our name, but for the man page."""
    found = [name.partition(".data/")[2] for name in archive.namelist() if NAME in name]
    return [name for name in found if "/man/" not in name]


def wheel_in(folder: Path) -> tuple[Path, bytes, set[str]]:
    """The wheel, the first bytes of its docker-credential-ecr-py, and what else has its name."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (script,) = (name for name in archive.namelist() if name.endswith(f"scripts/{NAME}"))
        return wheel, archive.read(script)[:4], set(_programs(archive))


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


def in_wheel(folder: Path) -> tuple[str, list[str], str]:
    """The platform of the wheel, what it puts beside Python and its packages, and entry points."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        return wheel.stem.rpartition("-")[2], _programs(archive), archive.read(points).decode()


def test_for_windows_with_a_compiler(tmp_path: Path, compiler: str) -> None:
    done = build(tmp_path, {"PATH": machine_path(), "ECR_PY_FRONT": "win_amd64"})
    assert done.returncode == 0, done.stderr
    platform, names, points = in_wheel(tmp_path)
    assert (platform, names) == ("win_amd64", [f"scripts/{NAME}.exe"])
    assert NAME not in points


def test_for_windows_without(tmp_path: Path) -> None:
    """The installer then makes an .exe, as docker can start no script."""
    done = build(tmp_path, {"_PYTHON_HOST_PLATFORM": "win-amd64"})
    assert done.returncode == 0, done.stderr
    platform, names, points = in_wheel(tmp_path)
    assert (platform, names) == ("win_amd64", [])
    assert f"{NAME} = " in points


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


def test_on_arm(tmp_path: Path, compiler: str, home: Home, aws: Aws) -> None:
    """The same for a processor that is not this one's, which qemu emulates."""
    emulator = need("qemu-aarch64-static")
    assert build(tmp_path, {"ECR_PY_FRONT": "0"}).returncode == 0
    wheel, _, _ = wheel_in(tmp_path)
    installed = new_environment(tmp_path / "venv", Path(sys.executable), wheel)
    arm = tmp_path / "arm"
    arm.mkdir()
    foreign = {"ECR_PY_FRONT": "linux_aarch64", "CC": need("aarch64-linux-gnu-gcc")}
    done = build(arm, {"PATH": machine_path(), **foreign})
    assert done.returncode == 0, done.stderr
    (wheel,) = arm.glob("*-linux_aarch64.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            folder, _, file = name.partition(".data/")[2].partition("/")
            if file in (NAME, f"libexec/{NAME}"):
                place = installed / NAME if folder == "scripts" else installed.parent / file
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(archive.read(name))
    home.helper = tmp_path / NAME
    home.helper.write_text(f'#!/bin/sh\nexec {emulator} {installed / NAME} "$@"\n')
    home.helper.chmod(0o755)
    assert home.call("version").stdout.startswith(b"docker-credential-ecr-py ")
    first = home.get(HOST)
    assert (first.code, first.stderr) == (0, b"")
    (installed.parent / "libexec" / NAME).unlink()
    assert home.get(HOST) == first
    assert aws.count("GetAuthorizationToken") == 1


# A release


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, compiler: str) -> Path:
    """A wheel with each tag of a release. All have this machine's program in them."""
    folder = tmp_path_factory.mktemp("dist")
    tags = runpy.run_path(str(PROJECT / "packaging" / "release.py"))["TARGETS"]
    for tag in [*tags, "0"]:
        done = build(folder, {"PATH": machine_path(), "ECR_PY_FRONT": tag})
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("platforms", "tag"),
    [
        (("manylinux_2_17_x86_64",), "manylinux_2_17_x86_64.musllinux_1_1_x86_64"),
        (
            ("manylinux_2_36_x86_64", "manylinux_2_17_x86_64"),
            "manylinux_2_17_x86_64.musllinux_1_1_x86_64",
        ),
        (("musllinux_1_1_x86_64",), "manylinux_2_17_x86_64.musllinux_1_1_x86_64"),
        (("manylinux_2_17_aarch64",), "manylinux_2_17_aarch64.musllinux_1_1_aarch64"),
        (("musllinux_1_1_aarch64",), "manylinux_2_17_aarch64.musllinux_1_1_aarch64"),
        (("macosx_11_0_x86_64",), "macosx_11_0_x86_64"),
        (("macosx_15_0_arm64",), "macosx_11_0_arm64"),
        (("win_amd64",), "win32.win_amd64.win_arm64"),
        (("win_arm64",), "win32.win_amd64.win_arm64"),
        (("win32",), "win32.win_amd64.win_arm64"),
        (("manylinux_2_17_ppc64le",), "any"),
        (("freebsd_14_1_release_amd64",), "any"),
    ],
    ids=lambda one: one if isinstance(one, str) else one[0],
)
def test_which_wheel_pip_takes(
    tmp_path: Path, released: Path, platforms: tuple[str, ...], tag: str
) -> None:
    place = ("--no-index", "--find-links", released, "--dest", tmp_path)
    which = [f"--platform={platform}" for platform in platforms]
    options = ("--no-deps", "--only-binary=:all:", "--python-version=3.12", *which)
    subprocess.run([*PIP, "download", *options, *place, NAME], check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith(f"-py3-none-{tag}.whl")


def test_the_manifest_for_scoop_names_a_wheel_of_the_release(released: Path) -> None:
    manifest = json.loads((PROJECT / "packaging" / "scoop" / f"{NAME}.json").read_text())
    assert manifest["version"] == __version__
    assert manifest["url"].rpartition("/")[2] in os.listdir(released)
    assert {path.rpartition("\\")[2] for path in manifest["bin"]} == {f"{NAME}.exe", "ecr-py.exe"}


def test_the_same_source_makes_the_same_wheel(tmp_path: Path, compiler: str) -> None:
    for turn in ("once", "again"):
        done = build(tmp_path / turn, {"PATH": machine_path(), "SOURCE_DATE_EPOCH": "1700000000"})
        assert done.returncode == 0, done.stderr
    once, again = (wheel_in(tmp_path / turn)[0] for turn in ("once", "again"))
    assert once.read_bytes() == again.read_bytes()
