"""ecr-py cache: what is kept, and forgetting it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.home import DEV, PROD, STAGE, registry
from tests.support.user import User


def listed(user: User, **environment: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(
        user.invoke_ok("cache", "ls", "--json", **environment).stdout
    )
    return rows


def test_ls_shows_whose_and_until_when_and_no_secret(user: User) -> None:
    password = user.home.get(registry(STAGE)).password
    user.home.get("https://index.docker.io/v1/")  # remembered as nobody's
    [row] = listed(user)
    until = datetime.fromisoformat(row.pop("until"))
    assert until.tzinfo == UTC
    assert timedelta(hours=11) < until - datetime.now(UTC) < timedelta(hours=12)
    assert row == {
        "registry": registry(STAGE),
        "account": STAGE,
        "region": "eu-west-1",
        "profile": "stage",
        "rule": "account",
    }
    shown = user.invoke_ok("cache", "ls").stdout
    heading, line = (text.split() for text in shown.splitlines())
    assert heading == ["REGISTRY", "ACCOUNT", "REGION", "PROFILE", "RULE", "LEFT"]
    assert line[:5] == [registry(STAGE), STAGE, "eu-west-1", "stage", "account"]
    assert line[5].startswith("11h")
    assert password not in shown


def test_ls_shows_what_this_environment_is_answered(user: User) -> None:
    user.home.get(registry(DEV), AWS_PROFILE="dev")
    assert listed(user) == []
    assert [row["rule"] for row in listed(user, AWS_PROFILE="dev")] == ["environment"]
    done = user.invoke_ok("cache", "ls")
    assert (done.stdout, done.stderr) == ("", "nothing is cached\n")


@pytest.mark.parametrize("name", ["dev", DEV, registry(DEV), f"https://{registry(DEV)}/v2/"])
def test_rm_forgets_one_registry(user: User, name: str) -> None:
    user.home.get(registry(DEV))
    user.home.get(registry(STAGE))
    asked = user.aws.count("GetAuthorizationToken")
    assert user.invoke_ok("cache", "rm", name, "prod").stdout == (
        f"forgot {registry(DEV)}\nnothing was cached for {registry(PROD)}\n"
    )
    assert [row["registry"] for row in listed(user)] == [registry(STAGE)]
    user.home.get(registry(STAGE))
    assert user.aws.count("GetAuthorizationToken") == asked
    user.home.get(registry(DEV))
    assert user.aws.count("GetAuthorizationToken") == asked + 1


def test_rm_of_an_alias(user: User) -> None:
    user.invoke_ok("config", "set", "registries.images.example.com.alias", registry(DEV))
    user.home.get("images.example.com")
    assert [row["registry"] for row in listed(user)] == ["images.example.com"]
    assert "forgot images.example.com" in user.invoke_ok("cache", "rm", "images.example.com").stdout
    assert listed(user) == []


def test_rm_all_is_for_every_environment(user: User) -> None:
    user.home.get(registry(STAGE))
    user.home.get(registry(DEV), AWS_PROFILE="dev")
    assert user.invoke_ok("cache", "rm", "--all").stdout == (
        f"forgot {', '.join(sorted([registry(DEV), registry(STAGE)]))}\n"
    )
    for folder in ("credentials", "selections"):
        assert list((user.home.cache / folder).iterdir()) == []
    assert user.invoke_ok("cache", "rm", "--all").stdout == "nothing was cached\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "name registries, or --all"),
        (["dev", "--all"], 2, "name registries, or --all"),
        (["stge"], 1, "nearest: stage"),
        (["ghcr.io"], 1, "not an Amazon ECR registry"),
    ],
)
def test_rm_of_nothing_in_particular(
    user: User, arguments: list[str], code: int, said: str
) -> None:
    user.home.get(registry(DEV))
    done = user.invoke("cache", "rm", *arguments)
    assert done.code == code
    assert said in done.stderr
    assert len(listed(user)) == 1


def test_where_nothing_is_kept(user: User) -> None:
    user.invoke_ok("config", "set", "store", "none")
    user.home.get(registry(DEV))
    assert listed(user) == []
    assert user.invoke_ok("cache", "rm", "dev").stdout.startswith("nothing was cached")


def test_what_a_command_that_named_a_profile_brought(user: User) -> None:
    def token() -> str:
        return user.try_run("ecr-py", "token", "stage", AWS_PROFILE="dev").stdout

    first = token()
    user.invoke_ok("cache", "rm", "stage", AWS_PROFILE="dev")
    assert token() != first
    assert user.try_run("ecr-py", "token", "prod").code == 0
    assert [row["profile"] for row in listed(user)] == ["prod"]
    assert registry(PROD) in user.invoke_ok("cache", "rm", "--all").stdout
