"""What a cached answer was made from changes: it is asked again, and only as much as it must."""

import os

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, ROLE, STAGE, THREE_ACCOUNTS, Home, registry

OTHER_DEV = THREE_ACCOUNTS.replace(f"{DEV}\nsso_role_name = {ROLE}", f"{DEV}\nsso_role_name = R")


@pytest.fixture
def first(home: Home, aws: Aws) -> str:
    aws.assign(DEV, "R")
    password = home.get(registry(DEV)).password
    aws.reset_calls()
    return password


def role_of(aws: Aws, password: str) -> str:
    return aws.issued[password].principal_arn.split("_")[1]


def test_logged_out(home: Home, aws: Aws, first: str) -> None:
    for token in (home.path / ".aws" / "sso" / "cache").iterdir():
        token.unlink()
    for _ in range(2):
        assert "ecr-py login dev" in home.get(registry(DEV)).line
    assert home.cached() == []


def test_aws_config_touched(home: Home, aws: Aws, first: str) -> None:
    os.utime(home.aws_config, (1, 1))
    assert home.get(registry(DEV)).password == first
    home.aws_config.write_text(THREE_ACCOUNTS + "\n[profile another]\nregion = eu-west-1\n")
    assert home.get(registry(DEV)).password == first
    assert aws.calls == []


def test_aws_config_names_another_role(home: Home, aws: Aws, first: str) -> None:
    assert role_of(aws, first) == ROLE
    home.aws_config.write_text(OTHER_DEV)
    second = home.get(registry(DEV)).password
    assert role_of(aws, second) == "R"
    home.aws_config.write_text(THREE_ACCOUNTS)
    assert home.get(registry(DEV)).password == first


def test_aws_config_removed(home: Home, aws: Aws, first: str) -> None:
    home.aws_config.unlink()
    assert DEV in home.get(registry(DEV)).line


def test_settings_written_changed_and_removed(home: Home, aws: Aws, first: str) -> None:
    profile = f'[registries."{registry(DEV)}"]\nprofile = '
    home.write(home.settings, profile + '"stage"')
    assert aws.issued[home.get(registry(DEV)).password].account == STAGE
    home.write(home.settings, profile + '"nobody"')
    assert "nobody" in home.get(registry(DEV)).line
    home.settings.unlink()
    assert home.get(registry(DEV)).password == first


def test_credentials_file_written(home: Home, aws: Aws, first: str) -> None:
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{DEV}:user/dev")
    keys = f"[key]\naws_access_key_id = AKIADEV\naws_secret_access_key = {secret}\n"
    home.write(home.path / ".aws" / "credentials", keys)
    home.write(home.settings, f'[registries."{registry(DEV)}"]\nprofile = "key"\n')
    assert aws.issued[home.get(registry(DEV)).password].principal_arn.endswith("user/dev")


def test_the_environment_says_otherwise(home: Home, aws: Aws, first: str) -> None:
    other = home.get(registry(DEV), AWS_PROFILE="stage").password
    assert aws.issued[other].account == STAGE
    assert home.get(registry(DEV)).password == first
    assert home.get(registry(DEV), AWS_PROFILE="stage").password == other


def test_a_secret_key_appears_beside_an_access_key(home: Home, aws: Aws) -> None:
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{DEV}:user/dev")
    half = home.get(registry(DEV), AWS_ACCESS_KEY_ID="AKIADEV").password
    assert role_of(aws, half) == ROLE
    whole = home.get(
        registry(DEV), AWS_ACCESS_KEY_ID="AKIADEV", AWS_SECRET_ACCESS_KEY=secret
    ).password
    assert aws.issued[whole].principal_arn.endswith("user/dev")


def test_the_cache_is_switched_off(home: Home, aws: Aws, first: str) -> None:
    assert home.get(registry(DEV), AWS_ECR_DISABLE_CACHE="1").password != first
    assert home.get(registry(DEV)).password == first
