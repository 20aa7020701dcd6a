"""Who asks for repositories, and what is said where they may not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.home import DEV, STAGE, registry
from tests.support.repositories import (
    AwsWithRepositories,
    an_image,
    aws,
    builder,
    moto,
    repositories,
    tags,
    there_is,
)
from tests.support.user import User, visit

__all__ = ["aws", "builder", "moto"]

HOST = registry(DEV)
KEY, USER = "AKIAIOSFODNN7EXAMPLE", f"arn:aws:iam::{DEV}:user/builder"


@pytest.fixture(autouse=True)
def nats(aws: AwsWithRepositories) -> None:
    there_is("nats", an_image("2.9"))


@pytest.fixture
def dev(user: User) -> User:
    user.home.environment["AWS_PROFILE"] = "dev"
    return user


def test_static_keys_of_a_build(dev: User, aws: AwsWithRepositories) -> None:
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": aws.add_key(KEY, USER)}
    del dev.home.environment["AWS_PROFILE"]
    done = dev.ecr_py("repo", "create", f"{HOST}/kalle", **keys)
    assert done.stdout == f"{HOST}/kalle\n"
    assert {call.access_key for call in aws.calls} == {KEY}
    # Whoever names a profile means it, whatever the environment has.
    dev.ecr_py("repo", "ls", "--profile", "stage", **keys)
    assert aws.calls[-1].account == STAGE


def test_what_a_get_answers_later_is_not_changed(dev: User, aws: AwsWithRepositories) -> None:
    dev.ecr_py("repo", "ls", HOST, "--profile", "stage")
    assert aws.issued[dev.home.get(HOST).password].account == DEV


def test_an_ended_session_is_begun_anew(dev: User, aws: AwsWithRepositories) -> None:
    dev.end_session()
    dev.add_browser()
    with dev.at_terminal("ecr-py image ls nats --tags >out") as terminal:
        visit(dev.next_address(), "allow")
        assert terminal.wait() == 0
    assert (dev.home.path / "out").read_text() == "2.9\n"
    assert aws.count("StartDeviceAuthorization") == 1
    # And it is the session of a pull.
    assert dev.home.get(HOST).code == 0


def test_an_ended_session_where_nobody_is(dev: User) -> None:
    dev.end_session()
    done = dev.ecr_py("repo", "ls")
    assert done.code == 3
    assert "ecr-py login dev" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_role_that_wants_an_mfa_code(user: User, aws: AwsWithRepositories) -> None:
    role, serial = f"arn:aws:iam::{DEV}:role/deploy", f"arn:aws:iam::{STAGE}:mfa/me"
    secret = aws.add_key(KEY, f"arn:aws:iam::{STAGE}:user/me")
    aws.allow_role(role, serial)
    aws.mfa_codes.add("111111")
    home = user.home
    home.write(
        home.aws_config,
        f"[profile keys]\nregion = eu-west-1\n[profile deploy]\nrole_arn = {role}\n"
        f"source_profile = keys\nmfa_serial = {serial}\nregion = eu-west-1\n",
    )
    keys = f"[keys]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n"
    home.write(home.path / ".aws" / "credentials", keys)
    done = user.ecr_py("image", "ls", "nats", "--tags")
    assert done.code == 3
    assert serial in done.stderr
    with user.at_terminal("ecr-py image ls nats --tags >out") as terminal:
        terminal.wait_for(f"MFA code of {serial}: ")
        terminal.type("111111\n")
        assert terminal.wait() == 0
    assert (home.path / "out").read_text() == "2.9\n"
    assert home.get(HOST).code == 0  # by the same role: nobody is asked again


def test_a_session_that_the_portal_ended(dev: User, aws: AwsWithRepositories) -> None:
    aws.end_session()
    done = dev.ecr_py("repo", "rm", "nats", "--yes", "--force")
    assert done.code == 3
    assert repositories() == ["nats"]


@pytest.mark.parametrize(
    ("action", "words", "hint"),
    [
        ("DescribeRepositories", ("repo", "ls"), "policy create"),
        ("CreateRepository", ("repo", "create", "kalle"), "policy create --repository kalle"),
        ("DeleteRepository", ("repo", "rm", "nats", "--yes", "--force"), "policy pull"),
        ("DescribeImages", ("image", "ls", "nats"), "policy pull --repository nats"),
        ("BatchDeleteImage", ("image", "rm", "nats", "2.9", "--yes"), "policy pull"),
    ],
)
def test_no_rights(
    builder: User, aws: AwsWithRepositories, action: str, words: tuple[str, ...], hint: str
) -> None:
    who = f"arn:aws:sts::{DEV}:assumed-role/Administrator/me"
    arn = f"arn:aws:ecr:eu-west-1:{DEV}:repository/nats"
    aws.has_no_right_to(action, who, arn)
    del builder.home.environment["AWS_PROFILE"]
    line = builder.invoke(*words, "--registry", "dev").line
    assert f"{who} may not ecr:{action} on {arn}" in line
    assert "no identity-based policy" in line
    [command] = re.findall("`ecr-py (.*)`", line)
    assert command.startswith(hint)
    assert DEV in builder.invoke(*command.split()).stdout


def test_the_nearest_is_left_out_where_names_may_not_be_seen(
    builder: User, aws: AwsWithRepositories
) -> None:
    aws.has_no_right_to("DescribeRepositories", "arn:aws:sts::1:x", "*")
    assert builder.invoke("image", "ls", "nast").line.startswith(
        "ecr-py: no such repository: nast ("
    )


@pytest.mark.parametrize(
    ("kind", "detail", "said"),
    [
        ("error", {"status": 503, "code": "ServiceUnavailable"}, "503"),
        ("garbage", {}, "is not ECR"),
        ("garbage", {"json": True}, "is not ECR"),
        ("answer", {"document": {"repositories": [], "nextToken": "x"}}, "the same page of"),
        ("answer", {"document": []}, "cannot be read"),
    ],
)
def test_what_aws_answers_instead(
    builder: User, aws: AwsWithRepositories, kind: str, detail: dict[str, Any], said: str
) -> None:
    aws.fault("DescribeRepositories", kind, **detail)
    assert said in builder.invoke("repo", "ls").line


def test_a_page_of_a_guest_network_removes_nothing(builder: User, aws: AwsWithRepositories) -> None:
    for operation, words in (
        ("DescribeImages", ("repo", "rm", "nats")),
        ("DeleteRepository", ("repo", "rm", "nats", "--force")),
        ("BatchDeleteImage", ("image", "rm", "nats", "2.9")),
    ):
        aws.fault(operation, "garbage")
        assert "is not ECR" in builder.invoke(*words, "--yes").line
    assert tags("nats") == ["2.9"]


def test_a_thousand_profiles(builder: User) -> None:
    more = "".join(
        f"[profile p{n}]\naws_account_id = {n:012}\nregion = eu-west-1\n" for n in range(1000)
    )
    builder.home.write(builder.home.aws_config, builder.home.aws_config.read_text() + more)
    assert json.loads(builder.invoke("repo", "ls", "dev", "--json").stdout)[0]["name"] == "nats"
    assert "more" in (line := builder.invoke("repo", "ls", AWS_PROFILE="").line)
    assert len(line) < 200


def test_the_usual_profile_by_its_other_variable(builder: User) -> None:
    del builder.home.environment["AWS_PROFILE"]
    done = builder.invoke("repo", "ls", AWS_DEFAULT_PROFILE="dev")
    assert (done.code, done.stderr) == (0, "")


def test_a_profile_that_is_called_by_digits(builder: User) -> None:
    for file in (builder.home.aws_config, builder.home.path / ".aws" / "credentials"):
        file.write_text(file.read_text().replace("dev]", "2023]"))
    del builder.home.environment["AWS_PROFILE"]
    assert builder.invoke("repo", "ls", "2023").code == 0
    assert "an account has twelve digits" in builder.invoke("repo", "ls", "2024").line


EMPTY = [
    ("image", "rm", "nats:2.9", "--registry", "", "--yes"),
    ("repo", "rm", "nats", "--profile", "", "--yes", "--force"),
    ("repo", "ls", ""),
    ("repo", "ls", "--region", ""),
    ("policy", "pull", ""),
    ("policy", "pull", "dev", "--repository", ""),
    ("explain", ""),
    ("explain", HOST, "--profile", ""),
    ("token", ""),
    ("token", "dev", "--profile", ""),
    ("cache", "rm", ""),
    ("cache", "rm", "dev", ""),
    ("login", ""),
    ("login", "--start-url", ""),
    ("logout", ""),
    ("configure", "--registry", ""),
    ("configure", "--replace", ""),
]


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_what_is_given_and_empty_names_no_other(
    builder: User, aws: AwsWithRepositories, words: tuple[str, ...]
) -> None:
    done = builder.invoke(*words)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.endswith(" is empty: is a variable unset?\n")
    assert done.stderr.count("\n") == 1
    assert aws.calls == []
    assert tags("nats") == ["2.9"]


def test_nor_does_a_name_that_must_be_given(builder: User) -> None:
    for words in (("image", "ls", ""), ("repo", "create", "")):
        assert "is a variable unset?" in builder.invoke(*words).line


def test_explain_shows_it(dev: User) -> None:
    shown = dev.invoke("explain", HOST, "--profile", "stage").stdout
    assert shown.splitlines()[0] == "-> command line --profile stage"
    assert "profile   stage" in shown
