"""A home with a keyring, on a D-Bus session of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.home import Home, new_home
from tests.sealed.ours import Daemon, daemon_of, set_store
from tests.sealed.service import Bus, Keyring
from tests.standin.aws import Aws


@pytest.fixture
def home(aws: Aws) -> Iterator[Home]:
    """Where paths are short enough for a socket; no bus, so no keyring."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    home = new_home(folder / "h", aws)
    set_store(home, "keyring")
    yield home
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bus(home: Home) -> Iterator[Bus]:
    with Bus() as running:
        home.environment["DBUS_SESSION_BUS_ADDRESS"] = running.address
        yield running


@pytest.fixture
def keyring(home: Home, bus: Bus) -> Iterator[Keyring]:
    with Keyring(home, bus) as running:
        yield running


@pytest.fixture
def daemon(home: Home, keyring: Keyring) -> Iterator[Daemon]:
    with daemon_of(home) as running:
        yield running
