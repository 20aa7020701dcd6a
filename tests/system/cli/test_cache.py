"""ecr-py cache: what is kept, and forgetting it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.home import DEV, PROD, STAGE, registry
from tests.system.cli.conftest import Owner


def listed(owner: Owner, **environment: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(
        owner.does("cache", "ls", "--json", **environment).stdout
    )
    return rows


def test_ls_shows_whose_and_until_when_and_no_secret(owner: Owner) -> None:
    password = owner.home.get(registry(STAGE)).password
    owner.home.get("https://index.docker.io/v1/")  # remembered as nobody's
    [row] = listed(owner)
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
    shown = owner.does("cache", "ls").stdout
    heading, line = (text.split() for text in shown.splitlines())
    assert heading == ["REGISTRY", "ACCOUNT", "REGION", "PROFILE", "RULE", "LEFT"]
    assert line[:5] == [registry(STAGE), STAGE, "eu-west-1", "stage", "account"]
    assert line[5].startswith("11h")
    assert password not in shown


def test_ls_shows_what_this_environment_is_answered(owner: Owner) -> None:
    owner.home.get(registry(DEV), AWS_PROFILE="dev")
    assert listed(owner) == []
    assert [row["rule"] for row in listed(owner, AWS_PROFILE="dev")] == ["environment"]
    done = owner.does("cache", "ls")
    assert (done.stdout, done.stderr) == ("", "nothing is cached\n")


@pytest.mark.parametrize("name", ["dev", DEV, registry(DEV), f"https://{registry(DEV)}/v2/"])
def test_rm_forgets_one_registry(owner: Owner, name: str) -> None:
    owner.home.get(registry(DEV))
    owner.home.get(registry(STAGE))
    asked = owner.aws.count("GetAuthorizationToken")
    assert owner.does("cache", "rm", name, "prod").stdout == (
        f"forgot {registry(DEV)}\nnothing was cached for {registry(PROD)}\n"
    )
    assert [row["registry"] for row in listed(owner)] == [registry(STAGE)]
    owner.home.get(registry(STAGE))
    assert owner.aws.count("GetAuthorizationToken") == asked
    owner.home.get(registry(DEV))
    assert owner.aws.count("GetAuthorizationToken") == asked + 1


def test_rm_of_an_alias(owner: Owner) -> None:
    owner.does("config", "set", "registries.images.example.com.alias", registry(DEV))
    owner.home.get("images.example.com")
    assert [row["registry"] for row in listed(owner)] == ["images.example.com"]
    assert "forgot images.example.com" in owner.does("cache", "rm", "images.example.com").stdout
    assert listed(owner) == []


def test_rm_all_is_for_every_environment(owner: Owner) -> None:
    owner.home.get(registry(STAGE))
    owner.home.get(registry(DEV), AWS_PROFILE="dev")
    assert owner.does("cache", "rm", "--all").stdout == (
        f"forgot {', '.join(sorted([registry(DEV), registry(STAGE)]))}\n"
    )
    for folder in ("credentials", "selections"):
        assert list((owner.home.cache / folder).iterdir()) == []
    assert owner.does("cache", "rm", "--all").stdout == "nothing was cached\n"


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
    owner: Owner, arguments: list[str], code: int, said: str
) -> None:
    owner.home.get(registry(DEV))
    done = owner.invokes("cache", "rm", *arguments)
    assert done.code == code
    assert said in done.stderr
    assert len(listed(owner)) == 1


def test_where_nothing_is_kept(owner: Owner) -> None:
    owner.does("config", "set", "store", "none")
    owner.home.get(registry(DEV))
    assert listed(owner) == []
    assert owner.does("cache", "rm", "dev").stdout.startswith("nothing was cached")


def test_what_a_command_that_named_a_profile_brought(owner: Owner) -> None:
    def token() -> str:
        return owner.runs("ecr-py", "token", "stage", AWS_PROFILE="dev").stdout

    first = token()
    owner.does("cache", "rm", "stage", AWS_PROFILE="dev")
    assert token() != first
    assert owner.runs("ecr-py", "token", "prod").code == 0
    assert [row["profile"] for row in listed(owner)] == ["prod"]
    assert registry(PROD) in owner.does("cache", "rm", "--all").stdout
