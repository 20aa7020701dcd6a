"""Somebody whose session has ended, with the AWS config of the three accounts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.standin.aws import Aws
from tests.standin.proxy import Proxy
from tests.support.browser import Browser
from tests.support.home import Home
from tests.support.user import User


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    """Legacy profiles, no session; a terminal only where a test gives one, no browser."""
    someone = User(home, aws)
    someone.end_session()
    return someone


@pytest.fixture
def at_aws(user: User, aws: Aws) -> Iterator[User]:
    """The AWS CLI 2.9 knows no AWS_ENDPOINT_URL: a proxy takes it, and us, to the stand-in."""
    with Proxy(aws) as proxy:
        environment = user.home.environment
        for name in [name for name in environment if name.startswith("AWS_ENDPOINT_URL")]:
            del environment[name]
        environment |= proxy.environment()
        yield user


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running
