"""A package that we depend on was removed: one line says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.environments import build_wheel, new_environment
from tests.support.home import DEV, Home, registry


@pytest.mark.parametrize("program", ["docker-credential-ecr-py", "ecr-py"])
def test_one_line_names_it(tmp_path: Path, home: Home, program: str) -> None:
    installed = new_environment(tmp_path / "venv", Path(sys.executable), build_wheel(tmp_path))
    (dependencies,) = installed.parent.glob("lib/python3.*/site-packages/dependencies.pth")
    dependencies.unlink()
    home.helper = installed / program
    answer = home.get(registry(DEV))
    line = b"ecr-py: the module %b is missing: install docker-credential-ecr-py again\n"
    assert answer.code == 1
    assert answer.stderr in [line % b"platformdirs", line % b"click"]
    assert answer.stdout == (answer.stderr if program.startswith("docker") else b"")
