"""What most tests need: AWS on loopback, and a home that knows it."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.surroundings import settle

settle()

from tests.standin.aws import Aws  # noqa: E402
from tests.support.home import Home, new_home  # noqa: E402

# Its tests have programs for Windows, on whatever they run.
WINDOWS = Path(__file__).parent / "windows"

# A shell that starts us in the background has SIGINT ignored, nohup SIGHUP, and every child would
# inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if os.name == "nt" or WINDOWS in item.path.parents:
            for mark in item.iter_markers("posix_only"):
                item.add_marker(pytest.mark.skip(*mark.args))


@pytest.fixture
def aws() -> Iterator[Aws]:
    with Aws() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, aws: Aws) -> Home:
    return new_home(tmp_path / "home", aws)
