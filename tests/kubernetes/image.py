"""The controller's image, built from the Containerfile and started.

`make image` runs this, in CI beside the other tests, which do not collect a file of this name.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import lacking, need

ROOT = Path(__file__).resolve().parents[2]
# `make image` makes them: a Debian with Python, and wheels of what we depend on.
BASE, WHEELS = ROOT / ".image/debian", ROOT / ".image/wheels"
# What we add to the base, our dependencies included, in MiB.
LARGEST = 120
GRANTS = """
grants:
  - name: all
    registries: ["642976147714"]
    regions: [eu-west-1]
    namespaces: ["*"]
"""
AWS_CONFIG = """
[profile shop]
role_arn = arn:aws:iam::642976147714:role/x
region = eu-west-1
credential_source = Environment
"""


class Buildah:
    """Buildah with images of its own, without a daemon and without user namespaces."""

    def __init__(self, folder: Path) -> None:
        storage = [f"--root={folder / 'root'}", f"--runroot={folder / 'run'}"]
        self._command = [need("buildah"), *storage, "--storage-driver=vfs"]

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, cwd=ROOT
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout.strip() or done.stderr.strip()

    def run(self, container: str, *command: str, check: bool = True, options: str = "") -> str:
        """Run a command in a container, with options of `buildah run`."""
        words = ["--isolation=chroot", *options.split(), container, "--", *command]
        return self("run", *words, check=check)


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    if not (BASE.is_dir() and WHEELS.is_dir()):
        lacking("there is no base for the image: `make image` makes one")
    if os.geteuid() != 0:
        lacking("without being root, buildah needs user namespaces")
    buildah = Buildah(tmp_path_factory.mktemp("buildah"))
    yield buildah
    buildah("rm", "--all", check=False)


@pytest.fixture(scope="module")
def container(buildah: Buildah) -> str:
    """A container of the image."""
    scratch = buildah("from", "scratch")
    buildah("copy", scratch, BASE, "/")
    buildah("commit", "--quiet", "--rm", scratch, "base")
    buildah(
        *("build", "--isolation=chroot", "--pull=never", "--layers=false"),
        *("--build-arg=BASE=localhost/base", f"--volume={WHEELS}:/wheels:ro"),
        "--build-arg=PIP_OPTIONS=--no-index --find-links /wheels",
        *("--file=packaging/Containerfile", "--tag=controller", "."),
    )
    return buildah("from", "--pull=never", "localhost/controller")


def test_it_runs_as_nobody_and_shows_help(buildah: Buildah, container: str) -> None:
    assert buildah.run(container, "id", "-u") == "65532"
    assert buildah.run(container, "ecr-py", "--help").startswith("Usage: ecr-py")


def test_it_has_no_pip_and_no_source(buildah: Buildah, container: str) -> None:
    python = "/opt/ecr-py/bin/python"
    assert "No module named pip" in buildah.run(container, python, "-m", "pip", check=False)
    assert "No such file" in buildah.run(container, "ls", "/src", check=False)


def test_it_checks_grants(buildah: Buildah, container: str, tmp_path: Path) -> None:
    (tmp_path / "grants.yaml").write_text(GRANTS)
    (tmp_path / "config").write_text(AWS_CONFIG)
    tmp_path.chmod(0o755)
    config = "AWS_CONFIG_FILE=/etc/ecr-py/config"
    command = ("env", config, "ecr-py", "controller", "check")
    checked = buildah.run(container, *command, options=f"--volume={tmp_path}:/etc/ecr-py:ro")
    assert "642976147714.dkr.ecr.eu-west-1.amazonaws.com" in checked


def test_its_size(buildah: Buildah, container: str) -> None:
    added, whole = (mebibytes(buildah, container, folder) for folder in ("/opt/ecr-py", "/"))
    print(f"the image has {whole:.0f} MiB, of which {added:.0f} are added to the base")  # noqa: T201
    assert added < LARGEST


def mebibytes(buildah: Buildah, container: str, folder: str) -> float:
    command = ("du", "--one-file-system", "-sk", folder)
    kibibytes, _ = buildah.run(container, *command, options="--user=root").split()
    return int(kibibytes) / 1024
