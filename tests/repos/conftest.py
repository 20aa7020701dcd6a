"""Somebody with the three accounts, and repositories in moto's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto.ecr.models import ecr_backends
from moto.server import ThreadedMotoServer

from tests.home import DEV, PROD, STAGE, Home
from tests.login.person import Person
from tests.repos.ecr import AwsWithRepositories, key_of

# "reader" is another profile for stage's account.
ACCOUNTS = {"dev": DEV, "stage": STAGE, "prod": PROD, "reader": STAGE}


@pytest.fixture(scope="session")
def moto() -> Iterator[ThreadedMotoServer]:
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def aws(moto: ThreadedMotoServer) -> Iterator[AwsWithRepositories]:
    ecr_backends.reset()
    with AwsWithRepositories(moto) as running:
        yield running


@pytest.fixture
def person(home: Home, aws: AwsWithRepositories) -> Person:
    """With a live session at IAM Identity Center."""
    return Person(home, aws)


@pytest.fixture
def builder(person: Person, aws: AwsWithRepositories) -> Person:
    """With an access key for each account, and dev the usual one.

    botocore looks for sessions in the home that it was imported in: tests that want their command
    in this process want keys.
    """
    config, credentials = "", ""
    for name, account in ACCOUNTS.items():
        secret = aws.add_key(key_of(name), f"arn:aws:iam::{account}:user/{name}")
        config += f"[profile {name}]\naws_account_id = {account}\nregion = eu-west-1\n"
        credentials += (
            f"[{name}]\naws_access_key_id = {key_of(name)}\naws_secret_access_key = {secret}\n"
        )
    person.home.write(person.home.aws_config, config)
    person.home.write(person.home.path / ".aws" / "credentials", credentials)
    person.home.environment["AWS_PROFILE"] = "dev"
    return person
