"""ecr-py explain: the walk, and what AWS would be asked for. It asks nobody."""

import json

import pytest

from docker_credential_ecr_py.cli.commands.explain import calls
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Identity
from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, registry
from tests.support.user import User

TOKEN = "GetAuthorizationToken of ECR in eu-west-1"


@pytest.mark.parametrize("name", [registry(DEV), f"https://{registry(DEV)}/v2/", DEV, "dev"])
def test_a_registry_by_any_name(user: User, aws: Aws, name: str) -> None:
    done = user.ecr_py("explain", name)
    assert done.code == 0, done
    assert f"profile dev is for account {DEV}" in done.stdout
    assert "profile   dev" in done.stdout
    assert f"GetRoleCredentials of the SSO portal in eu-west-1, then {TOKEN}" in " ".join(
        done.stdout.split()
    )
    assert aws.calls == []


def test_for_programs(user: User) -> None:
    done = user.ecr_py("explain", "dev", "--json")
    told = json.loads(done.stdout)
    assert told["registry"] == registry(DEV)
    assert told["steps"][-1]["won"]
    assert told["profile"] == "dev"
    assert told["calls"][-1] == TOKEN


def test_a_name_that_is_none(user: User) -> None:
    done = user.ecr_py("explain", "dve")
    assert done.code == 1
    assert "nearest: dev" in done.said


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("role", "AssumeRole of STS"),
        ("web-identity", "AssumeRoleWithWebIdentity of STS"),
        ("instance", "the metadata of this EC2 instance"),
        ("keys", TOKEN),
    ],
)
def test_what_comes_before_the_token(kind: str, first: str) -> None:
    asked = calls(Identity(kind, ""), Registry.parse(registry(DEV)))
    assert asked[0] == first
    assert asked[-1] == TOKEN


def test_an_account_in_another_region(user: User) -> None:
    done = user.ecr_py("explain", DEV, "--region", "us-east-1")
    assert done.stdout.rstrip().endswith("GetAuthorizationToken of ECR in us-east-1")
    line = user.ecr_py("explain", registry(DEV), "--region", "us-east-1").line
    assert "leave out --region" in line


def test_every_registry(user: User) -> None:
    user.write_docker_config({"credHelpers": {registry("602401143452"): "ecr-py"}})
    done = user.invoke("explain")
    assert done.code == 1  # for the last one
    last = done.stdout.rstrip().split("\n\n")[-1]
    for account, profile in ((DEV, "dev"), (STAGE, "stage"), (PROD, "prod")):
        assert f"{registry(account)}\n" in done.stdout
        assert f"profile   {profile}\n" in done.stdout
    assert registry("602401143452") in last
    assert "config set 'registries.602401143452.*.profile'" in " ".join(done.stdout.split())
    told = json.loads(user.invoke("explain", "--json").stdout)
    assert [one["registry"] for one in told[:3]] == [registry(one) for one in (DEV, STAGE, PROD)]
    assert "error" in told[3]


def test_every_registry_without_one(user: User) -> None:
    user.home.aws_config.unlink()
    assert f"{user.home.aws_config} does not exist: run" in user.invoke("explain").line
    user.home.aws_config.write_text("no section")
    assert "a [section] must come first" in user.invoke("explain").line
