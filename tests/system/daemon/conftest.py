"""A home with a short runtime folder, and daemons that do not outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import Resident, Residents, short_folder, use_store
from tests.support.home import Home, new_home
from tests.support.machine import machine
from tests.support.user import Person

__all__ = ["machine"]


@pytest.fixture
def home(tmp_path: Path, aws: Aws) -> Iterator[Home]:
    """As everywhere, but a path of a Unix socket holds 107 bytes."""
    ours = new_home(tmp_path / "home", aws)
    with short_folder() as runtime:
        ours.environment["XDG_RUNTIME_DIR"] = str(runtime)
        use_store(ours, "file")
        yield ours


@pytest.fixture
def residents(home: Home, tmp_path: Path) -> Iterator[Residents]:
    found = Residents(home, tmp_path)
    try:
        yield found
    finally:
        found.end()


@pytest.fixture
def start(home: Home, residents: Residents) -> Callable[..., Resident]:
    """Starts the installed daemon, with a store."""

    def started(store: str = "file", more: str = "", **environment: str) -> Resident:
        use_store(home, store, more)
        return residents.start(environment)

    return started


@pytest.fixture
def resident(start: Callable[..., Resident]) -> Resident:
    """A daemon that keeps credentials in memory."""
    return start("memory")


@pytest.fixture
def person(home: Home, aws: Aws) -> Person:
    """Somebody whose session has ended."""
    someone = Person(home, aws)
    someone.ends_session()
    return someone
