"""Our package, installed for each interpreter of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.environments import build_wheel, interpreters, new_environment

INTERPRETERS = interpreters()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session", params=list(INTERPRETERS))
def installed(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bin folder of an environment with the wheel in it, for each interpreter in turn."""
    folder = tmp_path_factory.mktemp("environment")
    return new_environment(folder, INTERPRETERS[request.param], wheel)
