"""The installed helper against AWS on loopback: the main path, as docker walks it."""

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, Home, registry


def operations(aws: Aws) -> list[str]:
    return [call.operation for call in aws.calls]


def test_three_accounts_each_with_its_own_role(home: Home, aws: Aws) -> None:
    for account in (DEV, STAGE, PROD):
        answer = home.get(registry(account))
        assert answer.stderr == b""
        assert answer.json["ServerURL"] == registry(account)
        assert answer.json["Username"] == "AWS"
        assert aws.issued[answer.password].account == account


def test_the_second_get_does_not_call_aws(home: Home, aws: Aws) -> None:
    first = home.get(registry(DEV))
    assert operations(aws) == ["GetRoleCredentials", "GetAuthorizationToken"]
    second = home.get(registry(DEV))
    assert second == first
    assert len(aws.calls) == 2
