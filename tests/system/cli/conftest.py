"""A user who has a live session and profiles for three accounts, and has not set up docker."""

from __future__ import annotations

import pytest

from tests.standin.aws import Aws
from tests.support.home import Home
from tests.support.user import User


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    return User(home, aws)
