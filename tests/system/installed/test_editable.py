"""`pip install -e .`, as people who work on the project install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.environments import PROJECT, new_environment
from tests.support.home import DEV, Home, registry


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editable")
    return new_environment(folder, Path(sys.executable), "-e", PROJECT)


@pytest.fixture
def home(home: Home, editable: Path) -> Home:
    home.helper = editable / "docker-credential-ecr-py"
    return home


def ecr_py(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [home.helper.with_name("ecr-py"), *arguments],
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        start_new_session=True,
    )


def test_it_runs_the_source(home: Home, editable: Path) -> None:
    script = "import docker_credential_ecr_py.helper as helper; print(helper.__file__)"
    done = subprocess.run(
        [editable / "python", "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(PROJECT)


def test_a_miss_and_a_hit(home: Home, aws: Aws) -> None:
    fetched = home.get(registry(DEV))
    assert (fetched.code, fetched.stderr) == (0, b"")
    assert fetched.password in aws.issued
    assert home.get(registry(DEV)) == fetched
    assert aws.count("GetAuthorizationToken") == 1


def test_the_units_of_the_daemon_are_found(home: Home) -> None:
    done = ecr_py(home, "daemon", "install", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ExecStart=" in done.stdout
    assert f'"{home.helper.with_name("ecr-py")}" daemon run' in done.stdout


def test_a_folder_of_the_same_name_in_site_packages_does_not_hide_it(
    home: Home, editable: Path, aws: Aws
) -> None:
    """pip leaves folders with files that it did not write."""
    (site_packages,) = editable.parent.glob("lib/python3.*/site-packages")
    leftover = site_packages / "docker_credential_ecr_py" / "daemon" / "__pycache__"
    leftover.mkdir(parents=True, exist_ok=True)
    assert home.get(registry(DEV)).password in aws.issued
    assert ecr_py(home, "version").returncode == 0
