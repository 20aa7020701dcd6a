"""A home with a short runtime folder, and daemons that do not outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import Daemon, Daemons, daemons, short_folder, use_store
from tests.support.home import Home, new_home
from tests.support.machine import machine
from tests.support.user import User

__all__ = ["daemons", "machine"]


@pytest.fixture
def home(tmp_path: Path, aws: Aws) -> Iterator[Home]:
    """As everywhere, but a path of a Unix socket holds 107 bytes."""
    ours = new_home(tmp_path / "home", aws)
    with short_folder() as runtime:
        ours.environment["XDG_RUNTIME_DIR"] = str(runtime)
        use_store(ours, "file")
        yield ours


@pytest.fixture
def start(home: Home, daemons: Daemons) -> Callable[..., Daemon]:
    """Starts the installed daemon, with a store."""

    def started(store: str = "file", more: str = "", **environment: str) -> Daemon:
        use_store(home, store, more)
        return daemons.start(environment)

    return started


@pytest.fixture
def daemon(start: Callable[..., Daemon]) -> Daemon:
    """A daemon that keeps credentials in memory."""
    return start("memory")


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    """Somebody whose session has ended."""
    someone = User(home, aws)
    someone.end_session()
    return someone
