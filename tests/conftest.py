"""What most tests need: AWS on loopback, and a home that knows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.home import Home, new_home
from tests.standin.aws import Aws


@pytest.fixture
def aws() -> Iterator[Aws]:
    with Aws() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, aws: Aws) -> Home:
    return new_home(tmp_path / "home", aws)
