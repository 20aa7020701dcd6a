"""A home with a keyring, on a D-Bus session of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemon import Daemon, daemon_of
from tests.support.home import Home
from tests.support.secret_service import Keyring, bus, home, keyring

__all__ = ["bus", "home", "keyring"]


@pytest.fixture
def daemon(home: Home, keyring: Keyring) -> Iterator[Daemon]:
    with daemon_of(home) as running:
        yield running
