"""Somebody with a live session, the three accounts, and no docker at hand."""

from __future__ import annotations

import pytest

from tests.clients.conftest import desk, engine, front, images, proxy
from tests.home import Home
from tests.login.person import Person
from tests.standin.aws import Aws

__all__ = ["desk", "engine", "front", "images", "proxy"]


@pytest.fixture
def person(home: Home, aws: Aws) -> Person:
    return Person(home, aws)
