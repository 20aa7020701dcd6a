"""A user who administers a node."""

import pytest

from tests.standin.aws import Aws
from tests.support.home import Home
from tests.support.user import User


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    return User(home, aws)
