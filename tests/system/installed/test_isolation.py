"""What we run imports nothing from the folder that it is run in, whatever PYTHONPATH says.

People run docker and ecr-py in the folders of projects that they did not write.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from docker_credential_ecr_py.cli.entry_point import installed_only
from docker_credential_ecr_py.daemon import python_for
from tests.support.environments import PROJECT
from tests.support.home import DEV, HELPER, Home, registry

ECR_PY = HELPER.with_name("ecr-py")
# Modules that we need, or that a library takes if they are there.
LIBRARIES = (
    "boto3 botocore click platformdirs keyring cryptography jaraco rich segno tomlkit urllib3 "
    "truststore dateutil jmespath s3transfer six awscrt brotli zstandard simplejson chardet "
    "certifi colorama"
)
TRAP = """
with open({caught!r}, "a") as file:
    file.write(__name__ + "\\n")
raise SystemExit(7)
"""


def loaded_at_start() -> set[str]:
    """What the interpreter itself imports, before a line of ours is run."""
    script = "import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a module of each name that may be imported; each says that it was."""
    folder = tmp_path / "project"
    folder.mkdir()
    trap = TRAP.format(caught=str(tmp_path / "caught"))
    names = {*sys.stdlib_module_names, *LIBRARIES.split()} - loaded_at_start()
    for name in names:
        (folder / f"{name}.py").write_text(trap)
    assert {"json", "click", "socket", "botocore"} <= names
    return folder


def caught(project: Path) -> str:
    file = project.with_name("caught")
    return file.read_text() if file.exists() else ""


def test_the_trap_works(project: Path) -> None:
    script = [sys.executable, "-c", "import click"]
    subprocess.run(script, cwd=project, env={"PYTHONPATH": "."})
    assert "click" in caught(project)


@pytest.mark.parametrize("python_path", [".", ":/nowhere", "{project}", "{project}/../project/"])
def test_ecr_py(home: Home, project: Path, python_path: str) -> None:
    environment = {"PYTHONPATH": python_path.format(project=project)}
    for command in ("version", "token dev", "status", "explain dev", "cache ls"):
        done = subprocess.run(
            [ECR_PY, *command.split()],
            cwd=project,
            env=home.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
        )
        assert (caught(project), done.stderr) == ("", ""), command
        assert done.returncode == 0, command


def test_the_helper_and_what_it_starts(home: Home, project: Path) -> None:
    environment = home.environment | {"PYTHONPATH": str(project)}
    for _ in range(2):
        process = home.start("get", registry(DEV), cwd=project, env=environment)
        assert b"AWS" in process.communicate()[0]
    job = '{"do": "unseal"}'
    for cwd in (project, Path("/")):
        worker = [*python_for("docker_credential_ecr_py.daemon.worker"), job]
        done = subprocess.run(worker, cwd=cwd, env=environment, capture_output=True, timeout=60)
        assert b'"result": null' in done.stdout
    assert caught(project) == ""


def test_what_is_installed_stays_importable() -> None:
    library = os.path.dirname(os.__file__)
    (packages, *_) = site.getsitepackages()
    usual = [library, f"{library}/lib-dynload", packages]
    ours = str(PROJECT)
    assert installed_only(["/x", *usual], "/x") == [*usual, ours]
    assert installed_only(["/x", "/y", *usual], "/x:/z") == ["/y", *usual, ours]
    assert installed_only([os.getcwd(), *usual], ".:") == [*usual, ours]
    # A PYTHONPATH may name what is installed, or where this package is.
    assert installed_only([packages, *usual[:2]], packages) == [packages, *usual[:2], ours]
    assert installed_only([ours, *usual], ours) == [*usual, ours]
    assert installed_only(usual, "") == [*usual, ours]
    script_folder = os.path.dirname(os.path.realpath(sys.argv[0]))
    assert installed_only([script_folder, *usual], "") == [*usual, ours]
